"""Incidents as people read them: what, when, how long."""

from datetime import UTC, datetime, timedelta

import pytest

from everup.model.events import Event
from everup.web.timeline import rows

BEGIN = datetime(2026, 11, 23, 14, 3, 22, tzinfo=UTC)


def event(name, after_ms, service="redis01", node=None, **fields):
    at_utc = (BEGIN + timedelta(milliseconds=after_ms)).isoformat(timespec="milliseconds")
    return Event(name, "shop", at_utc, service, node, fields, after_ms)


FAILOVER = [
    event("node.exited", 3, node="redis01-1", exit_code=-9, noticed_ms=3),
    event("failover.voted", 20, epoch=2, votes=3),
    event("failover.promoted", 30, primary="redis01-2", offset=5),
    event("failover.pointed", 38, primary="redis01-2"),
    event("operation.ended", 41, operation="failover", done=True, because="", took_ms=37),
    event("primary.changed", 42, node="redis01-2", primary="redis01-2", generation=2, because="voted"),
    event("lost.none", 900, node="redis01-1", successor="redis01-2"),
    event("service.healthy", 1203, after_s=1.2),
]


def drill(at_ms=0, **fields):
    at_utc = (BEGIN + timedelta(milliseconds=at_ms)).isoformat()
    run = {"at_utc": at_utc, "rto_s": 0.041, "lost": 0, "acknowledged": 1820, "subject": "redis01-1", **fields}
    return {"service": "redis01", "fault": "crash", "runs": [run]}


def test_a_failover_is_told_with_detection_promotion_and_first_write():
    row = rows(FAILOVER, [])[0]
    assert [(step.what, round(step.after_s * 1000)) for step in row.steps] == [
        ("noticed", 3), ("voted", 20), ("promoted", 30), ("endpoint leads on", 38), ("redundant again", 1203),
    ]  # fmt: skip
    assert row.text == (
        "redis01-1 (primary) was killed · noticed in 3 ms · redis01-2 took over in 37 ms"
        " · writes could go on after 38 ms · no lost writes found · redundant again after 1.2 s"
    )
    assert row.over and row.drill is None
    assert [segment.kind for segment in row.segments] == ["unnoticed", "away", "thin"]
    ends = [segment.x + segment.width for segment in row.segments]
    assert ends == sorted(ends) and ends[-1] < 1000


def test_a_drill_says_what_its_clients_measured():
    row = rows(FAILOVER, [drill()])[0]
    assert row.drill == "crash"
    assert "took over in 37 ms · writes stood still for 41 ms · 0 of 1,820 lost · redundant again" in row.text
    assert "no lost writes found" not in row.text


@pytest.mark.parametrize(
    "other", [drill(6000), {**drill(), "service": "db01", "runs": [drill(subject="db01-1")["runs"][0]]}]
)
def test_another_drill_is_not_taken_for_its_cause(other):
    assert rows(FAILOVER, [other])[0].drill is None


def test_a_drill_that_measured_nothing_adds_nothing():
    row = rows(FAILOVER, [drill(rto_s=None, lost=None)])[0]
    assert row.drill == "crash" and "writes could go on after 38 ms" in row.text


def test_a_restart_in_place_ends_with_the_node_back():
    row = rows(
        [
            event("node.exited", 2, "web", "web-1", exit_code=1, noticed_ms=2),
            event("node.ready", 140, "web", "web-1", after_s=0.14),
            event("service.healthy", 150, "web", after_s=0.15),
        ],
        [],
    )[0]
    assert [step.what for step in row.steps] == ["noticed", "back", "redundant again"]


def test_a_hang_is_counted_from_its_silence():
    row = rows(
        [event("node.hung", 3000, node="redis01-1", silent_s=3.0), event("service.healthy", 4000, after_s=1)], []
    )[0]
    assert [(step.what, round(step.after_s, 1)) for step in row.steps] == [("noticed", 3.0), ("redundant again", 4.0)]


def test_the_newest_comes_first_and_one_that_lasts_says_so():
    found = rows([*FAILOVER, event("node.exited", 9000, "web", "web-1", exit_code=1)], [])
    assert [(row.service, row.over) for row in found] == [("web", False), ("redis01", True)]


def test_without_failures_there_are_none():
    assert rows([event("spec.applied", 0, None), event("service.healthy", 1)], [drill()]) == []
