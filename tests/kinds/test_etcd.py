"""etcd: how its members are founded, replaced, given up and locked, decided without any of them."""

import json
from collections.abc import Mapping
from dataclasses import replace as changed
from typing import Any

import pytest

from everup.core.health import service_health
from everup.core.rules import proposals
from everup.kinds._etcd_lead import hand_on, lead_apart
from everup.kinds._etcd_words import read_member
from everup.kinds.etcd import found, lock, member_node, replace
from everup.model.actions import Hold, Operate, StartNode, StopNode
from everup.model.contracts import Grant
from everup.model.desired import Blueprint, Node, Tcp, Together
from everup.model.observed import Attempt, Confirmed, Ground, Health, NodeState, NodeStatus, View
from tests.kinds.shapes import blueprint

NOW_S = 1000.0
ETCD = blueprint("etcd")
PEERS = {node.id: f"http://{node.ports['peer']}" for node in ETCD.nodes}


def member(
    *,
    led: bool = True,
    leads: bool = False,
    locked: bool = True,
    unstarted: tuple[str, ...] = (),
    gone: tuple[str, ...] = (),
) -> Any:
    """A member's three answers."""
    status: dict[str, Any] = {"leader": "7"} if led else {"errors": ["etcdserver: no leader"]}
    status["header"] = {"member_id": "7" if leads else "8"}
    listed = [
        {"ID": str(n), "peerURLs": [url], **({} if name in unstarted else {"name": name})}
        for n, (name, url) in enumerate(PEERS.items())
        if name not in gone
    ]
    ranged = (400, '{"error":"etcdserver: user name is empty"}') if locked else (200, "{}")
    return (200, json.dumps(status)), (200, json.dumps({"members": listed})), ranged


def seen(
    says: Mapping[str, Any] | None = None,
    *,
    down: tuple[str, ...] = (),
    emptied: tuple[str, ...] = (),
    since_s: float = NOW_S - 100,
    failure: str = "",
    retry_s: float = 0.0,
    attempts: Mapping[str, Attempt] | None = None,
) -> View:
    nodes = {}
    for node in ETCD.nodes:
        running = node.id not in down
        dead = None if running else Confirmed(node.id, NOW_S - 1, 1)
        state = NodeState(
            running,
            "web",
            node.digest,
            node.files_digest,
            dead=dead,
            has_data=node.id not in emptied,
            failure="" if running else failure,
            retry_at_s=0.0 if running else NOW_S + retry_s,
        )
        reading = node.probe.read((says or {}).get(node.id, member()))
        health = Health.DOWN if not running else Health.READY if reading.ready else Health.SUSPECT
        nodes[node.id] = NodeStatus(health, state, reading, NOW_S - 0.2, NOW_S - 0.2, since_s)
    return View(NOW_S, nodes, attempts=attempts or {})


def first(view: View, node_id: str) -> Any:
    """What the guard lets happen to a node: the first proposal about it."""
    for action in proposals(ETCD, view):
        about = action.node.id if isinstance(action, StartNode) else getattr(action, "subject", None)
        if node_id in (about, getattr(action, "node_id", None)):
            return action
    return None


def no_leader() -> dict[str, Any]:
    return {node.id: member(led=False) for node in ETCD.nodes}


def test_a_member_is_ready_while_it_knows_a_leader():
    assert read_member(member()).ready
    assert read_member(member(led=False)).because == "etcdserver: no leader"
    assert not read_member(((503, ""),) * 3).ready


def gone(**attempts: float) -> View:
    """Nobody runs, nobody has data; operations were attempted at these moments, seconds from now."""
    told = {name: Attempt(NOW_S + at_s, True, "") for name, at_s in attempts.items()}
    return seen(down=tuple(PEERS), emptied=tuple(PEERS), attempts=told)


def asked(view: View) -> list[str]:
    """The operations that are proposed."""
    return [one.operation for one in proposals(ETCD, view) if isinstance(one, Operate)]


def test_a_new_group_is_founded_by_all_at_once():
    founders = {first(gone(found=-0.1), name).extra_args for name in PEERS}
    assert len(founders) == 1
    assert founders.pop()[:3] == ("--initial-cluster-state", "new", "--initial-cluster-token")


