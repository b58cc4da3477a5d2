"""What the API answers: status codes, bodies, streams."""

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path

import httpx
import pytest

from everup.api.app import create_app
from everup.api.server import serve_api
from everup.model.errors import EngineError
from everup.model.events import Event
from tests.api.small_desk import kept
from tests.drills.finished import finished, watched


def source(text: str = "environment: shop\n") -> dict[str, str]:
    return {"file": "everup.yaml", "text": text, "directory": "/", "path": "/bin"}


async def test_control_names_the_environments_that_run(http):
    answer = (await http.get("/control")).json()
    assert answer["environments"] == answer["running"] == ["shop"]


async def test_the_control_plane_refuses_to_end_while_something_runs(http):
    answer = await http.post("/control/stop")
    assert (answer.status_code, answer.json()["code"]) == (409, "refused.running")


async def test_a_stopped_environment_is_listed_and_does_not_count_as_running(http):
    assert (await http.post("/environments/shop/stop", json={"destroy": False})).status_code == 202
    answer = (await http.get("/control")).json()
    assert (answer["environments"], answer["running"]) == (["shop"], [])
    assert (await http.get("/environments/shop")).json()["health"] == "down"


async def test_the_ledger_of_lost_writes_is_told(http, desk):
    desk.pictures["shop"] = replace(desk.pictures["shop"], kept=(kept("redis01", 3, 90),))
    body = (await http.get("/environments/shop/lost")).json()
    assert (body["writes"], body["kept"][0]["folder"]) == (3, "/srv/lost/20261122T140322-redis01-1")
    assert (await http.get("/environments/none/lost")).status_code == 404


async def test_apply_says_what_will_change(http, desk):
    answer = await http.post("/apply", json=source())
    assert answer.json() == {"environment": "shop", "changes": []}
    assert desk.done == [("apply", "everup.yaml")]


async def test_a_wrong_spec_carries_every_flaw_and_the_first_position(http, desk):
    answer = await http.post("/apply", json=source("broken"))
    body = answer.json()
    assert answer.status_code == 422
    assert body["at"] == "everup.yaml:3:5"
    assert [flaw["line"] for flaw in body["flaws"]] == [3, 4]
    assert desk.done == []


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [("taken", 502, "engine.address_in_use"), ("away", 503, "engine.unavailable"), ("forbidden", 403, "not_permitted")],
)
async def test_each_class_of_error_has_its_status(http, text, status, code):
    answer = await http.post("/plan", json=source(text))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_environment_is_not_found_with_a_hint(http):
    for path in ("", "/variables", "/events"):
        answer = await http.get(f"/environments/nowhere{path}")
        assert (answer.status_code, answer.json()["hint"]) == (404, "everup up")


