"""Is a new revision on its way, done, or broken?"""

from dataclasses import replace
from typing import Any

import pytest

from everup.core.rollout import ENDS, Progress, advance, left_behind, verdict
from everup.model.desired import Blueprint, Part
from everup.model.observed import Health, NodeState, NodeStatus, View
from everup.model.revisions import Trial
from tests.worlds import plain, web

PATIENCE_S = 60.0
BEGUN_S = 1000.0


def app(count: int = 2) -> Blueprint:
    return replace(web(count), stand_ins=(plain("web-surge", "web", Part.INSTANCE),))


def status(blueprint: Blueprint, node_id: str, health: Health, **state: Any) -> NodeStatus:
    node = blueprint.node(node_id)
    assert node
    known = {"running": health != Health.DOWN, "service": "web", "digest": node.digest, **state}
    return NodeStatus(health, NodeState(**known), because="it answers with HTTP 500")


def view(blueprint: Blueprint, now_s: float, **healths: Health | NodeStatus) -> View:
    """Nodes by their number or `surge`; what is not named runs the former revision."""
    nodes = {}
    for node in (*blueprint.of(Part.INSTANCE), *blueprint.stand_ins):
        said = healths.get(node.id.replace("web-", "n"), Health.READY)
        former = {"digest": "former"} if node.id.replace("web-", "n") not in healths else {}
        nodes[node.id] = said if isinstance(said, NodeStatus) else status(blueprint, node.id, said, **former)
    if "nsurge" not in healths:
        nodes["web-surge"] = NodeStatus(Health.DOWN)
    return View(now_s, nodes)


def judged(blueprint: Blueprint, *views: View) -> tuple[Trial, str]:
    progress = Progress.beginning(BEGUN_S)
    for one in views:
        progress = advance(progress, blueprint, one)
    return verdict(progress, blueprint, views[-1], PATIENCE_S)


def test_it_is_done_when_every_instance_runs_it_and_nobody_stands_in():
    one = app()
    assert judged(one, view(one, 1001.0, n1=Health.READY, n2=Health.READY)) == (Trial.GOOD, "")


@pytest.mark.parametrize(
    "differs", [{"n2": Health.STARTING}, {"n2": Health.SUSPECT}, {"n2": Health.DOWN}, {"nsurge": Health.READY}, {}]
)
def test_until_then_it_is_on_its_way(differs: dict[str, Health]):
    one = app()
    healths = {"n1": Health.READY, "n2": Health.READY, **differs} if differs else {"n1": Health.READY}
    assert judged(one, view(one, 1001.0, **healths)) == (Trial.ROLLING, "")


def test_an_app_of_no_instances_is_done_at_once():
    one = app(0)
    assert judged(one, view(one, 1000.0))[0] == Trial.GOOD


def test_it_has_failed_when_nobody_becomes_ready_in_time():
    one = app()
    late = view(one, BEGUN_S + PATIENCE_S, nsurge=Health.STARTING)
    assert judged(one, late) == (Trial.FAILED, "web-surge was not ready after 60 s: it answers with HTTP 500")


def test_every_instance_that_becomes_ready_renews_the_patience():
    one = app()
    begins = view(one, 1050.0, nsurge=Health.READY)
    assert judged(one, begins, view(one, 1100.0, nsurge=Health.READY, n1=Health.STARTING))[0] == Trial.ROLLING
    assert judged(one, begins, view(one, 1111.0, nsurge=Health.READY, n1=Health.STARTING))[0] == Trial.FAILED


def test_it_is_not_to_blame_for_waiting_for_others():
    one = app()
    assert judged(one, view(one, 2000.0, nsurge=Health.READY))[0] == Trial.ROLLING


def ended(one: Blueprint, at_s: float) -> View:
    said = status(one, "web-surge", Health.DOWN, failure="exited with code 1", retry_at_s=at_s)
    return view(one, at_s - 0.1, nsurge=said)


def test_it_has_failed_when_it_ends_again_and_again():
    one = app()
    views = [ended(one, BEGUN_S + n + 1) for n in range(ENDS)]
    assert judged(one, *views[:-1])[0] == Trial.ROLLING
    assert judged(one, *views) == (Trial.FAILED, "web-surge exited with code 1")


def test_what_ended_before_it_was_declared_does_not_count():
    one = app()
    assert judged(one, *(ended(one, BEGUN_S - n) for n in range(ENDS + 1)))[0] == Trial.ROLLING


def test_a_start_that_fails_while_the_former_revision_still_runs_counts_too():
    one = app()
    views = [
        view(
            one, BEGUN_S + n, n1=status(one, "web-1", Health.READY, digest="former", failure="x", retry_at_s=2000.0 + n)
        )
        for n in range(ENDS)
    ]
    assert judged(one, *views) == (Trial.FAILED, "web-1 x")


def test_instances_that_run_as_was_declared_before_are_left_behind():
    one = app()
    assert left_behind(one, view(one, 1001.0)) == ["web-1", "web-2"]
    assert left_behind(one, view(one, 1001.0, n1=Health.STARTING)) == ["web-2"]
    ended = NodeStatus(Health.DOWN, NodeState(False, digest="former"))
    assert left_behind(one, view(one, 1001.0, n1=Health.READY, n2=ended)) == []
    surge = NodeStatus(Health.READY, NodeState(True, digest="former"))
    assert left_behind(one, view(one, 1001.0, n1=Health.READY, n2=Health.READY, nsurge=surge)) == ["web-surge"]
