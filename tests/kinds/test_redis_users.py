"""Passwords of a Redis group: who knows which, whatever happens while clients get another one."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings

from everup.core.plan import plan
from everup.kinds._redis_users import granted, hashed
from everup.model.actions import Hold, Operate, StartNode
from everup.model.desired import Ask, Blueprint, Part, Silence
from everup.model.renewal import Renewal, Turn
from tests.kinds.small_group import Process, Server, Voter
from tests.kinds.test_redis_properties import Blow, ControlPlane, cases, founded, live, survive, whole
from tests.kinds.test_redis_recipes import play
from tests.worlds import redis

GUARDED = redis(auth=True)
FIRST, SECOND, OURS = "hunter2", "correct-horse", "swordfish"
BEGUN = {"coming": hashed(SECOND)}
BOTH = {"login": f"2:{SECOND}", "former": f"1:{hashed(FIRST)}", "coming": ""}
ENDING = {**BOTH, "former": "", "ending": f"1:{hashed(FIRST)}"}
ENDED = {**ENDING, "ending": ""}
STAGES: list[tuple[Mapping[str, str], set[str]]] = [
    ({}, {FIRST}),
    (BEGUN, {FIRST, SECOND}),
    (BOTH, {FIRST, SECOND}),
    (ENDING, {SECOND}),
    (ENDED, {SECOND}),
]
"""What is granted, one after the other, and the passwords that clients may use then."""


def guarded(plane: ControlPlane) -> list[Process]:
    """The running nodes where clients log in."""
    return [one for one in plane.group.processes.values() if isinstance(one, Server | Voter) and one.running]


def declared(plane: ControlPlane, secrets: Mapping[str, str]) -> Blueprint:
    """Grant this from now on."""
    plane.blueprint = plane.group.blueprint = redis(auth=True, secrets=secrets)
    return plane.blueprint


def renewal(blueprint: Blueprint) -> Renewal:
    assert blueprint.renewal
    return blueprint.renewal


def lets_in(one: Process) -> set[str]:
    return {password for password in (FIRST, SECOND) if one.doors.admits("", password)}


def earlier_group() -> ControlPlane:
    """A group as the Everup before this one left it: everybody is `default`, with one password for all."""
    plane = founded(GUARDED)
    for one in guarded(plane):
        one.digest = "earlier"
        one.doors.users = {"default": frozenset({hashed(FIRST)})}
        one.doors.earlier = isinstance(one, Server)
        one.doors.kept = {} if one.doors.earlier else dict(one.doors.users)
        one.doors.greets = ""
    plane.forget()
    return plane


# -- what is granted


@pytest.mark.parametrize(("secrets", "passwords"), STAGES)
def test_a_change_of_passwords_restarts_and_reloads_nothing(secrets: Mapping[str, str], passwords: set[str]):
    for ha in (True, False):
        before, after = redis(ha, auth=True), redis(ha, auth=True, secrets=secrets)
        assert [(one.digest, one.files_digest) for one in after.nodes] == [
            (one.digest, one.files_digest) for one in before.nodes
        ]
        for node in (*after.of(Part.DATA), *after.of(Part.VOTER)):
            assert granted(node) == {"default": set(map(hashed, passwords)), "everup": {hashed(OURS)}}
        assert after.bindings["PASSWORD"] in passwords


def test_no_node_is_given_the_password_of_a_client_in_plain_text():
    for secrets, _ in STAGES:
        blueprint = redis(auth=True, secrets=secrets)
        texts = str([(one.files, one.seeds, one.args, one.env) for one in blueprint.nodes])
        assert not [word for word in (FIRST, SECOND) if word in texts]
        asks = [*renewal(blueprint).begin("third").asks.values(), *renewal(blueprint).finish(True).asks.values()]
        assert not [word for word in (FIRST, SECOND, "third") if word in str(asks)]


def test_without_passwords_everything_of_a_node_decides_about_its_restart():
    node = redis().of(Part.VOTER)[0]
    assert node.told == ()
    assert replace(node, seeds={"sentinel.conf": "port 1\n"}).digest != node.digest


# -- what the nodes are told


def test_everup_and_the_nodes_log_in_as_somebody_else_than_clients():
    plane = founded(GUARDED)
    assert all(lets_in(one) == {FIRST} and one.doors.admits("everup", OURS) for one in guarded(plane))
    assert all(one.doors.greets == "everup" for one in plane.group.voters)


@pytest.mark.parametrize(("secrets", "passwords"), STAGES)
def test_every_node_learns_what_is_granted_and_writes_it_down(secrets: Mapping[str, str], passwords: set[str]):
    plane = founded(GUARDED)
    pids = [one.pid for one in guarded(plane)]
    declared(plane, secrets)
    assert live(plane, 5), plane.happened
    for one in guarded(plane):
        assert lets_in(one) == passwords
        assert one.doors.kept == one.doors.users == granted(plane.blueprint.node(one.node.id) or one.node)
        assert SECOND not in str(one.doors.heard)
    assert [one.pid for one in guarded(plane)] == pids


def test_a_node_that_was_away_is_told_when_it_is_back():
    plane = founded(GUARDED)
    for away in ("redis01-2", "redis01-sentinel-3"):
        plane.group.kill(away)
    declared(plane, ENDED)
    assert live(plane, 30), plane.happened
    assert all(lets_in(one) == {SECOND} for one in guarded(plane))


def test_a_node_with_a_new_home_begins_with_what_is_granted_now():
    plane = founded(GUARDED)
    plane.group.kill("redis01-2")
    plane.group.processes["redis01-2"].doors.kept = {}
    blueprint = declared(plane, ENDED)
    node = blueprint.node("redis01-2")
    assert node
    plane.group.start(node, ("--replicaof", "127.77.0.11", "6379"))
    assert lets_in(plane.group.processes["redis01-2"]) == {SECOND}


def test_who_takes_over_knows_the_password_before_clients_come():
    plane = founded(GUARDED)
    declared(plane, ENDED)
    plane.group.kill("redis01-1")
    plane.look()
    told = play(plane, "failover", "redis01-1")
    (heir,) = told.to("REPLICAOF", "NO", "ONE")
    assert told.position(heir, "ACL", "SETUSER", "default") < told.position(heir, "REPLICAOF", "NO", "ONE")
    assert lets_in(plane.group.processes[heir]) == {SECOND}


def test_a_user_who_needs_no_password_is_given_one():
    plane = founded(GUARDED)
    one = plane.group.processes["redis01-1"]
    for reply in (["flags", ["on", "nopass"], "passwords", []], ["flags", ["off"], "passwords", [hashed(FIRST)]], None):
        answers = (*["role:master"] * 2, reply, one.doors.answer(("ACL", "GETUSER", "everup")))
        reading = one.node.probe.read(answers)
        assert reading.facts["access"].users == {"default": frozenset(), "everup": {hashed(OURS)}}


def test_who_does_not_answer_is_named_and_the_others_know_all_the_same():
    plane = founded(GUARDED)
    declared(plane, BOTH)
    address = str(plane.group.processes["redis01-2"].node.ports["redis"])
    told = play(plane, "admit", None, lambda ask: Silence("cut off") if str(ask.to) == address else None)
    assert told.outcome.because == "redis01-2 did not answer: cut off"
    assert lets_in(plane.group.processes["redis01-3"]) == {FIRST, SECOND}


def test_who_is_silent_is_not_told_and_keeps_nobody_waiting():
    plane = founded(GUARDED)
    plane.group.processes["redis01-2"].hung = True
    plane.group.second()
    plane.look()
    declared(plane, ENDED)
    (told,) = [action for action in plane.act() if isinstance(action, Operate)]
    assert "redis01-3" in told.because and "redis01-2" not in told.because
    assert live(plane, 60), plane.happened
    assert all(lets_in(one) == {SECOND} for one in guarded(plane))


# -- a group of an earlier Everup


def test_everup_can_log_in_to_nodes_that_know_one_password_for_all():
    plane = earlier_group()
    plane.look()
    assert all(plane.statuses[one.node.id].ready for one in guarded(plane))


def test_nothing_is_replaced_before_all_know_who_will_log_in():
    plane = earlier_group()
    actions = plane.look() and plane.act()
    assert [action.operation for action in actions if isinstance(action, Operate)] == ["admit"]
    assert not [action for action in actions if isinstance(action, StartNode)]
    assert all(one.doors.admits("everup", OURS) and lets_in(one) == {FIRST} for one in guarded(plane))
    assert all(one.doors.greets == "everup" for one in plane.group.voters)
    assert all(("auth-user", "everup") in pairwise(one.doors.heard) for one in plane.group.voters)


def test_it_becomes_as_it_is_now_one_node_after_the_other_and_everybody_keeps_access():
    plane = earlier_group()
    for _ in range(60):
        plane.group.second()
        plane.look()
        done = plane.is_settled(plane.act())
        assert all(lets_in(one) == {FIRST} for one in guarded(plane))
        if done:
            break
    whole(plane)
    assert all(one.digest == one.node.digest for one in guarded(plane))
    assert all(one.doors.kept == granted(one.node) for one in guarded(plane))


def test_a_sentinel_that_was_told_half_of_it_is_told_the_rest():
    plane = founded(GUARDED)
    plane.group.voters[0].doors.greets = ""
    assert live(plane, 5), plane.happened
    assert plane.group.voters[0].doors.greets == "everup"


def test_one_that_hangs_meanwhile_is_ended_all_the_same():
    plane = earlier_group()
    plane.look()
    plane.group.processes["redis01-2"].hung = True
    for _ in range(5):
        plane.group.second()
        plane.look()
    actions = plan([plane.blueprint], plane.observed())
    held = {action.node_id for action in actions if isinstance(action, Hold)}
    assert "redis01-3" in held and "redis01-2" not in held
    assert live(plane, 60), plane.happened
    whole(plane)


def test_one_that_is_down_meanwhile_comes_as_it_should():
    plane = earlier_group()
    plane.group.kill("redis01-sentinel-1")
    plane.group.kill("redis01-3")
    assert live(plane, 60), plane.happened
    whole(plane)
    assert all(one.doors.admits("everup", OURS) for one in guarded(plane))


@settings(deadline=None, max_examples=10)
@given(cases(GUARDED))
def test_a_group_with_passwords_survives_whatever_happens(happens: list[Blow]):
    survive(GUARDED, happens)


# -- begin and finish


class Rotation:
    """Steps of a renewal on the model; a control plane may die after any part of one."""

    def __init__(self) -> None:
        self.plane = founded(GUARDED)
        self.secrets: dict[str, str] = {}

    @property
    def blueprint(self) -> Blueprint:
        return self.plane.blueprint

    def grant(self, more: Mapping[str, str]) -> None:
        self.secrets |= more
        declared(self.plane, self.secrets)

    def take(self, turn: Turn, parts: int = 99) -> None:
        """Do the first `parts` of it: grants, one node after the other, grants."""
        running = [ask for node_id, ask in turn.asks.items() if self.plane.group.processes[node_id].running]
        steps = [lambda: self.grant(turn.before), *(partial(self.answered, ask) for ask in running)]
        for step in [*steps, lambda: self.grant(turn.after)][:parts]:
            step()
            self.check()
            self.plane.look()
            self.plane.act()
            self.check()

    def answered(self, ask: Ask) -> None:
        reply = self.plane.group.answer(ask)
        assert not isinstance(reply, Silence)
        assert reply[:2] == ("OK", "OK")

    def check(self) -> None:
        """Whoever reads the variables now gets in everywhere."""
        for one in guarded(self.plane):
            assert one.doors.admits("", self.blueprint.bindings["PASSWORD"]), one.node.id

    def die(self) -> None:
        """The control plane dies, and another one mends what it finds."""
        self.plane.forget()
        assert live(self.plane, 20), self.plane.happened
        self.check()


PARTS = range(len([*GUARDED.of(Part.DATA), *GUARDED.of(Part.VOTER)]) + 3)


@pytest.mark.parametrize("parts", PARTS)
def test_a_rotation_that_ends_anywhere_in_its_beginning_can_be_begun_again(parts: int):
    one = Rotation()
    one.take(renewal(one.blueprint).begin("lost"), parts)
    one.die()
    if not renewal(one.blueprint).former:
        one.take(renewal(one.blueprint).begin(SECOND))
        assert one.blueprint.bindings["PASSWORD"] == SECOND
        assert not any(server.doors.admits("", "lost") for server in guarded(one.plane))
    assert renewal(one.blueprint).former == "default with password 1"


@pytest.mark.parametrize("parts", PARTS)
def test_one_that_ends_anywhere_in_its_end_can_be_finished_again(parts: int):
    one = Rotation()
    one.take(renewal(one.blueprint).begin(SECOND))
    one.take(renewal(one.blueprint).finish(True), parts)
    one.die()
    assert bool(renewal(one.blueprint).former) == (parts < len(PARTS) - 1)
    if renewal(one.blueprint).former:
        one.take(renewal(one.blueprint).finish(False))
    assert all(lets_in(server) == {SECOND} for server in guarded(one.plane))
    assert renewal(one.blueprint).former == ""
    assert renewal(one.blueprint).current == "default with password 2"


LISTED = """\
id=7 addr=127.0.0.1:4 name= age=9 cmd=set user=default lib-name=
id=8 addr=127.0.0.1:5 name=user=default age=9 cmd=info user=everup lib-name=
id=9 addr=127.0.0.1:6 name= age=0 cmd=NULL user=default lib-name=
id=12 addr=127.0.0.1:7 name= age=0 cmd=get user=default lib-name=
"""


def test_sessions_of_clients_are_counted_and_cut_and_no_other():
    finish = renewal(redis(auth=True, secrets=BOTH)).finish(True)
    replies = ("OK", "OK", LISTED)
    assert renewal(GUARDED).sessions(replies) == 2
    assert finish.then
    ask = finish.then("redis01-sentinel-1", replies)
    assert ask and ask.commands == (("CLIENT", "KILL", "ID", "7"), ("CLIENT", "KILL", "ID", "12"))
    assert str(ask.to) == "127.77.0.31:26380"
    assert finish.then("redis01-1", ("OK", "OK", "")) is None
    assert renewal(redis(auth=True, secrets=BOTH)).finish(False).then is None


def test_a_redis_without_passwords_has_none_to_rotate():
    assert redis().renewal is None
    assert redis(False).renewal is None
