"""A PostgreSQL group: what is read, decided and done, without any server."""

import base64
import json
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from everup.core.plan import view_of
from everup.core.rules import proposals
from everup.kinds._postgres_patroni import Access, differing, read_patroni
from everup.kinds._postgres_recipes import Failover, Switchover, release_command
from everup.kinds._postgres_scene import Scene
from everup.model.actions import Accept, Action, Hold, Mark, Operate, StartNode, StopNode
from everup.model.desired import (
    Ask,
    Blueprint,
    Crown,
    Halt,
    Milestone,
    Node,
    Outcome,
    Pause,
    Protocol,
    ReplyError,
    Silence,
    Tcp,
    Together,
)
from everup.model.observed import Attempt, Ground, Health, Observed, Role, View
from tests.kinds.postgres_words import NOW_S, group, patroni, seen, streams
from tests.kinds.shapes import KINDS, blueprint, grant, service

ACCESS = Access("web", tuple(Tcp(f"127.0.9.{n}", 2379) for n in (1, 2, 3)), "word", "rest")


def deeds(one: Blueprint, view: View) -> list[tuple[str, ...]]:
    """What is proposed, in short, without what is held."""
    return [shown(action) for action in proposals(one, view) if not isinstance(action, Hold)]


def shown(action: Action) -> tuple[str, ...]:
    match action:
        case StartNode(node=node, extra_args=words):
            return ("start", node.id, *words)
        case Operate(operation=operation, subject=subject):
            return (operation, *([subject] if subject else []))
        case Accept(node_id=node_id) | Mark(node_id=node_id) | StopNode(node_id=node_id):
            return (type(action).__name__.lower(), node_id)
    return (type(action).__name__,)


def holds(one: Blueprint, view: View) -> str:
    return "; ".join(
        f"{action.node_id}: {action.because}" for action in proposals(one, view) if isinstance(action, Hold)
    )


# -- Reading


def test_a_primary_is_ready_while_its_server_runs():
    reading = read_patroni(patroni("primary", replication=streams("web-2", sync="web-2")))
    assert (reading.ready, reading.role) == (True, Role.PRIMARY)
    assert reading.facts["patroni"].standbys == {"web-2": "sync"}
    assert not read_patroni(patroni("primary", state="stopped")).ready


@pytest.mark.parametrize(
    ("said", "ready"),
    [({}, True), ({"replication_state": "in archive recovery"}, False), ({"state": "starting"}, False)],
)
def test_a_standby_is_ready_only_while_it_streams(said: dict[str, str], ready: bool):
    assert read_patroni(patroni(**said)).ready is ready


def test_a_standby_tells_how_far_behind_it_is():
    assert read_patroni(patroni(latest_end_lsn=9000)).lag_bytes == 4000


def test_the_first_differing_setting_is_named():
    wanted = {"ttl": 20, "postgresql": {"parameters": {"wal_level": "replica"}}}
    assert differing(wanted, {"ttl": 20, "postgresql": {"parameters": {"wal_level": "replica"}, "x": 1}}) == ""
    assert differing(wanted, {"ttl": 20, "postgresql": {}}) == "postgresql.parameters.wal_level"


# -- Deciding


def settled(one: Blueprint) -> dict[str, Any]:
    """Patroni's words once the settings are shared as they should be."""
    tune = one.operations["tune"]
    shared = json.loads(tune.shared)  # type: ignore[attr-defined]
    return {
        "web-1": patroni("primary", replication=streams("web-2", "web-3", sync="web-2"), shared=shared),
        "web-2": patroni(sync_standby=True, shared=shared),
        "web-3": patroni(shared=shared),
    }


def test_nothing_is_done_while_all_is_well():
    one = group()
    assert deeds(one, seen(one, says=settled(one))) == []


