"""Members that are rebuilt on another host: which address they are granted, and when none will do."""

from collections.abc import Collection
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.engines.swarm.addresses import SwarmAddresses
from everup.engines.swarm.placement import HostView, forsaking, group_of, place
from everup.model.desired import Tcp
from tests.engines.test_swarm_placement import Granted, app, group, hosts, redis, where

CLAIMS = {"redis01": redis()}
RUN = ("data-1", "data-2", "data-3", "sentinel-1", "sentinel-2", "sentinel-3")


def at(granted: Granted, number: int, keys: Collection[str] = RUN) -> set[str]:
    """Which of the nodes that run are on a host."""
    return {key for key in keys if where(granted, f"redis01/{key}") == f"10.0.0.{number}"}


def addresses(granted: Granted, keys: Collection[str]) -> frozenset[Tcp]:
    return frozenset(to for key in keys for to in granted[f"redis01/{key}"].values())


def book(views: list[HostView], granted: Granted) -> SwarmAddresses:
    used = addresses(granted, RUN)
    return SwarmAddresses(lambda: views, lambda _: used, busy=lambda _: used)


def lost(count: int, *numbers: int) -> list[HostView]:
    return [replace(view, down=not view.available) for view in hosts(count, down=numbers)]


def test_a_fourth_host_takes_all_that_was_on_the_lost_one_and_nothing_else_moves():
    before = place("shop", CLAIMS, {}, hosts(3))
    gone = at(before, 2)
    after = book(lost(4, 2), before).issue("shop", CLAIMS, before, addresses(before, gone))
    assert at(after, 4) == gone
    assert {key for key in before if before[key] != after[key]} == {f"redis01/{key}" for key in gone}
    assert book(lost(4, 2), after).issue("shop", CLAIMS, after, addresses(before, gone)) == after  # once and for ever


def test_without_a_host_that_has_none_of_the_group_everything_stays():
    before = place("shop", CLAIMS, {}, hosts(3))
    assert book(lost(3, 2), before).issue("shop", CLAIMS, before, addresses(before, at(before, 2))) == before
    drained = [*lost(3, 2), HostView("id4", "node4", "10.0.0.4", available=False)]
    assert book(drained, before).issue("shop", CLAIMS, before, addresses(before, at(before, 2))) == before


def test_what_may_move_moves_even_where_members_must_stay():
    claims = {**CLAIMS, "web": app("web")}
    before = place("shop", claims, {}, hosts(3))
    after = book(lost(3, 2), before).issue("shop", claims, before, addresses(before, at(before, 2)))
    assert not [key for key in after if key.startswith("web/web-") and where(after, key) == "10.0.0.2"]
    assert at(after, 2) == at(before, 2)


def test_a_host_with_addresses_that_wait_for_a_larger_group_is_free():
    before = place("shop", CLAIMS, {}, hosts(4))
    spare = {where(before, f"redis01/data-{n}") for n in range(4, 8)}
    used = {where(before, f"redis01/{key}") for key in ("data-1", "data-2", "data-3")}
    (fourth,) = {f"10.0.0.{n}" for n in (1, 2, 3, 4)} - used
    assert fourth in spare
    number = int(where(before, "redis01/data-1")[-1])
    after = book(lost(4, number), before).issue("shop", CLAIMS, before, addresses(before, ["data-1"]))
    assert where(after, "redis01/data-1") == fourth


def test_voters_never_meet_one_that_was_there_before():
    claims = {"etcd": group("member", 3, 2379, votes=True)}
    before = place("shop", claims, {}, hosts(3))
    lone = {**before, "etcd/member-4": {"main": Tcp("10.0.0.4", 2379)}}  # of an earlier, larger group
    gone = frozenset(lone["etcd/member-1"].values())
    views = lost(4, int(where(before, "etcd/member-1")[-1]))
    assert SwarmAddresses(lambda: views, lambda _: ()).issue("shop", claims, lone, gone) == lone


@given(
    count=st.integers(3, 7),
    away=st.sets(st.integers(1, 7), max_size=4),
    claims=st.sampled_from([CLAIMS, {"redis01": redis(5)}, {**CLAIMS, "etcd": group("member", 3, 2379, votes=True)}]),
)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_whatever_is_lost_no_two_that_run_meet_and_nobody_goes_to_a_lost_host(
    count: int, away: set[int], claims: dict[str, list[object]]
):
    if count < 5 and len(claims["redis01"]) > 12:
        return  # five voters need as many hosts
    before = place("shop", claims, {}, hosts(count))  # type: ignore[arg-type]
    runs = {key for key in before if "endpoint" not in key and group_of(key)[2] in (1, 2, 3)}
    runs |= {key for key in before if "sentinel" in key}
    views = hosts(count, down=tuple(away))
    forsaken = frozenset(to for key in runs for to in before[key].values() if int(to.host[-1]) in away)
    used = frozenset(to for key in runs for to in before[key].values())
    book = SwarmAddresses(lambda: views, lambda _: used, busy=lambda _: used)
    after = book.issue("shop", claims, before, forsaken)  # type: ignore[arg-type]
    moved = {key for key in before if after[key] != before[key]}
    assert moved <= {key for key in runs if not forsaken.isdisjoint(before[key].values())}
    assert all(int(where(after, key)[-1]) not in away for key in moved)
    for key in moved:
        mates = [one for one in runs - {key} if group_of(one)[:2] == group_of(key)[:2]]
        assert where(after, key) not in {where(after, one) for one in mates}


def test_nothing_is_taken_from_who_has_none_of_these_addresses():
    before = place("shop", CLAIMS, {}, hosts(3))
    assert forsaking(before, frozenset({Tcp("10.0.0.9", 1)}), hosts(4), ()) == before
