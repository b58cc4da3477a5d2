"""What people see of check and explain, drawn from the same JSON that programs get."""

from io import StringIO
from typing import Any

from rich.console import Console

from everup.cli import verdict
from tests.api import test_verdicts as made
from tests.core.snapshots import FAILSAFE, SINGLE, app, db, group, instances, silent
from tests.worlds import NOW_S


def drawn(what: Any) -> list[str]:
    out = StringIO()
    Console(file=out, width=300, highlight=False, markup=False).print(what)
    lines = out.getvalue().splitlines()
    assert all(line == line.rstrip() for line in lines)
    return lines


def test_the_answer_comes_first_and_notes_last():
    assert drawn(verdict.check(made.verdict(group()))) == [
        "shop · local · yes · any one node can be lost, no host can (there is only one)",
        "",
        "  redis01   ●   any one node can be lost; redis01-2 or redis01-3 would take over from redis01-1",
        "",
        "            ·   everything runs on one machine: it protects from the end of processes, not from its own",
        "            ·   redis01-endpoint: one process each; clients are cut when it ends, until it starts again",
        "  redis01   ·   replication is asynchronous: a failover can lose the last moment's writes"
        " → WAIT 1 after a write that must not be lost",
    ]


def test_a_no_names_who_and_what_to_do():
    lines = drawn(verdict.check(made.verdict(group(SINGLE))))
    assert lines[0] == "shop · local · no · redis01 could not lose any one node"
    assert lines[2].startswith("  redis01   ○   if redis01-1 were lost now, redis01 would be away")
    assert lines[3] == "                → everup ha enable redis01"


def test_trouble_that_costs_nothing_yet_is_shown_and_the_answer_stays_yes():
    lines = drawn(verdict.check(made.verdict(group(down={"redis01-2"}))))
    assert " · yes · " in lines[0]
    assert lines[2].startswith("  redis01   ◐   redis01-2 is down")


def test_one_service_can_be_asked_about_alone():
    body = made.verdict(group())
    other = made.verdict(instances(app(1)))["services"][0]
    both = {**body, "verdict": "no", "services": [*body["services"], other]}
    assert verdict.narrowed(both, body["services"][0])["verdict"] == "yes"
    assert verdict.narrowed(both, other)["verdict"] == "no"
    blind = made.verdict(silent(group()))
    assert verdict.narrowed(blind, blind["services"][0])["verdict"] == "no"


def test_what_is_wrong_with_everything_has_a_line_of_its_own():
    lines = drawn(verdict.check(made.verdict(silent(group()))))
    assert lines[0].endswith(" · no · the engine does not answer: nobody knows what runs")
    assert "the engine does not answer: nobody knows what runs" in lines[2]


def test_an_explanation_tells_present_future_and_past():
    lines = drawn(verdict.explanation(made.explanation(group(down={"redis01-2"}))))
    assert lines[0].startswith("redis01 · redis · ◐ degraded · redis01-2 is down")
    assert lines[2:4] == ["  now", "    redis01-2   start   it joins redis01-1 as a replica"]
    assert "  if redis01-1 died now" in lines
    assert "    redis01-3            ● would lead    it is in sync · offset 2062 · generation 3" in lines
    assert "    redis01-2            ○ cannot lead   it does not run · generation 3" in lines
    assert "    3 of 3 vote, 2 must agree" in lines
    assert lines[-1] == "  last incident   none"


def test_nodes_that_share_a_fate_share_a_line():
    lines = drawn(verdict.explanation(made.explanation(group())))
    assert "    redis01-2, redis01-3 and 6 more   goes on    the others do its work" in lines


def test_a_dead_primary_is_called_dead_and_what_is_waited_for_is_told():
    lines = drawn(verdict.explanation(made.explanation(group(down={"redis01-1"}, dead_s=NOW_S - 1))))
    assert "  redis01-1 is dead" in lines
    assert any("failover   redis01-1 is dead, redis01-2 was in sync" in line for line in lines)


def test_what_keeps_everybody_from_leading_is_told():
    body = made.explanation(db(says={"web-1": FAILSAFE}))
    assert "    etcd has no majority: Patroni could give the lead to nobody" in drawn(verdict.explanation(body))


def test_an_incident_is_told_with_its_outcome_and_its_events():
    body = made.explanation(group())
    event = {"at": "2026-11-22T14:00:00Z", "name": "node.exited", "text": "redis01-1 was killed"}
    told = {**body, "incident": {"outcome": "there was a failover: it died", "events": [event]}}
    lines = drawn(verdict.explanation(told))
    assert lines[-2] == "  last incident   there was a failover: it died"
    assert lines[-1].endswith("redis01-1 was killed")