def test_its_token_is_decided_on_before_the_first_founder_starts():
    """Founders that start in two turns of the loop would otherwise found two groups, and wait for each other."""
    assert asked(gone()) == ["found"]
    assert [type(first(gone(), name)) for name in PEERS] == [Hold] * 3
    now, later = gone(found=-0.1), changed(gone(found=-0.1), now_s=NOW_S + 20)
    assert first(now, "web-1").extra_args == first(later, "web-3").extra_args
    steps = found(ETCD, gone(), None)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value.done


@pytest.mark.parametrize("attempts", [{"found": -9.0}, {"found": -9.0, "lock": -8.0}, {"found": -0.15, "lock": -0.1}])
def test_no_two_foundings_make_the_same_group(attempts: dict[str, float]):
    """Clients would take its log, which begins anew, for one that was set back, and refuse it for ever."""
    assert asked(gone(**attempts)) == ["found"]
    assert [type(first(gone(**attempts), name)) for name in PEERS] == [Hold] * 3
    assert asked(gone(found=-0.1)) == []
    assert first(gone(found=-0.1), "web-1").extra_args != first(gone(found=-0.05), "web-1").extra_args


def test_less_than_a_majority_founds_no_group():
    """The others could no longer found the same one."""
    view = gone(found=-0.1)
    waits = changed(view.nodes["web-2"], state=changed(view.nodes["web-2"].state, retry_at_s=NOW_S + 3))
    two = changed(view, nodes={**view.nodes, "web-2": waits})
    assert [type(first(two, name)) for name in PEERS] == [StartNode, Hold, StartNode]
    one = changed(two, nodes={**two.nodes, "web-3": changed(waits, state=changed(waits.state, dead=None))})
    assert [type(first(one, name)) for name in PEERS] == [Hold] * 3


def test_a_member_emptied_as_it_runs_stands_in_the_way_of_a_new_group_until_it_is_ended():
    view = seen(no_leader(), down=("web-1", "web-2"), emptied=tuple(PEERS))
    assert isinstance(first(view, "web-1"), Hold)
    ended = first(view, "web-3")
    assert isinstance(ended, StopNode) and not ended.keep_data


def test_a_member_with_its_data_just_starts():
    action = first(seen(down=("web-2",)), "web-2")
    assert (type(action), action.extra_args) == (StartNode, ())


def test_a_member_without_its_data_is_replaced_and_joins_once_it_is_admitted():
    view = seen(down=("web-2",), emptied=("web-2",))
    assert first(view, "web-2") == Operate("web", "replace", "it has lost its data", "web-2")
    admitted = {name: member(unstarted=("web-2",)) for name in PEERS}
    action = first(seen(admitted, down=("web-2",), emptied=("web-2",)), "web-2")
    assert action.extra_args == ("--initial-cluster-state", "existing")


def test_after_a_replacement_the_others_are_asked_again_first():
    attempts = {"replace": Attempt(NOW_S, True, "web-2 may join")}
    assert isinstance(first(seen(down=("web-2",), emptied=("web-2",), attempts=attempts), "web-2"), Hold)


def test_a_member_that_cannot_read_its_data_loses_it_while_the_others_have_all():
    view = seen(down=("web-3",), failure="exited with code 2, 7 times in 9 s: crc mismatch", retry_s=3.2)
    action = first(view, "web-3")
    assert isinstance(action, StopNode) and not action.keep_data
    lost_by_a_drill = seen(down=("web-3",), retry_s=25.0)
    assert isinstance(first(lost_by_a_drill, "web-3"), Hold)


def test_what_is_left_of_a_majority_that_lost_its_data_is_given_up_but_not_at_once():
    away = ("web-1", "web-2")
    late = first(seen(no_leader(), down=away, emptied=away), "web-3")
    assert isinstance(late, StopNode) and not late.keep_data
    young = first(seen(no_leader(), down=away, emptied=away, since_s=NOW_S - 1), "web-3")
    assert not isinstance(young, StopNode)


