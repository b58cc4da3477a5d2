"""How long writers will wait for a change, by what it does to the primary."""

from dataclasses import replace

import pytest

from everup.core.foresee import foresee
from everup.core.plan import view_of
from everup.model.desired import Blueprint
from everup.model.observed import Group
from everup.model.picture import Foresight
from tests.worlds import redis, web, world

SINGLE, GROUP, LARGE = redis(ha=False), redis(), redis(ha={"replicas": 4, "sentinels": 3})


def foreseen(before: Blueprint | None, after: Blueprint, primary: str | None = "redis01-1") -> Foresight | None:
    observed = world(before or after, primary=primary)
    return foresee(before, after, view_of(after, observed))


def test_who_joins_copies_the_primary_which_goes_on():
    found = foreseen(SINGLE, GROUP)
    assert found and GROUP.pauses
    assert found.pause_s == GROUP.pauses.join_s
    assert found.because == "redis01-2, redis01-3 copy redis01-1, which is not restarted"


def test_who_goes_is_not_waited_for():
    found = foreseen(LARGE, GROUP)
    assert found == Foresight("redis01", 0.0, "redis01-4, redis01-5 go, and redis01-1 is not touched")


def test_a_primary_that_goes_hands_over():
    found = foreseen(LARGE, GROUP, primary="redis01-5")
    assert found and GROUP.pauses and found.pause_s == GROUP.pauses.handover_s
    assert "redis01-5 leads, and hands over" in found.because


@pytest.mark.parametrize("ha", [False, True])
def test_a_primary_that_is_restarted_hands_over_if_it_can(ha: bool):
    found = foreseen(redis(ha=ha), redis(ha=ha, revision=1))
    assert found and GROUP.pauses
    assert found.pause_s == (GROUP.pauses.handover_s if ha else GROUP.pauses.restart_s)


def test_nothing_is_foreseen_where_nobody_who_leads_is_concerned():
    assert foreseen(GROUP, GROUP) is None
    assert foreseen(None, GROUP) is None
    assert foreseen(SINGLE, GROUP, primary=None) is None
    assert foreseen(redis(ha={"replicas": 2, "sentinels": 5}), GROUP) is None
    assert foresee(web(), web(3), view_of(web(), replace(world(web()), groups={"web": Group("web-1", 1)}))) is None
    down = world(SINGLE, down={"redis01-1"})
    assert foresee(SINGLE, GROUP, view_of(GROUP, down)) is None