def test_a_dead_primary_is_failed_over_to_the_standby_that_commits_waited_for():
    one = group()
    view = seen(one, down=("web-1",))
    assert deeds(one, view)[0] == ("failover", "web-1")
    assert "web-2 was waited for by every commit" in next(iter(proposals(one, view))).because  # type: ignore[union-attr]


def test_without_a_confirmed_standby_the_primary_restarts_in_place_and_the_reason_names_each():
    one = group()
    view = seen(one, down=("web-1",), says={"web-2": patroni()})
    first = next(action for action in proposals(one, view) if isinstance(action, StartNode))
    assert first.node.id == "web-1"
    assert "web-2: it was not waited for by commits; web-3: it was not waited for by commits" in first.because


def test_a_standby_that_was_behind_before_the_death_is_no_heir():
    one = group()
    view = seen(one, down=("web-1",), good_s={"web-2": NOW_S - 60})
    assert deeds(one, view)[0] == ("start", "web-1")


def test_asynchronous_groups_fail_over_to_any_standby_that_streams():
    one = group(rpo="async")
    shared = {"synchronous_mode": False}
    says = {"web-2": patroni(shared=shared), "web-3": patroni(shared=shared)}
    assert deeds(one, seen(one, down=("web-1",), says=says))[0] == ("failover", "web-1")


def test_a_refused_failover_is_followed_by_a_restart_in_place():
    one = group()
    refused = {"failover": Attempt(NOW_S - 0.005, False, "etcd does not answer: it has no majority")}
    assert deeds(one, seen(one, down=("web-1",), attempts=refused))[0] == ("start", "web-1")


def test_a_new_group_is_founded_once_by_its_first_server_alone():
    one = group()
    everybody = ("web-1", "web-2", "web-3")
    view = seen(one, down=everybody, emptied=everybody, primary="web-1", marked=0)
    assert deeds(one, view) == [("start", "web-1", "--found"), *_common(one, everybody)]


def _common(one: Blueprint, down: tuple[str, ...]) -> list[tuple[str, ...]]:
    """What the common rules propose as well; the guard takes the first proposal for each node."""
    return [("start", node_id) for node_id in down]


def test_an_emptied_primary_is_never_founded_again():
    one = group()
    view = seen(one, down=("web-1",), emptied=("web-1",), says={"web-2": patroni(), "web-3": patroni()})
    assert ("start", "web-1", "--found") not in deeds(one, view)
    assert "it is not started empty" in holds(one, view)


def test_a_standby_waits_for_a_primary_and_then_joins():
    one = group()
    assert deeds(one, seen(one, down=("web-3",)))[0] == ("start", "web-3")
    assert "web-3: it starts as a standby once there is a primary" in holds(one, seen(one, down=("web-1", "web-3")))


def test_whom_patroni_elected_by_itself_is_accepted():
    one = group()
    says = {"web-2": patroni("primary", replication=streams("web-3", sync="web-3")), "web-1": patroni()}
    assert ("accept", "web-2") in deeds(one, seen(one, says=says))


def test_whom_patroni_elected_is_accepted_once_the_former_primary_is_silent_whatever_that_said_last():
    """On a lost host nobody can be fenced: what it said stays as it was."""
    one = group()
    leads = {"web-2": patroni("primary", replication=streams("web-3", sync="web-3"))}
    both = seen(one, says=leads)
    assert ("accept", "web-2") not in deeds(one, both)
    lost = replace(both, nodes={**both.nodes, "web-1": replace(both.nodes["web-1"], health=Health.HUNG)})
    assert ("accept", "web-2") in deeds(one, lost)
    assert not [
        deed
        for deed in deeds(one, replace(lost, nodes={**lost.nodes, "web-2": seen(one).nodes["web-2"]}))
        if deed[0] == "accept"
    ]


def test_nobody_is_marked_before_commits_wait_for_somebody():
    one = group()
    marks = {"web-1": 3, "web-2": 2, "web-3": 2}
    assert ("mark", "web-2") in deeds(one, seen(one, marks=marks))
    alone = {"web-1": patroni("primary", replication=streams("web-2", "web-3")), "web-2": patroni()}
    assert "no commit waits for a standby yet" in holds(one, seen(one, marks=marks, says=alone))


