"""What can be done to a Redis group, as steps: each is a generator that asks, is told, and ends with an outcome.

Failover and switchover follow Sentinel's own protocol as an elected leader would: a majority of Sentinels must grant an
epoch before anything is promoted, and learns of the new primary by the hello message Sentinels publish to each other.
"""

from collections.abc import Generator, Sequence
from typing import Any

from everup.kinds._gate import let_short_sessions_end
from everup.kinds._haproxy import cut, open_again, point, shut
from everup.kinds._redis_reading import (
    DATA_QUESTION,
    SESSIONS,
    RedisFacts,
    SentinelFacts,
    redis_facts,
    sentinel_facts,
    sentinel_question,
    young_sessions,
)
from everup.kinds._redis_scene import KNOBS, Scene, follow_command, port_of, wanted_settings
from everup.kinds._redis_users import admission, admit, introduction
from everup.model.desired import (
    Ask,
    Blueprint,
    Crown,
    Keep,
    Milestone,
    Node,
    NodeId,
    Outcome,
    Pause,
    ReplyError,
    Silence,
    Step,
    Tcp,
    Together,
)
from everup.model.observed import Role, View

Run = Generator[Step, Any, Outcome]

VOTE_ROUNDS = 8
VOTE_TIMEOUT_S = 0.3
DRAIN_ROUNDS = 20
DRAIN_PAUSE_S = 0.005
"""A replica reads what the dead primary had still sent: at most 20 x 5 ms, redis.md section 2 step 3."""

NEAR_ROUNDS, NEAR_PAUSE_S = 250, 0.02

UNTIL_PUBLISHED = ("CLIENT", "PAUSE", "15000", "WRITE")
"""A promoted node takes no write before the Sentinels know of it. Should Everup die in between, they choose anew after
about 11 s, and often the other replica: what clients of the endpoint had written here would be lost."""

UNTIL_KEPT = ("CLIENT", "PAUSE", "60000", "WRITE")
"""What leads beside the primary takes no writes while what it has alone is kept; its clients are cut afterwards."""

PAUSE = ("CLIENT", "PAUSE", "3000", "WRITE")


