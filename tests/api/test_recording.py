"""The audit log at the door: every write is recorded before it is done and before it is answered, or it is neither."""

import json
import re
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from everup.api.app import create_app
from everup.api.doorway import Doorway
from everup.api.gate import owned
from everup.api.recording import NOTED_BURST, READS, Notebook, Recorded, announce
from everup.core.chain import verify
from everup.model.access import Caller, Level
from tests.api.small_desk import SmallDesk
from tests.drills.finished import finished

SPEC = "environment: shop\nservices:\n  web: {kind: app, run: x, env: {PASSWORD: hunter2}}\n"
SOURCE = {"file": "/srv/shop/everup.yaml", "text": SPEC, "directory": "/srv/shop", "path": "/bin"}
SHOP = "/environments/shop"
WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "/v1/apply": ("/apply", SOURCE),
    "/v1/control/stop": ("/control/stop", {}),
    "/v1/environments/{environment}/stop": (f"{SHOP}/stop", {"destroy": True}),
    "/v1/environments/{environment}/services/{label}/scale": (f"{SHOP}/services/web/scale", {"count": 3}),
    "/v1/environments/{environment}/services/{label}/limit": (f"{SHOP}/services/web/limit", {"count": 9}),
    "/v1/environments/{environment}/services/{label}/switchover": (f"{SHOP}/services/redis01/switchover", {"to": None}),
    "/v1/environments/{environment}/nodes/{node}/fault": (f"{SHOP}/nodes/web-1/fault", {"fault": "hang", "for_s": 2.5}),
    "/v1/environments/{environment}/services/{label}/ha": (f"{SHOP}/services/redis01/ha", {"enabled": False}),
    "/v1/environments/{environment}/services/{label}/restart": (f"{SHOP}/services/web/restart", {}),
    "/v1/environments/{environment}/services/{label}/deploy": (f"{SHOP}/services/web/deploy", {"source": SOURCE}),
    "/v1/environments/{environment}/services/{label}/rollback": (f"{SHOP}/services/web/rollback", {"to": 1}),
    "/v1/environments/{environment}/services/{label}/drill": (
        f"{SHOP}/services/redis01/drill",
        {"fault": "crash", "confirmed": True},
    ),
    "/v1/environments/{environment}/drills": (f"{SHOP}/drills", {}),
    "/v1/environments/{environment}/secrets": (f"{SHOP}/secrets", {"name": "api-key", "value": "hunter2"}),
    "/v1/environments/{environment}/secrets/{name}/remove": (f"{SHOP}/secrets/api-key/remove", {}),
    "/v1/hosts/{host}/drain": ("/hosts/node1/drain", {"force": True}),
    "/v1/hosts/{host}/undrain": ("/hosts/node1/undrain", {}),
    "/v1/environments/{environment}/services/{label}/rotate": (f"{SHOP}/services/web/rotate", {"finish": True}),
}
"""Route -> a request to it: its path below /v1 and its body."""


def told(desk: SmallDesk) -> list[tuple[str, int | None, str]]:
    return [(one["what"], one["status"], one["code"]) for one in desk.trail.entries]


def writing_routes(desk: SmallDesk) -> set[str]:
    """The paths of all routes that write, by the published schema, whatever router they are on."""
    paths = create_app(desk).openapi()["paths"]
    return {path for path, methods in paths.items() if {method.upper() for method in methods} - READS}


def test_the_table_names_routes_that_there_are(desk):
    assert set(WRITES) - writing_routes(desk) == set()


@pytest.mark.parametrize("route", WRITES)
async def test_a_write_is_recorded_before_it_is_done_and_before_it_is_answered(http, desk, route):
    desk.secrets.values["shop", "api-key"] = "hunter2"
    path, body = WRITES[route]
    answer = await http.post(path, json=body)
    asked, answered = desk.trail.entries
    assert (asked["what"], asked["status"], asked["asked"]) == (f"POST {route}", None, None)
    assert (answered["what"], answered["status"], answered["asked"]) == (f"POST {route}", answer.status_code, 1)
    assert (asked["where"], asked["given"]) == (answered["where"], answered["given"])
    assert ("environment" in asked["where"]) == (not route.startswith(("/v1/control", "/v1/hosts")))
    assert answered["code"] == ("" if answer.is_success else answer.json()["code"])
    assert "hunter2" not in json.dumps(desk.trail.entries)
    assert verify(desk.trail.entries).broken is None


@pytest.mark.parametrize("route", WRITES)
async def test_what_cannot_be_recorded_is_not_done(http, desk, route):
    desk.trail.room = 0
    desk.secrets.values["shop", "api-key"] = "kept"
    picture = desk.pictures["shop"]
    path, body = WRITES[route]
    answer = await http.post(path, json=body)
    assert (answer.is_error, answer.json()["code"]) == (True, "store.refused")
    assert (desk.done, desk.drilled, desk.secrets.values) == ([], [], {("shop", "api-key"): "kept"})
    assert desk.pictures["shop"] is picture