def test_an_etcd_without_a_majority_is_told():
    one = group()
    assert "etcd has no majority" in holds(
        one, seen(one, says={"web-1": patroni("primary", failsafe_mode_is_active=True)})
    )


def test_changed_settings_are_shared_through_the_primary():
    one = group()
    assert ("tune", "web-1") in deeds(one, seen(one))


def test_changed_servers_are_replaced_standbys_first_and_the_primary_hands_over():
    one = group()
    says = settled(one)
    assert deeds(one, seen(one, says=says, changed=("web-1", "web-3")))[0] == ("start", "web-3")
    assert deeds(one, seen(one, says=says, changed=("web-1",)))[0] == ("switchover",)


def full(view: View, *names: str) -> View:
    """The same, with next to nothing left on some disks."""
    cramped = {name: replace(view.nodes[name].state, free_bytes=1 << 20) for name in names}
    nodes = {name: replace(view.nodes[name], state=state) for name, state in cramped.items()}
    return replace(view, nodes={**view.nodes, **nodes})


def test_a_primary_with_a_full_disk_hands_over_to_a_standby_with_room_and_not_over_and_over():
    one = group()
    view = seen(one, says=settled(one))
    assert deeds(one, full(view, "web-1")) == [("switchover", "web-2")]
    assert deeds(one, full(view, "web-1", "web-2")) == []
    assert deeds(one, full(view, "web-2")) == []
    just_now = {"switchover": Attempt(NOW_S - 5.0, False, "it could not be stopped")}
    assert deeds(one, full(seen(one, says=settled(one), attempts=just_now), "web-1")) == []


def test_a_former_group_is_left_step_by_step():
    kind = KINDS["postgres"]
    wide = grant(kind, service("postgres", ha=True))
    one = blueprint("postgres", before=wide)
    assert [node.id for node in one.retiring] == ["web-2", "web-3"]
    led_by_another = seen(one, primary="web-2", says={"web-1": None})
    assert deeds(one, led_by_another)[0] == ("hand-over",)
    led_by_it = seen(one, says={"web-1": ([["f", "5000", "1", "18.6", "77"]],)})
    assert deeds(one, led_by_it)[0] == ("detach",)
    assert "web-2: it goes once no commit waits for it" in holds(one, led_by_it)


# -- Doing


class Told:
    """Plays a recipe: answers its questions, and keeps what it did."""

    def __init__(self, run: Generator[Any, Any, Outcome], **answers: Any) -> None:
        self.steps: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self._answers = answers
        reply: Any = None
        while True:
            try:
                step = run.send(reply)
            except StopIteration as end:
                self.outcome: Outcome = end.value
                return
            reply = self._reply(step)

    def _reply(self, step: Any) -> Any:
        match step:
            case Together(asks=asks):
                return tuple(self._answer(ask) for ask in asks)
            case Milestone(name=name):
                self.steps.append(name)
            case Crown(node=node):
                self.steps.append(f"crown {node}")
            case Pause():
                self.steps.append("pause")
            case Halt(node=node):
                self.steps.append(f"halt {node}")
                return self._answers.get("halt", True)
        return None

    def _answer(self, ask: Any) -> Any:
        if not isinstance(ask.to, Tcp):
            gate = {"set table gate key 1": "shut", "clear table gate": "open"}
            self.steps.append(gate.get(ask.commands[0][0], "point"))
            return ("",)
        if ask.protocol == Protocol.SQL:
            self.steps.append(ask.commands[0][0].split()[0])
            return self._answers.get(self.steps[-1], ([],))
        path = ask.commands[0][1]
        self.asked.append((str(ask.to), path))
        answer = self._answers.get(path.rpartition("/")[2])
        return answer(ask) if callable(answer) else answer