@pytest.mark.parametrize("emptied", [("web-1",), ("web-1", "web-2")], ids=["away", "and another as it ran"])
def test_one_member_without_data_waits_while_the_others_elect_but_not_for_ever(emptied: tuple[str, ...]):
    young = seen(no_leader(), down=("web-1",), emptied=emptied, since_s=NOW_S - 10)
    assert isinstance(first(young, "web-1"), Hold)
    assert first(young, "web-2") is None and first(young, "web-3") is None
    late = seen(no_leader(), down=("web-1",), emptied=emptied)
    given_up = [first(late, name) for name in ("web-2", "web-3")]
    assert all(isinstance(action, StopNode) and not action.keep_data for action in given_up)


def test_nothing_is_given_up_while_one_that_has_the_rest_may_come_back():
    """A member is being rebuilt elsewhere, and then a second host is lost: what the third has is not nothing."""
    late = seen(no_leader(), down=("web-1",), emptied=("web-1",))
    away = late.nodes["web-2"]
    silent = changed(away, health=Health.HUNG, state=changed(away.state, silent="node2 does not answer"))
    view = changed(late, nodes={**late.nodes, "web-2": silent})
    assert not [one for one in proposals(ETCD, view) if isinstance(one, StopNode)]
    assert isinstance(first(view, "web-1"), Hold)


def test_a_member_is_replaced_only_by_what_the_others_said_after_it_was_lost():
    """Before, they may have lost their data, too."""
    view = seen(down=("web-2",), emptied=("web-2",))
    stale = {name: changed(status, read_s=NOW_S - 2) for name, status in view.nodes.items()}
    assert isinstance(first(changed(view, nodes=stale), "web-2"), Hold)


def test_a_group_that_asks_nobody_for_a_password_is_locked():
    view = seen({name: member(locked=False) for name in PEERS})
    assert Operate("web", "lock", "it asks nobody for a password yet", "web-1") in list(proposals(ETCD, view))
    assert list(proposals(ETCD, seen())) == []


def test_it_works_while_a_majority_does():
    assert service_health(ETCD, seen())[0] == "healthy"
    assert service_health(ETCD, seen(down=("web-1",)))[0] == "degraded"
    assert service_health(ETCD, seen(no_leader(), down=("web-1", "web-2")))[0] == "down"


def play(recipe: Any, view: View, subject: str, answers: list[Any], one: Blueprint = ETCD) -> tuple[Any, list[Any]]:
    run, asked, reply = recipe(one, view, subject), [], None
    while True:
        try:
            step = run.send(reply)
        except StopIteration as end:
            return end.value, asked
        assert isinstance(step, Together)
        asked.append(step.asks[0])
        reply = (answers.pop(0),)


def node(name: str) -> Node:
    return next(one for one in ETCD.nodes if one.id == name)


def test_replacing_takes_the_old_entry_out_and_puts_a_new_one_in():
    view = seen(down=("web-2",), emptied=("web-2",))
    token = ((200, json.dumps({"token": "t"})),)
    outcome, asked = play(replace, view, "web-2", [token, ((200, "{}"), (200, "{}"))])
    assert outcome.done
    assert [command[1] for command in asked[1].commands] == ["/v3/cluster/member/remove", "/v3/cluster/member/add"]
    assert asked[1].to == node("web-1").ports["client"]
    assert {command[3] for command in asked[1].commands} == {"t"}


def elsewhere(name: str) -> Blueprint:
    """The same members, one of them at another address: it is rebuilt on another host."""
    moved = changed(node(name), ports={"client": Tcp("10.0.0.4", 2379), "peer": Tcp("10.0.0.4", 2380)})
    return changed(ETCD, nodes=tuple(moved if one.id == name else one for one in ETCD.nodes))


def test_a_member_that_is_rebuilt_elsewhere_joins_once_its_former_entry_is_gone():
    view = seen(down=("web-2",), emptied=("web-2",))
    asks = [one for one in proposals(elsewhere("web-2"), view) if isinstance(one, Operate)]
    because = "the others do not know it where it is to be"
    assert asks == [Operate("web", "replace", because, "web-2")]
    token = ((200, json.dumps({"token": "t"})),)
    outcome, asked = play(replace, view, "web-2", [token, ((200, "{}"), (200, "{}"))], elsewhere("web-2"))
    assert outcome.done
    told = [(command[1].rpartition("/")[2], json.loads(command[2])) for command in asked[1].commands]
    assert told == [("remove", {"ID": "1"}), ("add", {"peerURLs": ["http://10.0.0.4:2380"]})]


