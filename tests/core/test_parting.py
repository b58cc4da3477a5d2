"""What it costs to switch a host off, told before anybody does."""

from dataclasses import replace

from everup.core.check import check
from everup.core.parting import grounds, obstacles, occupants, too_few, unsound
from everup.model.desired import Blueprint
from everup.model.observed import EVERYWHERE, Ground, Host, Observed
from tests.worlds import redis, web, world

GROUP, SINGLE, APP = redis(), redis(ha=False), web(3)


def spread(*blueprints: Blueprint, grounds: dict[str, Ground] | None = None, **differences: object) -> Observed:
    """A world in which the first, second and third of everything are on node1, node2 and node3."""
    observed = world(*blueprints, **differences)
    nodes = {}
    for node_id, status in observed.nodes.items():
        host = f"node{node_id[-1]}" if node_id[-1].isdecimal() else EVERYWHERE
        address = "" if host == EVERYWHERE else f"10.0.0.{host[-1]}"
        ground = (grounds or {}).get(host, Ground.SOUND)
        nodes[node_id] = replace(status, state=replace(status.state, host=host, address=address, ground=ground))
    return replace(observed, nodes=nodes)


def hosts(*grounds: Ground, votes: bool = True) -> list[Host]:
    return [Host(f"node{n}", f"10.0.0.{n}", ground, votes=votes) for n, ground in enumerate(grounds, 1)]


SOUND, DRAINED, LOST = Ground.SOUND, Ground.DRAINED, Ground.LOST


def test_what_leads_moves_and_stays_on_a_host():
    there = occupants([GROUP, APP], spread(GROUP, APP), "node1")
    assert (there.leads, there.moves, there.alone) == (("redis01-1",), ("web-1",), ())
    assert set(there.stays) == {"redis01-sentinel-1", "redis01-front-1"}
    assert occupants([GROUP, APP], spread(GROUP, APP), "node2").leads == ()


def test_what_does_not_run_is_not_there():
    assert occupants([APP], spread(APP, down={"web-1"}), "node1").moves == ()


def test_what_is_not_well_must_get_well_before_a_host_may_go():
    ill = spread(GROUP, APP, down={"redis01-3"})
    assert occupants([GROUP, APP], ill, "node1").unwell == ("redis01",)
    assert occupants([GROUP, APP], spread(GROUP, APP), "node1").unwell == ()


def test_a_single_server_is_alone():
    there = occupants([SINGLE], spread(SINGLE), "node1")
    assert (there.alone, there.leads) == (("redis01-1",), ())
    assert list(obstacles([SINGLE], spread(SINGLE), {"node1"})) == []


def test_one_host_of_three_can_be_spared():
    assert list(obstacles([GROUP, APP], spread(GROUP, APP), {"node1"})) == []


def test_two_cannot():
    found = list(obstacles([GROUP, APP], spread(GROUP, APP), {"node1", "node2"}))
    assert found == ["redis01 would have 1 of 3 voters, and needs 2"]


def test_nor_can_one_beside_a_voter_that_is_not_well():
    ill = spread(GROUP, down={"redis01-sentinel-2"})
    assert list(obstacles([GROUP], ill, {"node1"})) == ["redis01 would have 1 of 3 voters, and needs 2"]


def test_the_last_server_that_is_well_cannot_be_spared():
    ill = spread(GROUP, down={"redis01-2", "redis01-3"})
    assert list(obstacles([GROUP], ill, {"node1"})) == ["redis01 would have 0 of 3 servers, and needs 1"]


def test_a_host_that_has_nothing_of_a_group_is_no_concern_of_its():
    assert list(obstacles([GROUP], spread(GROUP, down={"redis01-sentinel-2"}), {"node9"})) == []


def test_the_managers_of_the_swarm_must_outlive_it():
    assert list(too_few(hosts(SOUND, SOUND, SOUND), {"node1"})) == []
    found = list(too_few(hosts(SOUND, LOST, SOUND), {"node1"}))
    assert found == ["the Swarm would have 1 of 3 managers, and needs 2"]
    assert list(too_few(hosts(SOUND, DRAINED, SOUND, votes=False), {"node1"})) == []
    assert list(too_few(hosts(SOUND, votes=False), {"node1"})) == ["no other host is left"]


def test_lost_and_drained_hosts_are_not_to_be_counted_on():
    assert unsound(hosts(SOUND, DRAINED, LOST)) == {"node2", "node3"}


def test_check_tells_of_a_drained_and_of_a_lost_host():
    ill = spread(APP, grounds={"node1": DRAINED, "node2": LOST})
    assert grounds(ill) == {"node1": DRAINED, "node2": LOST, "node3": SOUND}
    found = [(one.because, one.next) for one in check([APP], ill).findings]
    assert (
        "the host node1 is drained: while it is switched off, no other one may be lost",
        "everup undrain node1",
    ) in found
    assert ("the host node2 is lost: until it is back, no other one may be", "start node2 again") in found
    assert grounds(world(APP)) == {}