def failover(view: View, one: Blueprint, **answers: Any) -> Told:
    return Told(Failover(ACCESS)(one, view, "web-1"), **answers)


TOKEN = ((200, json.dumps({"token": "t"})),)


def test_a_failover_takes_the_licence_waits_for_the_election_and_leads_clients_there():
    one = group()
    leads = next(node for node in one.nodes if node.id == "web-2").ports["patroni"]

    def says(ask: Any) -> Any:
        return patroni("primary") if ask.to == leads else patroni()

    told = failover(seen(one, down=("web-1",)), one, authenticate=TOKEN, txn=((200, "{}"),), patroni=says)
    assert told.outcome.done
    assert told.steps == ["failover.released", "point", "failover.promoted", "crown web-2"]


def hand_over(**answers: Any) -> Told:
    """A switchover of a group that is well; web-2 leads as soon as it is looked at."""
    one = group()
    leads = next(node for node in one.nodes if node.id == "web-2").ports["patroni"]
    usual = {
        "authenticate": TOKEN,
        "txn": ((200, "{}"),),
        "patroni": lambda ask: patroni("primary") if ask.to == leads else patroni(),
        "SELECT": ([["0"]],),
    }
    return Told(Switchover(ACCESS, "word")(one, seen(one, says=settled(one)), None), **{**usual, **answers})


SHUT = ["CHECKPOINT", "shut", *["SELECT", "pause"] * 2, "SELECT", "DO"]


def test_a_switchover_lets_sessions_end_behind_a_shut_gate_before_the_server_is_stopped():
    told = hand_over()
    assert told.outcome == Outcome(True, "web-2 took over from web-1")
    assert told.steps == [*SHUT, "halt web-1", "failover.released", "point", "failover.promoted", "crown web-2"]


def test_a_primary_that_cannot_be_stopped_gets_its_clients_back():
    told = hand_over(halt=False)
    assert told.outcome == Outcome(False, "web-1 could not be stopped")
    assert told.steps == [*SHUT, "halt web-1", "open"]


def test_nobody_is_kept_out_before_the_checkpoint_is_written():
    assert hand_over(CHECKPOINT=Silence("no answer within 30 s")).steps == ["CHECKPOINT"]


@pytest.mark.parametrize("answer", [Silence("no answer"), (ReplyError("42501: no"),), ([],), ([["many"]],)])
def test_a_server_that_does_not_tell_its_sessions_is_handed_over_all_the_same(answer: Any):
    assert hand_over(SELECT=answer, DO=answer).outcome.done


def test_sessions_that_stay_are_waited_for_half_a_second():
    assert hand_over(SELECT=([["2"]],)).steps.count("SELECT") == 50


def test_without_a_majority_of_etcd_nothing_is_touched():
    one = group()
    told = failover(seen(one, down=("web-1",)), one, authenticate=Silence("no answer"))
    assert (told.outcome.done, told.steps) == (False, [])
    assert "no majority" in told.outcome.because


def test_a_primary_that_runs_keeps_its_licence():
    one = group()
    told = failover(seen(one), one, authenticate=TOKEN, txn=((200, "{}"),))
    assert not told.outcome.done
    assert told.asked == []


def test_the_licence_is_only_taken_from_whom_it_was_meant():
    method, path, body, token = release_command(ACCESS, "web-1", None, "t")
    asked = json.loads(body)
    assert (method, path, token) == ("POST", "/v3/kv/txn", "t")
    assert asked["compare"][0]["target"] == "VALUE" and asked["compare"][0]["result"] == "EQUAL"
    assert [list(step) for step in asked["success"]] == [["requestDeleteRange"]]
    named = json.loads(release_command(ACCESS, "web-1", "web-3", "t")[2])
    assert [next(iter(step)) for step in named["success"]] == ["requestPut", "requestDeleteRange"]