def test_nobody_is_restarted_because_another_member_is_elsewhere():
    first_of, listeners = ETCD.nodes[0], shapes_listeners()
    moved = {**listeners, "member-2": {"client": Tcp("10.0.0.4", 2379), "peer": Tcp("10.0.0.4", 2380)}}
    again = member_node(Grant("web", moved, {"password": "pretended"}), 1)
    assert again.digest == member_node(Grant("web", listeners, {"password": "pretended"}), 1).digest
    assert "web-2=http://10.0.0.4:2380" in again.ambient["ETCD_INITIAL_CLUSTER"]
    assert first_of.rebuilds


def shapes_listeners() -> dict[str, dict[str, Tcp]]:
    return {f"member-{n}": dict(one.ports) for n, one in enumerate(ETCD.nodes, 1)}


def test_locking_may_find_that_half_of_it_was_done():
    exists = (400, '{"error": "etcdserver: role name already exists"}')
    outcome, _ = play(lock, seen(), "web-1", [(exists, exists, (200, "{}"), (200, "{}"), (200, "{}"))])
    assert outcome.done
    outcome, _ = play(lock, seen(), "web-1", [((200, "{}"),) * 4 + ((400, '{"error": "no leader"}'),)])
    assert (outcome.done, outcome.because) == (False, "web-1 refused: no leader")


def apart(led_from: dict[str, int], leader: str = "web-1", attempts: Mapping[str, Attempt] | None = None) -> View:
    """Each member on a host of its own, `host-1` to `host-3`."""
    view = seen({leader: member(leads=True)}, attempts=attempts)
    nodes = {
        name: changed(status, state=changed(status.state, host=name.replace("web", "host")))
        for name, status in view.nodes.items()
    }
    return changed(view, nodes=nodes, led_from=led_from)


def test_it_leads_from_where_no_primary_is():
    (action,) = list(lead_apart(ETCD, apart({"host-1": 1, "host-2": 1})))
    assert isinstance(action, Operate) and (action.operation, action.subject) == ("hand-on", "web-3")
    assert not list(lead_apart(ETCD, apart({"host-1": 1, "host-2": 1}, leader="web-3")))
    assert not list(lead_apart(ETCD, apart({"host-1": 1, "host-2": 1, "host-3": 1})))
    assert not list(lead_apart(ETCD, apart({"host-1": 1}, attempts={"hand-on": Attempt(NOW_S - 3, False, "")})))
    assert not list(lead_apart(ETCD, changed(apart({"host-1": 1}), nodes=seen(down=("web-2",)).nodes)))


def test_it_does_not_lead_from_a_host_that_is_drained():
    view = apart({"host-2": 1, "host-3": 1})
    drained = changed(view.nodes["web-1"], state=changed(view.nodes["web-1"].state, ground=Ground.DRAINED))
    (action,) = list(lead_apart(ETCD, changed(view, nodes={**view.nodes, "web-1": drained})))
    assert isinstance(action, Operate) and (action.operation, action.subject) == ("hand-on", "web-2")
    assert action.because == "web-1 leads on a host that is drained"


def test_handing_on_asks_the_leader_for_it_with_the_password():
    token = ((200, json.dumps({"token": "t"})),)
    outcome, asked = play(hand_on, apart({}), "web-3", [token, ((200, "{}"),)])
    assert (outcome.done, outcome.because) == (True, "web-3 leads")
    ((_, path, body, sent),) = asked[1].commands
    assert (path, json.loads(body), sent) == ("/v3/maintenance/transfer-leadership", {"targetID": "2"}, "t")
    assert asked[1].to == node("web-1").ports["client"]
    outcome, _ = play(hand_on, apart({}), "web-3", [token, ((400, '{"error": "no"}'),)])
    assert (outcome.done, outcome.because) == (False, "refused: no")
