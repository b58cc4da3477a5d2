"""The routes of notifications: a URL goes in and never comes out."""

import httpx

from tests.api.small_desk import SmallDesk

URL = "slack://TokenAAAA/TokenBBBB"


async def test_a_destination_comes_and_goes(http: httpx.AsyncClient, desk: SmallDesk):
    made = await http.post("/notifications", json={"name": "team", "url": URL, "topics": ["incident"]})
    assert (made.status_code, made.json()["scheme"]) == (201, "slack")
    listed = await http.get("/notifications")
    assert listed.json()["destinations"] == [
        {"name": "team", "scheme": "slack", "topics": ["incident"], "environments": []}
    ]
    again = await http.post("/notifications", json={"name": "team", "url": URL})
    assert again.status_code == 409
    gone = await http.delete("/notifications/team")
    assert (gone.status_code, (await http.delete("/notifications/team")).status_code) == (200, 404)
    assert "Token" not in made.text + listed.text + again.text + gone.text


async def test_a_trial_says_what_became_of_it(http: httpx.AsyncClient, desk: SmallDesk):
    for name in ("team", "deaf"):
        await http.post("/notifications", json={"name": name, "url": URL})
    body = (await http.post("/notification-tests", json={})).json()
    assert [(one["name"], one["sent"]) for one in body["deliveries"]] == [("team", True), ("deaf", False)]
    one = (await http.post("/notification-tests", json={"name": "deaf"})).json()
    assert one["deliveries"] == [{"name": "deaf", "sent": False, "because": "it did not answer"}]


async def test_a_wrong_request_repeats_no_secret(http: httpx.AsyncClient):
    for body in ({"name": "Team!", "url": URL}, {"name": "team", "url": [URL]}, {"name": "team", "topics": ["x"]}):
        answer = await http.post("/notifications", json=body)
        assert answer.status_code == 400 and "Token" not in answer.text
