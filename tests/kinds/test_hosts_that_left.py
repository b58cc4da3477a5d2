"""What is made of a primary whose host has left the Swarm: nobody waits for it, and nobody has seen it end."""

from dataclasses import replace
from typing import Any

import pytest

from everup.core.rules import proposals
from everup.model.actions import Hold, Operate
from everup.model.observed import Confirmed, NodeState, Observed, View
from tests.kinds import postgres_words as postgres
from tests.kinds import test_etcd as etcd
from tests.worlds import NOW_S, deeds, held, redis, world

GROUP = redis()
DB = postgres.group()
GONE = "its host has left"
HASTENED = ("Operate", "failover", "redis01-1")


def left(state: NodeState, **more: Any) -> NodeState:
    return replace(state, running=False, pid=None, dead=None, silent=GONE, failure=GONE, has_data=True, generation=None)


def redis_world(dead: Confirmed | None = None, **differences: Any) -> Observed:
    seen = world(GROUP, **{"down": {"redis01-1"}, **differences})
    status = seen.nodes["redis01-1"]
    gone = replace(status, state=replace(left(status.state), dead=dead))
    return replace(seen, nodes={**seen.nodes, "redis01-1": gone})


def db_view(**differences: Any) -> View:
    view = postgres.seen(DB, **{"down": ("web-1",), **differences})
    status = view.nodes["web-1"]
    return replace(view, nodes={**view.nodes, "web-1": replace(status, state=left(status.state))})


def test_sentinels_choose_by_themselves_when_the_primarys_host_has_left():
    seen = redis_world()
    assert HASTENED not in deeds(GROUP, seen)
    assert "may still run" in held(GROUP, seen)["redis01-1"]


def test_whom_the_sentinels_have_chosen_meanwhile_is_accepted():
    chosen = redis_world(named="redis01-2", roles={"redis01-2": "master"})
    assert ("Accept", "redis01-2") in deeds(GROUP, chosen)


def test_a_death_that_was_seen_before_its_host_left_hastens_the_election():
    assert HASTENED in deeds(GROUP, redis_world(Confirmed("redis01-1", NOW_S - 1, -9)))


def test_where_nobody_runs_who_could_be_chosen_another_with_the_newest_data_is():
    nobody = redis_world(down={"redis01-1", "redis01-2", "redis01-3"})
    assert {deed[1] for deed in deeds(GROUP, nobody) if deed[0] == "Accept"} in ({"redis01-2"}, {"redis01-3"})


def test_the_lease_of_a_postgres_primary_is_not_cut_short_because_its_host_has_left():
    found = list(proposals(DB, db_view()))
    assert [one for one in found if isinstance(one, Operate) and one.operation == "failover"] == []
    assert any(isinstance(one, Hold) and "may still run" in one.because for one in found)


def test_nor_where_no_standby_was_waited_for():
    found = list(proposals(DB, db_view(says={"web-2": postgres.patroni()})))
    assert [one for one in found if isinstance(one, Operate) and one.operation == "failover"] == []


def test_nor_by_a_failover_that_was_begun_already():
    recipe = DB.operations["failover"](DB, db_view(), "web-1")
    with pytest.raises(StopIteration) as end:
        next(recipe)
    assert (end.value.value.done, end.value.value.because) == (False, "web-1 is not confirmed dead")


def test_an_etcd_member_of_such_a_host_is_not_put_out_of_its_group():
    gone = etcd.ETCD.nodes[2].id
    view = etcd.seen(down=(gone,))
    status = view.nodes[gone]
    view = replace(view, nodes={**view.nodes, gone: replace(status, state=left(status.state))})
    assert [one for one in proposals(etcd.ETCD, view) if isinstance(one, Operate)] == []