async def test_a_request_that_makes_no_sense_says_where(http):
    answer = await http.post("/environments/shop/services/web/scale", json={"count": "many"})
    assert (answer.status_code, answer.json()["code"]) == (400, "request.invalid")
    assert "body.count" in answer.json()["message"]
    assert (await http.get("/nothing")).status_code == 404
    answer = await http.put("/control", headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert (await http.request("OPTIONS", "/environments/shop/drills")).headers["allow"] == "GET, POST"


async def test_scaling_over_the_limit_is_refused_and_names_the_way_out(http):
    answer = await http.post("/environments/shop/services/web/scale", json={"count": 9})
    body = answer.json()
    assert (answer.status_code, body["code"], body["at"]) == (409, "refused.limit", "web")
    assert body["hint"] == "An operator can raise it: everup limit web 9"


async def test_scaling_is_seen_in_the_status(http):
    await http.post("/environments/shop/services/web/scale", json={"count": 3})
    body = (await http.get("/environments/shop")).json()
    assert body["pending"] == [{"action": "start", "node": "web-3", "because": "it is declared"}]
    assert not body["settled"]


async def test_a_plan_says_how_long_writers_will_wait(http):
    body = (await http.post("/plan", json=source("environment: shop"))).json()
    assert body["pauses"] == [{"label": "redis01", "pause_s": 0.06, "because": "it hands over"}]


async def test_revisions_and_availability_are_changed_by_the_desk(http, desk):
    path = "/environments/shop/services"
    assert (await http.post(f"{path}/web/restart")).json() == {"label": "web", "revision": 2}
    assert (await http.post(f"{path}/web/deploy", json={})).json() == {"label": "web", "revision": 3}
    assert (await http.post(f"{path}/web/rollback", json={"to": 1})).json() == {"label": "web", "revision": 1}
    answer = (await http.post(f"{path}/redis01/ha", json={"enabled": False})).json()
    assert (answer["because"], answer["predicted_pause_s"]) == ("it is to be one server", 0.06)
    assert desk.done == [
        ("restart", "web"),
        ("deploy", "web", None),
        ("rollback", "web", 1),
        ("ha", "redis01", False),
    ]
    assert (await http.post(f"{path}/web/rollback", json={"to": 0})).status_code == 400


async def test_a_fault_reaches_the_desk(http, desk):
    answer = await http.post("/environments/shop/nodes/redis01-1/fault", json={"fault": "node-loss", "for_s": 30})
    assert answer.status_code == 202
    assert desk.done == [("inject", "redis01-1", "node-loss", 30.0)]


async def test_a_drill_is_staged_for_whoever_confirms_it(http):
    path = "/environments/shop/services/redis01/drill"
    staging = {"fault": "hang", "via": "endpoint", "turn": 2}
    assert (await http.post(path, json=staging)).json()["code"] == "drill.not_allowed"
    scene = (await http.post(path, json={**staging, "confirmed": True})).json()
    assert (scene["fault"], scene["via"], scene["subject"]) == ("hang", "endpoint", "redis01-1")
    assert scene["targets"] == {"rto_s": 2.0, "lost": None}
    app = {"app": "web", "request": {"method": "PUT", "path": "/orders"}}
    assert (await http.post(path, json={**staging, "confirmed": True, **app})).status_code == 200
    answer = await http.post(path, json={**staging, "app": "web", "request": {"path": "orders"}})
    assert (answer.status_code, answer.json()["code"]) == (400, "request.invalid")
    answer = await http.post(path, json={"fault": "meteor"})
    assert (answer.status_code, answer.json()["code"]) == (400, "request.invalid")


async def test_a_drill_is_kept_as_it_was_reported_to_the_last_field(http, desk):
    for number, drill in enumerate((finished(), watched(stays=True))):
        body = json.loads(json.dumps(asdict(drill)))
        assert (await http.post("/environments/shop/drills", json=body)).status_code == 201
        assert desk.drilled[number] == drill
        assert (await http.get("/environments/shop/drills")).json()["drills"][number] == body
    assert (await http.post("/environments/shop/drills", json={"id": "x"})).status_code == 400


async def test_variables_and_snippets_carry_the_live_values(http):
    assert (
        (await http.get("/environments/shop/variables")).json()["redis01"]["REDIS_URL"].startswith("redis://:hunter2")
    )
    answer = await http.get("/environments/shop/services/redis01/connect", params={"language": "ruby"})
    assert answer.json()["snippet"].startswith("# ruby")


async def test_a_switchover_says_who_took_over(http, desk):
    answer = await http.post("/environments/shop/services/redis01/switchover", json={"to": "redis01-2"})
    assert answer.json() == {"label": "redis01", "because": "redis01-2 took over"}
    assert desk.done[-1] == ("switchover", "redis01", "redis01-2")
    assert (await http.post("/environments/shop/services/nobody/switchover", json={})).status_code == 404


async def test_events_stream_as_one_object_per_line_after_a_number(http):
    lines = (await http.get("/environments/shop/events", params={"after": 1})).text.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["web-1 is ready after 310 ms"]


async def test_logs_stream_with_the_node_of_each_line(http):
    lines = (await http.get("/environments/shop/logs/web", params={"lines": 2})).text.splitlines()
    assert json.loads(lines[1]) == {"node": "web-1", "line": "line 1"}
    answer = await http.get("/environments/shop/logs/wbe")
    assert (answer.status_code, answer.json()["at"]) == (404, "wbe")


async def test_a_stream_that_fails_half_way_ends_with_the_error(http, desk):
    desk.breaks = EngineError("the log file is gone")
    last = (await http.get("/environments/shop/logs/web", params={"lines": 3})).text.splitlines()[-1]
    assert json.loads(last)["error"]["message"] == "the log file is gone"


async def test_a_broken_assumption_is_an_answer_and_not_a_page_of_code(http, desk):
    desk.pictures["shop"] = None
    answer = await http.get("/environments/shop")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")


async def test_the_schema_of_the_api_is_published(http):
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert "/v1/environments/{environment}" in paths


async def test_the_socket_is_its_owners_alone_and_a_stale_one_is_replaced(tmp_path: Path, desk):
    path = tmp_path / "s.sock"
    path.touch()
    stop, up = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(serve_api(create_app(desk), path, stop, ready=up.set))
    await up.wait()
    assert path.stat().st_mode & 0o777 == 0o600
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
        assert (await client.get("http://everup/v1/control")).json()["environments"] == ["shop"]
    stop.set()
    await asyncio.wait_for(serving, 5)
    assert not path.exists()


async def test_the_verdict_names_every_service(http):
    body = (await http.get("/environments/shop/check")).json()
    assert [one["label"] for one in body["services"]] == ["redis01", "web"]
    assert body["verdict"] in ("yes", "no")
    assert (await http.get("/environments/nowhere/check")).status_code == 404


async def test_a_service_is_explained_with_its_newest_incident(http, desk):
    desk.happened = [
        Event("node.exited", "shop", "2026-11-22T14:00:00Z", "redis01", "redis01-1", {"exit_code": -9}, 1),
        Event("node.exited", "shop", "2026-11-22T14:00:00Z", "web", "web-1", {"exit_code": 1}, 2),
        Event("node.started", "shop", "2026-11-22T14:00:01Z", "web", "web-1", {"because": "it does not run"}, 3),
    ]
    body = (await http.get("/environments/shop/services/web/explain")).json()
    assert body["incident"]["outcome"] == "no failover; web-1 was started again: it does not run"
    assert body["incident"]["events"][0]["text"] == "web-1 ended with exit code 1"
    answer = await http.get("/environments/shop/services/wbe/explain")
    assert (answer.status_code, answer.json()["hint"]) == (404, "Its services: redis01, web.")


async def test_events_come_as_server_sent_events_to_whoever_asks_for_them(http, desk):
    answer = await http.get("/environments/shop/events", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.split("\n\n")
    assert [block.partition("\n")[0] for block in blocks] == ["id: 1", "id: 2", ""]
    assert json.loads(blocks[1].partition("data: ")[2])["name"] == "node.ready"
    seen = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
    assert (await http.get("/environments/shop/events", headers=seen)).text.startswith("id: 2\n")
    logs = await http.get("/environments/shop/logs/web?lines=1", headers=seen)
    assert logs.text == 'data: {"node": "web-1", "line": "line 0"}\n\n'


@pytest.mark.parametrize("after", ["1e3", str(2**63), "-9999999999", "x"])
async def test_a_number_that_no_event_can_have_is_refused(http, after):
    assert (await http.get("/environments/shop/events", params={"after": after})).status_code == 400


async def test_answers_stay_out_of_caches(http):
    for path in ("/control", "/environments/shop/variables", "/nothing"):
        headers = (await http.get(path)).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