def failover(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Make the best replica primary after the confirmed death of `subject`; finishes what an earlier Everup began."""
    scene = Scene(blueprint, view)
    alive = [node for node in scene.running(scene.everyone) if node.id != subject]
    facts, opinions = yield from _look(scene, alive)
    leading = [node for node in alive if node.id in facts and facts[node.id].role == Role.PRIMARY]
    newest = max((opinion.epoch for opinion in opinions.values()), default=0)
    named = {opinion.named for opinion in opinions.values() if opinion.epoch == newest}
    chosen_already = next((node for node in leading if str(port_of(node)) in named), None)
    if chosen_already:
        return Outcome(False, f"the Sentinels have already chosen {chosen_already.id}")
    heirs = {node.id for node in scene.heirs(blueprint.node(subject or ""))}
    candidates = [node for node in alive if node.id in heirs and node.id in facts]  # a silent one would only delay
    if not leading and not candidates:
        return Outcome(False, "no replica with the newest data answers")
    epoch = yield from _collect_votes(scene, opinions)
    if epoch is None:
        return Outcome(False, f"fewer than {scene.majority} Sentinels granted their vote")
    if leading:
        heir, known = leading[0], {}
    else:
        promoted = yield from _promote_best(scene, candidates)
        if promoted is None:
            return Outcome(False, "no replica could be promoted")
        heir, known = promoted[0], _where_they_part(scene, promoted[1])
    yield from _publish(scene, opinions, heir, epoch, alive)
    yield Crown(heir.id, known)
    yield _remember(scene, alive)
    return Outcome(True, f"{heir.id} took over from {subject}" if subject else f"{heir.id} leads")


def _look(
    scene: Scene, alive: Sequence[Node]
) -> Generator[Step, Any, tuple[dict[NodeId, RedisFacts], dict[NodeId, SentinelFacts]]]:
    """Ask every data node for its role and every running Sentinel for its view, at the same time."""
    voters = [voter for voter in scene.running(scene.voters) if scene.status(voter).ready]
    asks = [scene.ask(node, *DATA_QUESTION, timeout_s=VOTE_TIMEOUT_S) for node in alive]
    asks += [scene.ask(voter, *sentinel_question(scene.label), timeout_s=VOTE_TIMEOUT_S) for voter in voters]
    replies = yield Together(tuple(asks))
    facts = {}
    for node, reply in zip(alive, replies, strict=False):
        known = None if isinstance(reply, Silence) else redis_facts(reply)
        if known:
            facts[node.id] = known
    opinions = {}
    for voter, reply in zip(voters, replies[len(alive) :], strict=False):
        view = None if isinstance(reply, Silence) else sentinel_facts(reply)
        if view and view.known:
            opinions[voter.id] = view
    return facts, opinions


def _collect_votes(scene: Scene, opinions: dict[NodeId, SentinelFacts]) -> Generator[Step, Any, int | None]:
    """Ask for an epoch, upwards, until a majority of all declared Sentinels grants the same one."""
    if len(opinions) < scene.majority:
        return None
    voters = [voter for voter in scene.voters if voter.id in opinions]
    epoch = max(opinion.epoch for opinion in opinions.values()) + 1
    for _ in range(VOTE_ROUNDS):
        replies = yield Together(tuple(_ballot(scene, voter, opinions[voter.id].named, epoch) for voter in voters))
        answers = [reply[0] for reply in replies if not isinstance(reply, Silence) and isinstance(reply[0], list)]
        granted = sum(1 for answer in answers if answer[1:3] == [scene.elector_id, epoch])
        if granted >= scene.majority:
            yield Milestone("failover.voted", {"epoch": epoch, "votes": f"{granted} of {len(scene.voters)}"})
            return epoch
        epoch = max([epoch, *(answer[2] for answer in answers if isinstance(answer[2], int))]) + 1
    return None


def _ballot(scene: Scene, voter: Node, named: str, epoch: int) -> Ask:
    host, _, port = named.rpartition(":")
    command = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", host, port, str(epoch), scene.elector_id)
    return scene.ask(voter, command, timeout_s=VOTE_TIMEOUT_S)


def _promote_best(scene: Scene, candidates: Sequence[Node]) -> Generator[Step, Any, tuple[Node, RedisFacts] | None]:
    """Let the candidates read what is still in their sockets, then promote the one with the highest offset.

    Ends with it and with what it said the moment it was promoted.
    """
    offsets: dict[NodeId, int] = {}
    for _ in range(DRAIN_ROUNDS):
        replies = yield Together(
            tuple(scene.ask(node, *DATA_QUESTION, timeout_s=VOTE_TIMEOUT_S) for node in candidates)
        )
        read = {
            node.id: facts
            for node, reply in zip(candidates, replies, strict=False)
            if not isinstance(reply, Silence) and (facts := redis_facts(reply)) and not facts.loading
        }
        before, offsets = offsets, {node_id: facts.offset for node_id, facts in read.items()}
        if read and not any(facts.link_up for facts in read.values()) and offsets == before:
            break
        yield Pause(DRAIN_PAUSE_S)
    for node in sorted(candidates, key=lambda node: -offsets.get(node.id, -1)):
        if node.id not in offsets:
            continue
        if facts := (yield from _make_primary(scene, node, UNTIL_PUBLISHED)):
            yield Milestone("failover.promoted", {"primary": node.id, "offset": offsets[node.id]})
            return node, facts
    return None


def _where_they_part(scene: Scene, promoted: RedisFacts) -> dict[str, int]:
    """How far the new primary's append-only file had come, and the former one's when it was last looked at."""
    if promoted.written is None:
        return {}
    known = {"offset": promoted.offset, "written": promoted.written, "rewritten": int(promoted.rewritten)}
    reading = scene.status(scene.primary).reading if scene.primary else None
    last = reading.facts.get("redis") if reading else None
    if isinstance(last, RedisFacts) and last.role == Role.PRIMARY and last.written is not None:
        former = {"offset": last.offset, "written": last.written, "rewritten": int(last.rewritten)}
        known |= {f"former_{name}": value for name, value in former.items()}
    return known


def _make_primary(scene: Scene, node: Node, *first: tuple[str, ...]) -> Generator[Step, Any, RedisFacts | None]:
    """Promote `node` after the commands `first`; what it then says of itself, if that is "primary".

    It came back a moment ago, perhaps: clients must not find that it knows their former passwords only.
    """
    first = (*first, *admission(node))
    (reply,) = yield Together((scene.ask(node, *first, ("REPLICAOF", "NO", "ONE"), *DATA_QUESTION),))
    facts = None if isinstance(reply, Silence) else redis_facts(reply[len(first) + 1 :])
    return facts if facts and facts.role == Role.PRIMARY else None


def _publish(
    scene: Scene, opinions: dict[NodeId, SentinelFacts], heir: Node, epoch: int, alive: Sequence[Node]
) -> Generator[Step, Any, None]:
    """Tell the Sentinels, the endpoint and every other live node, all at the same time."""
    heard = [voter for voter in scene.voters if voter.id in opinions]
    asks = []
    for voter in heard:
        sender = next(other for other in heard if other.id != voter.id)
        asks.append(scene.ask(voter, _hello(scene.label, port_of(sender), opinions[sender.id].my_id, (heir, epoch))))
    if scene.blueprint.endpoint:
        asks.append(point(scene.blueprint.endpoint.node, port_of(heir)))
    asks += [scene.ask(node, follow_command(port_of(heir))[0]) for node in alive if node.id != heir.id]
    asks.append(scene.ask(heir, ("CLIENT", "UNPAUSE")))
    yield Together(tuple(asks))
    yield Milestone("failover.published", {"primary": heir.id, "epoch": epoch})


def _remember(scene: Scene, nodes: Sequence[Node]) -> Together:
    """Let each write down whom it follows; nobody waits for their disks any more."""
    return Together(tuple(scene.ask(node, ("CONFIG", "REWRITE")) for node in nodes))


def _hello(label: str, sender: Tcp, run_id: str, news: tuple[Node, int]) -> tuple[str, ...]:
    """The message by which Sentinels learn of a new primary and its epoch.

    It must come from another Sentinel; one that the receiver did not know yet, in a young group, it then knows too.
    """
    heir, epoch = news
    to = port_of(heir)
    text = f"{sender.host},{sender.port},{run_id},{epoch},{label},{to.host},{to.port},{epoch}"
    return ("PUBLISH", "__sentinel__:hello", text)


def switchover(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Hand the role to `subject`, or the best replica, without losing a write: votes, pause, equal offsets, promote.

    Who connects to the endpoint meanwhile waits. A request that the pause holds was not executed, and its connection is
    cut: no command of Redis lets another server answer it.
    """
    scene = Scene(blueprint, view)
    old = scene.primary
    heirs = [node for node in scene.heirs(None) if subject in (None, node.id)]
    if old is None or not scene.leads(old):
        return Outcome(False, "there is no live primary to take over from")
    if not heirs:
        return Outcome(False, f"{subject or 'no replica'} is not in sync")
    if not (yield from _wait_near(scene, old, heirs)):
        return Outcome(False, "no replica has what the primary had some seconds ago; nothing was changed")
    alive = scene.running(scene.everyone)
    _, opinions = yield from _look(scene, alive)
    epoch = (yield from _collect_votes(scene, opinions)) if scene.voters else 0
    if epoch is None:
        return Outcome(False, f"fewer than {scene.majority} Sentinels granted their vote")
    end = blueprint.endpoint
    if end:
        yield Together((shut(end.node),))
        yield from let_short_sessions_end(scene.ask(old, *SESSIONS, timeout_s=VOTE_TIMEOUT_S), young_sessions)
    heir = yield from _wait_equal(scene, old, heirs)
    facts = (yield from _make_primary(scene, heir)) if heir else None
    if heir is None or facts is None:
        yield Together((scene.ask(old, ("CLIENT", "UNPAUSE")), *([open_again(end.node)] if end else [])))
        return Outcome(False, "no replica caught up while writes were paused; nothing was changed")
    yield Milestone("failover.promoted", {"primary": heir.id, "offset": facts.offset})
    yield from _publish(scene, opinions, heir, epoch, [node for node in alive if node.id != old.id])
    yield Together((scene.ask(old, *_demote(port_of(heir))),))
    yield Crown(heir.id, known=None)
    yield _remember(scene, alive)
    return Outcome(True, f"{heir.id} took over from {old.id}")


def _wait_near(scene: Scene, old: Node, heirs: Sequence[Node]) -> Generator[Step, Any, bool]:
    """Wait until one of `heirs` has what the primary had at first, 5 s at most; writes go on meanwhile.

    A paused primary sends nothing more to a replica that has not asked yet, as one does in the second after it joined.
    """
    question = DATA_QUESTION[0]
    (reply,) = yield Together((scene.ask(old, question, timeout_s=VOTE_TIMEOUT_S),))
    wanted = None if isinstance(reply, Silence) else redis_facts(reply)
    for _ in range(NEAR_ROUNDS if wanted else 0):
        replies = yield Together(tuple(scene.ask(node, question, timeout_s=VOTE_TIMEOUT_S) for node in heirs))
        read = [redis_facts(reply) for reply in replies if not isinstance(reply, Silence)]
        if any(facts and facts.link_up and wanted and facts.offset >= wanted.offset for facts in read):
            return True
        yield Pause(NEAR_PAUSE_S)
    return False


def _wait_equal(scene: Scene, old: Node, heirs: Sequence[Node]) -> Generator[Step, Any, Node | None]:
    """Pause writes until one of `heirs` has every byte the primary has, about 1 s at most.

    Each round renews the pause, so that it cannot run out between the last look and the promotion. The endpoint's
    sessions are cut right after it began: what was answered has arrived, and the less time passes, the fewer send a
    request that would be held, and cut, unexecuted.
    """
    end = scene.blueprint.endpoint
    for turn in range(100):
        asks = [scene.ask(node, DATA_QUESTION[0], timeout_s=VOTE_TIMEOUT_S) for node in heirs]
        replies = yield Together((scene.ask(old, PAUSE, DATA_QUESTION[0], timeout_s=VOTE_TIMEOUT_S), *asks))
        if isinstance(replies[0], Silence) or isinstance(replies[0][0], ReplyError):
            return None
        if end and turn == 0:
            yield Together((cut(end.node),))
        read = [None if isinstance(reply, Silence) else redis_facts(reply) for reply in replies]
        for node, facts in zip(heirs, read[1:], strict=False):
            if read[0] and facts and facts.link_up and facts.offset >= read[0].offset:
                return node
        yield Pause(DRAIN_PAUSE_S)
    return None


def _demote(primary: Tcp) -> tuple[tuple[str, ...], ...]:
    """Turn the paused old primary into a replica in one breath, so that no write slips in between."""
    return (
        ("MULTI",),
        ("REPLICAOF", primary.host, str(primary.port)),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("CLIENT", "UNPAUSE"),
        ("EXEC",),
    )


def follow(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Make `subject` a replica of the recorded primary, and cut the clients that took it for the primary."""
    scene = Scene(blueprint, view)
    node = blueprint.node(subject or "")
    if node is None or scene.primary is None or node.id == scene.primary.id:
        return Outcome(False, "there is nobody to follow")
    commands = follow_command(port_of(scene.primary))
    if scene.leads(node):
        yield Together((scene.ask(node, UNTIL_KEPT),))
        yield Keep(node.id)
        commands = (commands[0], ("CLIENT", "KILL", "TYPE", "normal"), ("CLIENT", "UNPAUSE"), *commands[1:])
    (reply,) = yield Together((scene.ask(node, *commands),))
    if isinstance(reply, Silence) or isinstance(reply[0], ReplyError):
        return Outcome(False, f"{node.id} did not obey: {reply.because if isinstance(reply, Silence) else reply[0]}")
    return Outcome(True, f"{node.id} follows {scene.primary.id}")


def enlist(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Make the Sentinel `subject` watch the group, with the settings and knobs it should have."""
    scene = Scene(blueprint, view)
    voter = blueprint.node(subject or "")
    if voter is None or scene.primary is None:
        return Outcome(False, "there is no primary to watch")
    to = port_of(scene.primary)
    commands: list[tuple[str, ...]] = []
    opinion = scene.opinion(voter)
    if opinion is None or not opinion.known:
        commands.append(("SENTINEL", "MONITOR", scene.label, to.host, str(to.port), str(scene.majority)))
        if voter.probe.password:
            commands.append(introduction(scene.label, voter))
    commands += [("SENTINEL", "SET", scene.label, name, value) for name, value in wanted_settings(scene).items()]
    knobs = [word for pair in KNOBS.items() for word in pair]
    commands.append(("SENTINEL", "DEBUG", *knobs))
    (reply,) = yield Together((scene.ask(voter, *commands),))
    if isinstance(reply, Silence):
        return Outcome(False, f"{voter.id} did not answer: {reply.because}")
    wrong = next((str(answer) for answer in reply[:-1] if isinstance(answer, ReplyError)), "")
    return Outcome(not wrong, wrong or f"{voter.id} watches {scene.label}")


def forget(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Let one Sentinel forget all it knows of the group's members, so that it learns the real ones afresh."""
    scene = Scene(blueprint, view)
    voter = blueprint.node(subject or "")
    if voter is None:
        return Outcome(False, "there is no such Sentinel")
    (reply,) = yield Together((scene.ask(voter, ("SENTINEL", "RESET", scene.label), ("SENTINEL", "FLUSHCONFIG")),))
    if isinstance(reply, Silence):
        return Outcome(False, f"{voter.id} did not answer: {reply.because}")
    return Outcome(True, f"{voter.id} forgot entries that no longer exist")


def lead(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Point the endpoint at the recorded primary, cutting sessions that lead elsewhere."""
    scene = Scene(blueprint, view)
    if scene.primary is None or blueprint.endpoint is None:
        return Outcome(False, "there is no primary to point at")
    (reply,) = yield Together((point(blueprint.endpoint.node, port_of(scene.primary)),))
    if isinstance(reply, Silence):
        return Outcome(False, f"the endpoint did not answer: {reply.because}")
    yield Milestone("failover.pointed", {"primary": scene.primary.id})
    return Outcome(True, f"the endpoint leads to {scene.primary.id}")


def promote(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Make the recorded primary, which runs as a replica, a primary again; only where no Sentinel could object."""
    scene = Scene(blueprint, view)
    if scene.primary is None:
        return Outcome(False, "there is no recorded primary")
    if not (yield from _make_primary(scene, scene.primary)):
        return Outcome(False, f"{scene.primary.id} did not become primary")
    return Outcome(True, f"{scene.primary.id} is primary")


OPERATIONS = {
    "failover": failover,
    "switchover": switchover,
    "follow": follow,
    "enlist": enlist,
    "forget": forget,
    "lead": lead,
    "promote": promote,
    "admit": admit,
}