async def test_what_was_done_and_cannot_be_recorded_is_not_acknowledged(http, desk):
    desk.trail.room = 1
    answer = await http.post(f"{SHOP}/services/web/restart", json={})
    assert (answer.is_error, answer.json()["code"]) == (True, "audit.unrecorded")
    assert "entry 1" in answer.json()["hint"]
    assert desk.done == [("restart", "web")]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (f"{SHOP}/services/web/scale", {"count": 99}, 409, "refused.limit"),
        (f"{SHOP}/services/web/scale", {"count": "many"}, 400, "request.invalid"),
        ("/environments/none/services/web/scale", {"count": 1}, 404, "not_found"),
        ("/apply", {**SOURCE, "text": "broken"}, 422, "spec.invalid"),
        (f"{SHOP}/secrets", {"name": "api-key", "value": ["hunter2"]}, 400, "request.invalid"),
        (f"{SHOP}/secrets", {"name": "hunter 2", "value": "x"}, 400, "request.invalid"),
        ("/environments/Shop/secrets", {"name": "a", "value": "x"}, 400, "request.invalid"),
        (f"{SHOP}/secrets/none/remove", {}, 404, "not_found"),
    ],
)
async def test_what_was_refused_is_recorded_with_the_reason(http, desk, path, body, status, code):
    answer = await http.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (desk.trail.entries[-1]["status"], desk.trail.entries[-1]["code"]) == (status, code)
    assert "hunter2" not in answer.text + json.dumps(desk.trail.entries)


async def test_what_leads_nowhere_or_is_no_json_is_recorded_too(http, desk):
    assert (await http.delete("/nowhere/" + "x" * 500)).status_code == 404
    assert (await http.put(f"{SHOP}/services/web/scale")).status_code == 405
    assert (await http.post("/apply", content=b"{")).is_error
    assert (await http.post(f"{SHOP}/services/web/restart", content=b"[" * 100_000)).status_code == 202
    assert [one["status"] for one in desk.trail.entries if one["status"]] == [404, 405, 400, 202]
    assert len(desk.trail.entries[0]["what"]) < 300


async def test_a_failure_inside_is_recorded(http, desk, monkeypatch):
    async def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(desk, "restart", broken)
    assert (await http.post(f"{SHOP}/services/web/restart", json={})).status_code == 500
    assert [one["status"] for one in desk.trail.entries] == [None, 500]


@pytest.mark.parametrize("path", ["/variables", "/services/redis01/connect"])
async def test_a_read_of_passwords_is_recorded_before_it_is_answered(http, desk, path):
    assert (await http.get(SHOP + path)).status_code == 200
    (entry,) = desk.trail.entries
    assert (entry["status"], entry["where"]["environment"], entry["asked"]) == (200, "shop", None)
    desk.trail.room = 0
    answer = await http.get(SHOP + path)
    assert (answer.status_code, answer.json()["code"]) == (400, "store.refused")
    assert "hunter2" not in answer.text


async def test_other_questions_are_not_recorded(http, desk):
    for path in ("/control", SHOP, f"{SHOP}/events", f"{SHOP}/logs/web", f"{SHOP}/secrets", "/audit"):
        assert (await http.get(path)).status_code == 200
    await http.post("/plan", json=SOURCE)
    assert desk.trail.entries == []


async def test_arguments_that_matter_are_recorded_and_spec_files_by_their_hash(http, desk):
    await http.post("/apply", json=SOURCE)
    await http.post(f"{SHOP}/nodes/web-1/fault", json={"fault": "hang", "for_s": 2.5})
    await http.post(f"{SHOP}/drills", json=json.loads(json.dumps(finished().__dict__, default=str)))
    given = [one["given"] for one in desk.trail.entries if one["status"] is None]
    assert given[0] | {"text_sha256": ""} == {"file": SOURCE["file"], "directory": "/srv/shop", "text_sha256": ""}
    assert desk.trail.entries[0]["where"] == {"environment": "shop"}
    assert given[1] == {"fault": "hang", "for_s": "2.5"}


@pytest.mark.parametrize(
    ("client", "caller", "told"),
    [
        (None, None, ("owner", "operator", "socket")),
        (("192.0.2.7", 4711), Caller("ann", Level.DEVELOPER), ("ann", "developer", "192.0.2.7:4711")),
        (("192.0.2.7", 4711), None, ("", "", "192.0.2.7:4711")),
    ],
)
async def test_an_entry_says_who_asked_and_from_where(desk, client, caller, told):
    app = create_app(desk)

    async def gated(scope: Any, receive: Any, send: Any) -> None:
        scope |= {"client": client, "state": {"caller": caller} if caller else {}}
        await app(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(gated), base_url="http://everup/v1") as http:
        await http.post(f"{SHOP}/services/web/restart", json={})
    assert {(one["who"], one["level"], one["from"]) for one in desk.trail.entries} == {told}


