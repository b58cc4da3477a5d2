"""What /metrics says, and that dashboards and alerts ask for nothing else."""

import re
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI, Request
from prometheus_client.parser import text_string_to_metric_families

from everup.api.app import create_app
from everup.api.gate import owned
from everup.model.access import Caller, Level
from everup.model.events import Event
from tests.api.small_desk import SmallDesk, kept, redis, web, world
from tests.promql import expressions, names_in


async def scraped(app: FastAPI) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample: name -> labels -> value."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(owned(app)), base_url="http://everup") as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labels(**words: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(words.items()))


@pytest.fixture
def troubled() -> SmallDesk:
    """A desk that has seen an incident, a drill and lost writes."""
    desk = SmallDesk(replace(world(redis(), web()), kept=(kept("redis01", 3, 90),)))
    at = "2026-11-22T14:00:00.000+00:00"
    for at_s, (name, fields) in enumerate(
        [
            ("node.exited", {"exit_code": -9, "noticed_ms": 5.0}),
            ("service.down", {}),
            ("primary.changed", {"generation": 2}),
            ("service.healthy", {}),
            ("drill.ended", {"fault": "crash", "verdict": "pass", "runs_rto_s": [0.04]}),
            ("node.hung", {"silent_s": 3.0}),
        ]
    ):
        desk.tally.take(Event(name, "shop", at, "redis01", "redis01-1", fields), float(at_s))
    return desk


async def test_what_is_and_what_was_counted(troubled: SmallDesk):
    found = await scraped(create_app(troubled))
    of = {"environment": "shop", "service": "redis01"}
    assert found["everup_service_health"][labels(**of, kind="redis", health="healthy")] == 1
    assert found["everup_service_health"][labels(**of, kind="redis", health="down")] == 0
    assert found["everup_service_nodes"][labels(**of)] == found["everup_service_nodes_ready"][labels(**of)] == 4
    assert found["everup_node_primary"] == {
        labels(**of, node="redis01-1"): 1,
        labels(**of, node="redis01-2"): 0,
    }
    assert found["everup_node_replication_lag_bytes"][labels(**of, node="redis01-2")] == 17
    assert found["everup_role_changes_total"][labels(**of)] == 1
    assert found["everup_incidents_total"][labels(**of, cause="exited", drill="false")] == 1
    assert found["everup_incidents_open"] == {labels(**of): 1}
    assert found["everup_rto_seconds_sum"][labels(**of, source="incident")] == pytest.approx(2.005)
    assert found["everup_rto_seconds_bucket"][labels(**of, source="drill", le="0.05")] == 1
    assert found["everup_drills_total"][labels(**of, fault="crash", verdict="pass")] == 1
    assert found["everup_service_lost_writes"][labels(**of)] == 3
    assert found["everup_store_size_bytes"] == {(): 4096}
    assert found["everup_notifications_total"] == {labels(outcome="sent"): 2}
    assert found["everup_certificate_expiry_timestamp_seconds"] == {(): 1.8e9}
    assert found["everup_certificate_refused"] == {(): 1}


async def test_names_follow_the_conventions(troubled: SmallDesk):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(owned(create_app(troubled))), base_url="http://x"
    ) as http:
        text = (await http.get("/metrics")).text
    assert text.endswith("\n")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert set(kinds) == set(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE))
    for name, kind in kinds.items():
        assert re.fullmatch(r"everup_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert not re.search(r"_(ms|milliseconds|kb|mb|percent|count|bucket)$", name)


async def test_the_password_of_nobody_is_in_it(troubled: SmallDesk):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(owned(create_app(troubled))), base_url="http://x"
    ) as http:
        page = await http.get("/metrics")
    assert page.status_code == 200 and "hunter2" not in page.text


async def test_a_stopped_environment_is_neither_down_nor_meant_to_last(troubled: SmallDesk):
    troubled.pictures["shop"] = replace(troubled.pictures["shop"], stopped=True)
    found = await scraped(create_app(troubled))
    assert found["everup_service_health"][labels(environment="shop", service="web", kind="app", health="stopped")] == 1
    assert set(found["everup_service_redundant_by_design"].values()) == {0}


async def test_whoever_may_see_one_environment_sees_the_metrics_of_no_other(troubled: SmallDesk):
    app = create_app(troubled)
    caller = Caller("scraper", Level.VIEWER, frozenset({"depot"}))

    @app.middleware("http")
    async def gate(request: Request, call_next):
        request.state.caller = caller
        return await call_next(request)

    found = await scraped(app)
    assert not [name for name, samples in found.items() for key in samples if ("environment", "shop") in key]
    assert found["everup_build_info"]


async def test_dashboards_and_alerts_ask_for_metrics_and_labels_that_exist(troubled: SmallDesk):
    found = {**await scraped(create_app(troubled)), "up": {}}  # that one is Prometheus' own
    asked = list(expressions())
    assert len(asked) > 15
    for title, expression in asked:
        names = names_in(expression)
        assert names and names <= set(found), (title, names - set(found))
        known = {key for name in names for labelled in found[name] for key, _ in labelled} | {"le", "job", "instance"}
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
        used |= {word for group in re.findall(r"\bby\s*\(([^)]*)\)", expression) for word in re.findall(r"\w+", group)}
        assert used <= known, (title, used - known)


def test_names_are_found_in_expressions():
    asked = 'histogram_quantile(0.9, sum by (le, a) (rate(everup_x_bucket{b="c"}[5m]))) > 2 and on (d) everup_y == 1'
    assert names_in(asked) == {"everup_x_bucket", "everup_y"}
    assert names_in("label_values(everup_z, environment)") == {"everup_z"}