def test_a_primary_on_a_drained_host_hands_over_to_a_standby_that_has_everything():
    one = group()
    view = seen(one, says=settled(one))

    def drained(*names: str) -> View:
        states = {name: replace(view.nodes[name].state, host="node1", ground=Ground.DRAINED) for name in names}
        nodes = {name: replace(view.nodes[name], state=state) for name, state in states.items()}
        return replace(view, nodes={**view.nodes, **nodes})

    assert deeds(one, drained("web-1")) == [("switchover", "web-2")]
    assert deeds(one, drained("web-1", "web-2")) == []  # nobody else was waited for by commits
    assert "its host node1 is drained; it hands over" in holds(one, drained("web-1", "web-2"))
    assert deeds(one, drained("web-2")) == []


def on_hosts(*numbers: int) -> Blueprint:
    """A group whose member n is on the host with the n-th of these numbers."""
    made = grant(KINDS["postgres"], service("postgres", ha=True))
    hosts = {f"data-{n}": f"10.0.0.{number}" for n, number in enumerate(numbers, 1)}
    listeners = {
        key: {name: Tcp(hosts.get(key, to.host), to.port) for name, to in ports.items()}
        for key, ports in made.listeners.items()
    }
    return KINDS["postgres"].blueprint(service("postgres", ha=True), replace(made, listeners=listeners))


def named(node: Node) -> str:
    """What its Patroni is told to call itself."""
    return str(json.loads(node.files["patroni.json"])["name"])


def test_a_member_that_was_rebuilt_has_not_the_name_of_what_may_come_back_where_it_was():
    """Patroni would take over the leader's key by its name alone, and lead with data of long ago."""
    before, after = on_hosts(1, 2, 3), on_hosts(4, 2, 3)
    assert [named(node) for node in before.nodes[:3]] == ["web-1-10-0-0-1", "web-2-10-0-0-2", "web-3-10-0-0-3"]
    assert [named(node) for node in after.nodes[:3]] == ["web-1-10-0-0-4", "web-2-10-0-0-2", "web-3-10-0-0-3"]
    assert [node.digest for node in before.nodes[1:3]] == [node.digest for node in after.nodes[1:3]]  # these stay
    assert [named(node) for node in group().nodes[:3]] == ["web-1", "web-2", "web-3"]  # one machine loses no host


def test_on_several_hosts_rules_and_recipes_use_the_names_that_patroni_knows():
    one = on_hosts(1, 2, 3)
    lists = streams("web-2-10-0-0-2", "web-3-10-0-0-3", sync="web-3-10-0-0-3")
    primary = patroni("primary", replication=lists)
    both = {"web-1": primary, "web-2": patroni(sync_standby=True), "web-3": patroni(sync_standby=True)}
    assert [node.id for node in Scene(one, seen(one, says=both)).confirmed] == ["web-3"]  # its primary's word counts
    sent: list[str] = []

    def etcd(ask: Ask) -> Any:
        sent.append(ask.commands[0][2])
        return ((200, "{}"),)

    failover(seen(one, down=("web-1",)), one, authenticate=TOKEN, txn=etcd)
    compared = json.loads(sent[0])["compare"][0]["value"]
    assert base64.b64decode(compared).decode() == "web-1-10-0-0-1"


def test_a_member_of_a_host_that_is_waited_for_no_longer_joins_elsewhere_as_an_empty_standby():
    one, moved = on_hosts(1, 2, 3), on_hosts(1, 2, 4)
    view = seen(one, says=settled(one))
    lost = replace(view.nodes["web-3"].state, host="node3", address="10.0.0.3", ground=Ground.LOST)
    nodes = {**view.nodes, "web-3": replace(view.nodes["web-3"], state=lost)}
    observed = Observed(view.now_s, nodes, {"web": view.group})
    assert ("start", "web-3") in deeds(moved, view_of(moved, observed))
    assert ("start", "web-3") not in deeds(one, view_of(one, observed))
