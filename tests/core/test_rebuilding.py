"""Who is rebuilt on another host, when, and what keeps the rest where they are."""

from dataclasses import replace

import pytest

from everup.core.check import check
from everup.core.health import begun_anew, service_health
from everup.core.plan import plan, view_of
from everup.core.rebuilding import NO_PLACE, due, homeless_in
from everup.model.actions import Hold
from everup.model.desired import Blueprint, Part, Tcp
from everup.model.findings import Finding, Level, Topic
from everup.model.observed import Ground, Health, NodeState, Observed
from tests.core.snapshots import ETCD, members
from tests.worlds import redis, world

WAITS_S = 600.0


def on(host: int, blueprint: Blueprint, *numbers: int) -> Blueprint:
    """The members with these numbers are on that host, at addresses that say so."""

    def placed(node_id: str, ports: dict[str, Tcp]) -> dict[str, Tcp]:
        at = f"10.0.0.{host}" if int(node_id[-1]) in numbers else ""
        return {name: Tcp(at or to.host, to.port) for name, to in ports.items()}

    nodes = (
        replace(node, ports=placed(node.id, dict(node.ports))) if node.id[-1].isdecimal() else node
        for node in blueprint.nodes
    )
    return replace(blueprint, nodes=tuple(nodes))


def group(**keys: object) -> Blueprint:
    """Member n of everything on host n; members are rebuilt after 10 minutes."""
    made = redis(**keys)  # type: ignore[arg-type]
    for number in (1, 2, 3):
        made = on(number, made, number)
    return replace(made, replaces_after_s=WAITS_S)


GROUP = group()
THERE = {to for node in GROUP.nodes if node.id[-1] == "1" for to in node.ports.values()}
PART_OF_HOST = {"redis01-1", "redis01-sentinel-1", "redis01-front-1"}


def without_1(blueprint: Blueprint = GROUP, primary: str = "redis01-2", **differences: object) -> Observed:
    """Host 1 is lost: what is there is taken to run, and is silent. Somebody else leads."""
    away = {"hung": PART_OF_HOST, "primary": primary, "roles": {"redis01-1": None, "redis01-2": None}}
    roles = {"redis01-1": "redis01-2", "redis01-2": None, "redis01-3": "redis01-2"}
    observed = world(blueprint, **{**away, "roles": roles, **differences})
    nodes = {}
    for node_id, status in observed.nodes.items():
        host = node_id[-1] if node_id[-1].isdecimal() else ""
        ground = Ground.LOST if host == "1" else Ground.SOUND
        address = f"10.0.0.{host}" if host else ""
        state = replace(status.state, host=f"node{host}" if host else "", address=address, ground=ground)
        nodes[node_id] = replace(status, state=state)
    return replace(observed, nodes=nodes)


def test_all_that_a_service_has_on_a_lost_host_is_given_up_after_its_time_and_not_before():
    assert due([GROUP], without_1(), {"10.0.0.1": WAITS_S - 1}).forsaken == frozenset()
    found = due([GROUP], without_1(), {"10.0.0.1": WAITS_S})
    assert (found.forsaken, found.stays) == (THERE, {})


def test_who_says_nothing_waits_for_ever():
    assert due([replace(GROUP, replaces_after_s=None)], without_1(), {"10.0.0.1": 1e9}).forsaken == frozenset()


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ({"primary": "redis01-1"}, "nobody leads elsewhere"),
        ({"primary": None}, "nobody leads elsewhere"),
        ({"hung": {*PART_OF_HOST, "redis01-2"}}, "nobody leads elsewhere"),
        ({"roles": {"redis01-2": "redis01-3", "redis01-3": None}}, "nobody leads elsewhere"),
        ({"hung": {*PART_OF_HOST, "redis01-sentinel-3"}}, "1 of 3 voters answer elsewhere, which is no majority"),
    ],
    ids=["it led", "nobody is known", "the leader is silent", "another leads than is known", "no majority"],
)
def test_nothing_is_given_up_that_may_be_all_there_is(differences: dict[str, object], said: str):
    found = due([GROUP], without_1(**differences), {"10.0.0.1": WAITS_S})
    assert found.forsaken == frozenset()
    assert set(found.stays) == PART_OF_HOST
    assert all(said in why for why in found.stays.values())


def test_who_still_answers_is_not_lost_whatever_is_said_of_its_host():
    """Its Docker has died, so neither the Swarm nor its agent hears of it; what runs there may yet be elected."""
    found = due([GROUP], without_1(hung=PART_OF_HOST - {"redis01-1"}), {"10.0.0.1": WAITS_S})
    assert found.forsaken == frozenset()
    assert found.stays == dict.fromkeys(PART_OF_HOST, "redis01-1 still answers where it was")


def test_a_second_lost_host_counts_from_the_first_moment():
    """What is there does not answer, whatever was heard of it last."""
    lost_for_s = {"10.0.0.1": WAITS_S, "10.0.0.3": 0.1}
    assert due([GROUP], without_1(), lost_for_s).forsaken == frozenset()