async def test_the_log_is_read_in_pages_and_its_chain_is_whole(http, desk):
    for _ in range(3):
        await http.post(f"{SHOP}/services/web/restart", json={})
    entries = (await http.get("/audit", params={"after": 0, "limit": 4})).json()["entries"]
    entries += (await http.get("/audit", params={"after": 4})).json()["entries"]
    assert (verify(entries).entries, verify(entries).broken) == (6, None)
    assert (await http.get("/audit", params={"limit": 0})).status_code == 400


async def test_secrets_are_set_listed_without_values_and_removed(http, desk):
    answer = await http.post(f"{SHOP}/secrets", json={"name": "api-key", "value": "hunter2"})
    assert (answer.status_code, answer.json()["used_by"]) == (200, ["web"])
    listed = await http.get(f"{SHOP}/secrets")
    assert [one["name"] for one in listed.json()["secrets"]] == ["api-key"]
    assert "hunter2" not in answer.text + listed.text
    assert (await http.post(f"{SHOP}/secrets/api-key/remove")).json() == {"name": "api-key"}
    assert (await http.get(f"{SHOP}/secrets")).json() == {"secrets": []}


@pytest.mark.parametrize("value", ["", "a\0b", "x" * 70_000, 5, None])
async def test_what_no_variable_can_hold_is_refused(http, desk, value):
    assert (await http.post(f"{SHOP}/secrets", json={"name": "api-key", "value": value})).status_code == 400
    assert desk.secrets.values == {}


async def test_no_route_that_writes_is_left_out(http, desk):
    """Also those that the table above does not name: the first entry is made before anything else is looked at."""
    paths = create_app(desk).openapi()["paths"]
    writes = {(method.upper(), path) for path, methods in paths.items() for method in methods} - {("POST", "/v1/plan")}
    writes = {(method, path) for method, path in writes if method not in READS}
    assert len(writes) >= len(WRITES)
    for method, path in sorted(writes):
        filled = path.removeprefix("/v1").replace("{environment}", "shop").replace("{label}", "web")
        desk.trail.entries.clear()
        await http.request(method, re.sub(r"\{\w+\}", "one", filled), json={})
        assert [one["status"] is None for one in desk.trail.entries] == [True, False], path
        assert desk.trail.entries[0]["what"] == f"{method} {path}"


async def test_what_a_form_says_is_recorded_but_for_what_makes_it_a_form_of_ours(desk):
    async def page(request: Request) -> Response:
        await announce(desk)(request)
        return Response((await request.body()).decode(), 303)

    app = Recorded(
        Starlette(routes=[Route("/e/{environment}/s/{label}/scale", page, methods=["POST"])]), Notebook(desk)
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://everup") as http:
        answer = await http.post("/e/shop/s/web/scale", data={"said": "3", "csrf": "hunter2"})
    assert answer.text == "said=3&csrf=hunter2"
    assert [(one["given"], one["where"], one["status"]) for one in desk.trail.entries] == [
        ({"said": "3"}, {"environment": "shop", "label": "web"}, status) for status in (None, 303)
    ]


async def test_a_wrong_token_is_recorded_whatever_is_asked_with_it_and_questions_are_not(desk):
    app = create_app(desk, doorway=Doorway(desk, {"right": Caller("ann", Level.OPERATOR)}.get))
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://everup/v1") as http:
        for token, status in (("wrong", 401), ("right", 200)):
            answer = await http.get("/control", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == status
        assert (await http.get("/control")).status_code == 401
        (entry,) = desk.trail.entries
        assert (entry["what"], entry["who"], entry["status"]) == ("GET /v1/control", "", 401)
        desk.trail.room = 0
        answer = await http.get("/control", headers={"Authorization": "Bearer wrong"})
        assert (answer.status_code, "disk" in answer.text) == (401, False)
        async with http.stream(
            "GET", f"{SHOP}/events?follow=true", headers={"Authorization": "Bearer right"}
        ) as events:
            assert events.status_code == 200


async def test_strangers_cannot_fill_the_log_and_nobody_known_goes_unrecorded(desk):
    app = create_app(desk)
    for number in range(NOTED_BURST + 50):
        transport = httpx.ASGITransport(app, client=(f"192.0.2.{number}", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://everup/v1") as stranger:
            assert (await stranger.post(f"{SHOP}/stop", json={})).status_code == 401
    assert NOTED_BURST <= len(desk.trail.entries) < NOTED_BURST + 50
    desk.trail.entries.clear()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(owned(app)), base_url="http://everup/v1") as known:
        await known.post(f"{SHOP}/services/web/scale", json={"count": 3})
    assert [one["who"] for one in desk.trail.entries] == ["owner", "owner"]
