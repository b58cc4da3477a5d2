"""What is said to whom, in which order, when a role moves; driven step by step against a model that answers as
Valkey does."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from everup.core.plan import view_of
from everup.kinds._redis_scene import Scene, port_of
from everup.model.desired import Ask, Blueprint, Crown, Keep, Milestone, NodeId, Outcome, ReplyError, Silence, Together
from tests.kinds.small_group import SmallGroup, address_of
from tests.kinds.test_redis_properties import ControlPlane, founded
from tests.worlds import redis

GROUP = redis()
Override = Callable[[Ask], Any]


@dataclass
class Told:
    """All that a recipe did: every command with its receiver, in order, and its other steps."""

    outcome: Outcome
    asked: list[tuple[NodeId, tuple[str, ...]]] = field(default_factory=list)
    rounds: list[set[NodeId]] = field(default_factory=list)
    steps: list[Any] = field(default_factory=list)

    def to(self, *start: str) -> list[NodeId]:
        """Who was sent a command that starts like this, in order."""
        return [node_id for node_id, words in self.asked if words[: len(start)] == start]

    def position(self, node_id: NodeId, *start: str) -> int:
        return next(n for n, (to, words) in enumerate(self.asked) if to == node_id and words[: len(start)] == start)


def play(plane: ControlPlane, operation: str, subject: NodeId | None = None, override: Override | None = None) -> Told:
    """Perform one operation on the model; `override` may answer instead of it, by returning something."""
    group, told = plane.group, Told(Outcome(False, "not begun"))
    view = view_of(plane.blueprint, plane.observed())
    steps = plane.blueprint.operations[operation](plane.blueprint, view, subject)
    names = {address_of(one): one.node.id for one in group.processes.values()}
    reply: Any = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as end:
            told.outcome = end.value
            return told
        reply = None
        if isinstance(step, Together):
            said = [(names.get(str(ask.to), getattr(ask.to, "node", "")), ask) for ask in step.asks]
            told.asked += [(name, words) for name, ask in said for words in ask.commands]
            told.rounds.append({name for name, _ in said})
            reply = tuple((override and override(ask)) or group.answer(ask) for _, ask in said)
        elif isinstance(step, Milestone | Crown | Keep):
            told.steps.append(step)


def dead_primary() -> ControlPlane:
    plane = founded(GROUP)
    plane.group.kill("redis01-1")
    plane.look()
    return plane


def deaf(*node_ids: NodeId) -> Override:
    """These answer nothing."""
    silent = {str(port_of(node)) for node in GROUP.nodes if node.id in node_ids}
    return lambda ask: Silence("no answer within 0.3 s") if str(ask.to) in silent else None


def instead(start: tuple[str, ...], answer: Any, to: str = "") -> Override:
    """Questions that start with this command, put to `to` or to anybody, get that answer."""
    return lambda ask: answer if ask.commands[0][: len(start)] == start and to in str(ask.to) else None


# -- failover


def test_a_failover_looks_votes_promotes_publishes_and_records():
    plane = dead_primary()
    told = play(plane, "failover", "redis01-1")
    assert told.outcome == Outcome(True, "redis01-2 took over from redis01-1")
    assert [getattr(step, "name", step) for step in told.steps] == [
        "failover.voted",
        "failover.promoted",
        "failover.published",
        Crown("redis01-2", told.steps[-1].known),
    ]
    offset = told.steps[1].fields["offset"]
    known = {"offset": offset, "written": 4007, "rewritten": 1}
    assert told.steps[-1].known == {**known, **{f"former_{name}": value for name, value in known.items()}}
    assert told.to("REPLICAOF", "NO", "ONE") == ["redis01-2"]
    assert told.to("SENTINEL", "IS-MASTER-DOWN-BY-ADDR") == [f"redis01-sentinel-{n}" for n in (1, 2, 3)]
    assert told.to("PUBLISH") == [f"redis01-sentinel-{n}" for n in (1, 2, 3)]
    assert told.to("REPLICAOF", "127.77.0.12", "6379") == ["redis01-3"]
    assert told.to("CONFIG", "REWRITE") == ["redis01-2", "redis01-3"]
    assert {one.named for one in plane.group.voters} == {"127.77.0.12:6379"}
    assert plane.group.points_to == ("127.77.0.12:6379", True)


def test_sentinels_endpoint_and_replicas_are_told_at_the_same_time():
    told = play(dead_primary(), "failover", "redis01-1")
    voters = {f"redis01-sentinel-{n}" for n in (1, 2, 3)}
    assert told.rounds[-2] == voters | {"redis01-endpoint", "redis01-2", "redis01-3"}
    assert told.rounds[-1] == {"redis01-2", "redis01-3"}, "what is written to disk keeps nobody waiting"
    assert "redis01-1" not in set().union(*told.rounds)


def test_a_vote_is_asked_for_the_address_that_each_sentinel_knows():
    told = play(dead_primary(), "failover", "redis01-1")
    elector = Scene(GROUP, view_of(GROUP, dead_primary().observed())).elector_id
    ballots = {words for _, words in told.asked if "IS-MASTER-DOWN-BY-ADDR" in words}
    assert ballots == {("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.77.0.11", "6379", "1", elector)}
    assert len(elector) == 40


def test_the_hello_comes_from_another_sentinel():
    told = play(dead_primary(), "failover", "redis01-1")
    for node_id, words in told.asked:
        if words[0] == "PUBLISH":
            host, port, run, epoch, name, *rest = words[2].split(",")
            assert (epoch, name, rest) == ("1", "redis01", ["127.77.0.12", "6379", "1"])
            sender = next(node for node in GROUP.nodes if "voter" in node.ports and node.ports["voter"].host == host)
            assert sender.id != node_id and port == "26380" and len(run) == 40


def test_the_most_advanced_replica_is_promoted():
    plane = dead_primary()
    plane.group.at("127.77.0.13:6379").writes += 100
    told = play(plane, "failover", "redis01-1")
    assert told.to("REPLICAOF", "NO", "ONE") == ["redis01-3"]


def test_replicas_may_read_on_before_one_is_chosen():
    plane, rounds = dead_primary(), iter([0, 50, 90, 90])
    late = plane.group.at("127.77.0.13:6379")
    began = late.writes

    def drain(ask: Ask) -> None:
        if str(ask.to) == address_of(late) and ask.commands[0] == ("INFO", "replication"):
            late.writes = began + next(rounds, 90)

    assert play(plane, "failover", "redis01-1", drain).to("REPLICAOF", "NO", "ONE") == ["redis01-3"]


def test_a_higher_epoch_is_tried_when_votes_were_given_already():
    plane = dead_primary()
    for voter in plane.group.voters[:2]:
        voter.leader = ("somebody else", 4)
    told = play(plane, "failover", "redis01-1")
    epochs = [words[4] for _, words in told.asked if "IS-MASTER-DOWN-BY-ADDR" in words]
    assert epochs == ["1"] * 3 + ["5"] * 3
    assert told.outcome.done


@pytest.mark.parametrize("silent", [2, 3])
def test_nobody_is_promoted_without_a_majority(silent: int):
    told = play(dead_primary(), "failover", "redis01-1", deaf(*(f"redis01-sentinel-{n}" for n in range(1, silent + 1))))
    assert told.outcome == Outcome(False, "fewer than 2 Sentinels granted their vote")
    assert (told.to("REPLICAOF"), told.to("PUBLISH"), told.steps) == ([], [], [])


def test_nobody_is_promoted_when_the_majority_votes_for_somebody_else():
    elsewhere = instead(("SENTINEL", "IS-MASTER-DOWN-BY-ADDR"), ([0, "f" * 40, 9],))
    told = play(dead_primary(), "failover", "redis01-1", elsewhere)
    assert (told.outcome.done, told.to("REPLICAOF"), told.steps) == (False, [], [])


def test_one_silent_sentinel_does_not_matter():
    told = play(dead_primary(), "failover", "redis01-1", deaf("redis01-sentinel-2"))
    assert told.outcome.done
    assert told.to("PUBLISH") == ["redis01-sentinel-1", "redis01-sentinel-3"]


def test_nobody_is_promoted_when_no_replica_answers():
    told = play(dead_primary(), "failover", "redis01-1", deaf("redis01-2", "redis01-3"))
    assert told.outcome == Outcome(False, "no replica with the newest data answers")
    assert "IS-MASTER-DOWN-BY-ADDR" not in str(told.asked)


def test_an_older_replica_is_never_promoted():
    plane = founded(GROUP)
    plane.record = plane.record.__class__("redis01-1", 2, 2)
    plane.group.at("127.77.0.13:6379").mark = 2
    plane.group.at("127.77.0.12:6379").writes += 500
    plane.group.kill("redis01-1")
    plane.look()
    assert play(plane, "failover", "redis01-1").to("REPLICAOF", "NO", "ONE") == ["redis01-3"]


def test_the_next_best_is_promoted_when_the_best_refuses():
    refuses = instead(("CLIENT", "PAUSE"), ("OK", ReplyError("BUSY"), "", ""), to="127.77.0.12:6379")
    told = play(dead_primary(), "failover", "redis01-1", refuses)
    assert told.to("REPLICAOF", "NO", "ONE") == ["redis01-2", "redis01-3"]
    assert told.steps[-1].node == "redis01-3"


def test_what_was_promoted_already_is_published_and_nobody_else_is_promoted():
    plane = dead_primary()
    plane.group.at("127.77.0.13:6379").follows = None
    told = play(plane, "failover", "redis01-1")
    assert told.to("REPLICAOF", "NO", "ONE") == []
    assert told.steps[-1].node == "redis01-3"
    assert {one.named for one in plane.group.voters} == {"127.77.0.13:6379"}


def test_whom_the_sentinels_have_chosen_is_left_in_peace():
    plane = dead_primary()
    plane.group.at("127.77.0.13:6379").follows = None
    for voter in plane.group.voters:
        voter.named, voter.epoch = "127.77.0.13:6379", 7
    told = play(plane, "failover", "redis01-1")
    assert told.outcome == Outcome(False, "the Sentinels have already chosen redis01-3")
    assert len(told.rounds) == 1


# -- switchover


def test_a_switchover_pauses_writes_and_moves_the_role():
    plane = founded(GROUP)
    told = play(plane, "switchover", "redis01-3")
    assert told.outcome == Outcome(True, "redis01-3 took over from redis01-1")
    assert told.position("redis01-1", "CLIENT", "PAUSE") < told.position("redis01-3", "REPLICAOF", "NO", "ONE")
    assert told.position("redis01-3", "REPLICAOF", "NO", "ONE") < told.position("redis01-1", "MULTI")
    demotion = [words[0] for node_id, words in told.asked if node_id == "redis01-1"][-6:]
    assert demotion == ["MULTI", "REPLICAOF", "CLIENT", "CLIENT", "EXEC", "CONFIG"]
    assert told.steps[-1] == Crown("redis01-3", known=None)
    assert [one.node.id for one in plane.group.leaders] == ["redis01-3"]
    assert plane.group.points_to == ("127.77.0.13:6379", True)


def at_the_gate(told: Told) -> list[str]:
    """What was done to the endpoint and to clients, in order, each once."""
    words = {"set table gate": "shut", "clear table gate": "open", "shutdown sessions": "cut"}
    done = [
        words.get(" ".join(said[0].split()[:3]), words.get(" ".join(said[0].split()[:2]), "")) for _, said in told.asked
    ]
    for position, (_, said) in enumerate(told.asked):
        if said[:2] in (("CLIENT", "PAUSE"), ("CLIENT", "LIST"), ("REPLICAOF", "NO")):
            done[position] = said[1].lower() if said[0] == "CLIENT" else "promote"
    kept = [one for one in done if one]
    return [one for position, one in enumerate(kept) if position == 0 or kept[position - 1] != one]


def test_who_connects_waits_at_the_gate_until_the_endpoint_leads_to_the_new_primary():
    told = play(founded(GROUP), "switchover", "redis01-3")
    assert at_the_gate(told) == ["shut", "list", "pause", "cut", "promote", "cut", "open"]
    assert at_the_gate(play(dead_primary(), "failover", "redis01-1"))[-2:] == ["cut", "open"]


YOUNG = "id=3 addr=127.0.0.1:56452 age=0 cmd=set tot-cmds=4\n"


@pytest.mark.parametrize(("stays", "looks"), [(0, 3), (5, 8), (10_000, 50)])
def test_sessions_that_began_a_moment_ago_may_end_before_writes_are_paused_but_not_for_ever(stays: int, looks: int):
    asked = []

    def listed(ask: Ask) -> Any:
        if ask.commands[0][:2] != ("CLIENT", "LIST"):
            return None
        asked.append(ask)
        return (YOUNG if len(asked) <= stays else "id=4 age=7 cmd=get tot-cmds=9\n",)

    told = play(founded(GROUP), "switchover", "redis01-3", listed)
    assert told.outcome.done and len(asked) == looks


def test_a_primary_that_does_not_tell_its_sessions_is_not_asked_again():
    told = play(founded(GROUP), "switchover", "redis01-3", instead(("CLIENT", "LIST"), Silence("no answer")))
    assert told.outcome.done
    assert len(told.to("CLIENT", "LIST")) == 1


def test_a_replica_that_lags_is_waited_for_while_writes_go_on():
    plane = founded(GROUP)
    lagging, rounds = plane.group.at("127.77.0.12:6379"), []
    whole = lagging.writes

    def lag(ask: Ask) -> None:
        if str(ask.to) == address_of(lagging) and ask.commands == (("INFO", "replication"),):
            rounds.append(1)
            lagging.writes = whole - max(0, 3 - len(rounds))

    told = play(plane, "switchover", "redis01-2", lag)
    assert told.outcome.done
    assert (len(rounds), len(told.to("CLIENT", "PAUSE"))) == (3 + 1, 1)


def behind_when_paused(plane: ControlPlane, rounds: int) -> Callable[[Ask], None]:
    """The second node has all until writes are paused; then it is so many looks until it has all again."""
    lagging, paused = plane.group.at("127.77.0.12:6379"), []
    whole = lagging.writes

    def lag(ask: Ask) -> None:
        if ask.commands[0][:2] == ("CLIENT", "PAUSE"):
            paused.append(1)
            lagging.writes = whole - (len(paused) < rounds)

    return lag


def test_what_came_before_the_pause_is_waited_for():
    plane = founded(GROUP)
    told = play(plane, "switchover", "redis01-2", behind_when_paused(plane, 3))
    assert told.outcome.done
    assert len(told.to("CLIENT", "PAUSE")) == 3


def test_a_replica_that_lags_for_long_is_not_paused_for():
    plane = founded(GROUP)
    plane.group.at("127.77.0.12:6379").writes -= 1
    told = play(plane, "switchover", "redis01-2")
    assert not told.outcome.done and "nothing was changed" in told.outcome.because
    assert {words[0] for _, words in told.asked} == {"INFO"}


def test_a_replica_that_never_catches_up_changes_nothing():
    plane = founded(GROUP)
    told = play(plane, "switchover", "redis01-2", behind_when_paused(plane, 10_000))
    assert not told.outcome.done and "nothing was changed" in told.outcome.because
    assert (told.to("REPLICAOF"), told.to("PUBLISH"), told.steps[1:]) == ([], [], [])
    assert told.asked[-2:] == [("redis01-1", ("CLIENT", "UNPAUSE")), ("redis01-endpoint", ("clear table gate",))]
    assert len(told.to("CLIENT", "PAUSE")) == 100


@pytest.mark.parametrize("answer", [Silence("no answer within 0.3 s"), (ReplyError("ERR unknown command"), "")])
def test_a_primary_that_cannot_be_paused_is_not_taken_over_from(answer: Any):
    refuses = instead(("CLIENT", "PAUSE"), answer)
    told = play(founded(GROUP), "switchover", "redis01-2", refuses)
    assert (told.outcome.done, told.to("REPLICAOF"), told.to("PUBLISH")) == (False, [], [])


def test_nothing_is_switched_to_a_node_that_is_unfit_or_without_votes():
    plane = founded(GROUP)
    assert play(plane, "switchover", "redis01-9").outcome == Outcome(False, "redis01-9 is not in sync")
    without = play(plane, "switchover", None, deaf("redis01-sentinel-1", "redis01-sentinel-2"))
    assert without.outcome == Outcome(False, "fewer than 2 Sentinels granted their vote")
    assert without.to("CLIENT", "PAUSE") == []
    dead = dead_primary()
    assert play(dead, "switchover").outcome == Outcome(False, "there is no live primary to take over from")


# -- small ones


def test_follow_repoints_and_cuts_the_clients_of_a_second_primary():
    plane = founded(GROUP)
    plane.group.at("127.77.0.13:6379").follows = None
    plane.look()
    told = play(plane, "follow", "redis01-3")
    assert [words[:2] for _, words in told.asked] == [
        ("CLIENT", "PAUSE"),
        ("REPLICAOF", "127.77.0.11"),
        ("CLIENT", "KILL"),
        ("CLIENT", "UNPAUSE"),
        ("CONFIG", "REWRITE"),
    ]
    assert (told.steps, told.rounds) == ([Keep("redis01-3")], [{"redis01-3"}, {"redis01-3"}])
    assert plane.group.at("127.77.0.13:6379").follows == "127.77.0.11:6379"
    assert told.outcome == Outcome(True, "redis01-3 follows redis01-1")


def test_follow_cuts_nobody_who_reads_from_a_replica():
    plane = founded(GROUP)
    plane.group.at("127.77.0.13:6379").follows = "127.77.0.12:6379"
    plane.look()
    assert [words[0] for _, words in play(plane, "follow", "redis01-3").asked] == ["REPLICAOF", "CONFIG"]


@pytest.mark.parametrize("answer", [Silence("refused"), (ReplyError("LOADING"), "OK")])
def test_follow_says_when_it_was_not_obeyed(answer: Any):
    told = play(founded(GROUP), "follow", "redis01-3", lambda ask: answer)
    assert not told.outcome.done and "redis01-3 did not obey" in told.outcome.because


def test_nobody_follows_itself():
    assert not play(founded(GROUP), "follow", "redis01-1").outcome.done


def new_group(blueprint: Blueprint) -> ControlPlane:
    plane = ControlPlane(SmallGroup(blueprint))
    for node in blueprint.nodes:
        plane.group.start(node, ())
    plane.crown("redis01-1")
    plane.look()
    return plane


def test_enlist_tells_a_new_sentinel_all_it_needs():
    plane = new_group(redis(auth=True))
    told = play(plane, "enlist", "redis01-sentinel-2")
    commands = [words for _, words in told.asked]
    assert commands[0] == ("SENTINEL", "MONITOR", "redis01", "127.77.0.11", "6379", "2")
    assert ("SENTINEL", "SET", "redis01", "auth-user", "everup", "auth-pass", "swordfish") in commands
    assert ("SENTINEL", "SET", "redis01", "down-after-milliseconds", "5000") in commands
    assert commands[-1][:2] == ("SENTINEL", "DEBUG")
    plane.look()
    assert plane.statuses["redis01-sentinel-2"].ready


def test_sentinels_on_hosts_of_their_own_wait_less_long():
    told = play(new_group(redis(network="10.77.0")), "enlist", "redis01-sentinel-2")
    assert ("SENTINEL", "SET", "redis01", "down-after-milliseconds", "2000") in [words for _, words in told.asked]


def test_enlist_does_not_introduce_the_group_twice():
    plane = founded(GROUP)
    commands = [words[1] for _, words in play(plane, "enlist", "redis01-sentinel-2").asked]
    assert commands == ["SET"] * 4 + ["DEBUG"]


def test_enlist_says_what_a_sentinel_objected_to():
    objects = instead(("SENTINEL",), ("OK", ReplyError("ERR Invalid argument"), "OK", "OK", "OK"))
    told = play(founded(GROUP), "enlist", "redis01-sentinel-2", objects)
    assert told.outcome == Outcome(False, "ERR Invalid argument")


def test_a_sentinel_without_debug_is_enlisted_all_the_same():
    older = instead(("SENTINEL",), ("OK", "OK", "OK", "OK", ReplyError("ERR Unknown sentinel subcommand")))
    assert play(founded(GROUP), "enlist", "redis01-sentinel-2", older).outcome.done


def test_forget_resets_one_sentinel():
    plane = founded(GROUP)
    told = play(plane, "forget", "redis01-sentinel-2")
    assert told.asked[0] == ("redis01-sentinel-2", ("SENTINEL", "RESET", "redis01"))
    assert set().union(*told.rounds) == {"redis01-sentinel-2"}


def test_lead_points_the_endpoint_at_the_recorded_primary():
    plane = founded(GROUP)
    plane.group.points_to = ("127.77.0.13:6379", True)
    assert play(plane, "lead").outcome.done
    assert plane.group.points_to == ("127.77.0.11:6379", True)
    assert not play(plane, "lead", None, lambda ask: Silence("refused")).outcome.done


def test_promote_makes_the_recorded_node_primary():
    plane = new_group(redis(ha=False))
    plane.group.at("127.77.0.11:6379").follows = "127.77.0.12:6379"
    assert play(plane, "promote").outcome == Outcome(True, "redis01-1 is primary")
    assert not play(plane, "promote", None, lambda ask: Silence("refused")).outcome.done