def test_who_is_about_to_be_rebuilt_comes_first_for_its_new_host_looks_free_until_then():
    moved, of_3 = on(4, GROUP, 1), {f"{node_id[:-1]}3" for node_id in PART_OF_HOST}

    def seen(*hung: str) -> Observed:
        observed = without_1(hung=PART_OF_HOST | set(hung))
        former = {
            name: replace(one, state=replace(one.state, digest="earlier")) for name, one in observed.nodes.items()
        }
        return replace(observed, nodes={**observed.nodes, **{name: former[name] for name in PART_OF_HOST}})

    found = due([moved], seen(*of_3), {"10.0.0.3": WAITS_S})
    assert found.forsaken == frozenset()
    assert set(found.stays) == of_3
    assert all("redis01-1" in why and "is rebuilt first" in why for why in found.stays.values())
    again = due([moved], seen(), {"10.0.0.4": WAITS_S})  # its new host is lost as well
    assert {to.host for to in again.forsaken} == {"10.0.0.4"}


def test_a_service_without_servers_needs_its_majority_alone():
    two, observed = replace(ETCD, replaces_after_s=1.0), members(down=("web-3",))[1]
    ports = two.node("web-3").ports
    assert due([two], observed, {ports["peer"].host: 2.0}).forsaken == set(ports.values())
    nobody = members(down=("web-2", "web-3"))[1]
    assert due([two], nobody, {ports["peer"].host: 2.0}).forsaken == frozenset()


def test_who_is_still_declared_where_nobody_waits_has_no_other_place():
    assert homeless_in([GROUP], frozenset()) == {}
    assert homeless_in([GROUP], THERE) == dict.fromkeys(PART_OF_HOST, NO_PLACE)
    assert homeless_in([on(4, GROUP, 1)], THERE) == {}


def test_a_member_that_is_declared_elsewhere_is_as_if_it_had_never_run():
    moved = on(4, GROUP, 1)
    status = view_of(moved, without_1()).status("redis01-1")
    assert (status.state.running, status.state.has_data, status.state.generation) == (False, False, None)
    assert (status.health, status.state.dead, status.reading) == (Health.DOWN, None, None)  # no death is confirmed
    assert view_of(GROUP, without_1()).status("redis01-1").state.running


def test_neither_the_primary_nor_what_is_as_declared_is_ever_taken_for_gone():
    moved = on(4, GROUP, 1)
    assert view_of(moved, without_1(primary="redis01-1")).status("redis01-1").state.running
    status = without_1().nodes["redis01-1"]
    same = replace(status, state=replace(status.state, address="10.9.9.9"))  # its host has another address now
    assert begun_anew(GROUP.node("redis01-1"), same) == same
    single = replace(moved.node("redis01-1"), rebuilds=False)
    assert begun_anew(single, status) == status
    assert begun_anew(None, status) == status


def test_a_member_of_one_machine_has_no_address_of_a_host():
    state = NodeState(running=True, digest="earlier")
    status = replace(without_1().nodes["redis01-1"], state=state)
    assert begun_anew(GROUP.node("redis01-1"), status) == status


def test_it_joins_where_it_is_declared_as_a_new_one():
    moved = on(4, GROUP, 1)
    observed = without_1(moved)
    gone = {
        node_id: replace(status, state=replace(status.state, digest="earlier"))
        for node_id, status in observed.nodes.items()
        if node_id in PART_OF_HOST
    }
    actions = plan([moved], replace(observed, nodes={**observed.nodes, **gone}))
    started = {action.node.id: action.extra_args for action in actions if hasattr(action, "node")}
    to = moved.node("redis01-2").ports["redis"]
    assert started == {
        "redis01-1": ("--replicaof", to.host, str(to.port)),
        "redis01-sentinel-1": (),
        "redis01-front-1": (),
    }
    assert service_health(moved, view_of(moved, observed))[0] == "degraded"


def test_why_members_stay_is_told_by_explain_and_check():
    observed = replace(without_1(), stays={"redis01-1": NO_PLACE, "redis01-sentinel-1": NO_PLACE, "other-1": "x"})
    (hold,) = [one for one in plan([GROUP], observed) if isinstance(one, Hold) and NO_PLACE in one.because]
    assert hold.because == f"redis01-1, redis01-sentinel-1 would be rebuilt on another host by now: {NO_PLACE}"
    findings = [finding.because for one in check([GROUP], observed).services for finding in one.findings]
    assert f"redis01-1 would be rebuilt on another host by now: {NO_PLACE}" in findings


def test_where_all_is_on_one_host_check_says_that_it_does_nothing():
    said = "replace_after does nothing here"
    assert [one.level for one in placed(GROUP, world(GROUP)) if said in one.because] == [Level.NOTE]
    assert not [one for one in placed(replace(GROUP, replaces_after_s=None), world(GROUP)) if said in one.because]
    assert not [one for one in placed(GROUP, without_1()) if said in one.because]


def placed(blueprint: Blueprint, observed: Observed) -> list[Finding]:
    return [one for one in check([blueprint], observed).services[0].findings if one.topic == Topic.PLACEMENT]


def test_single_servers_are_no_members():
    assert not any(node.rebuilds for node in redis(ha=False).nodes)
    assert all(node.rebuilds for node in redis().nodes if node.part != Part.ENDPOINT)
