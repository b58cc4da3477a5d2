"""From answers and silence to a verdict: the health of a node as a table, the health of a service as a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from everup.model.desired import Blueprint, Node, Part
from everup.model.observed import Health, NodeState, NodeStatus, Reading, Role, View


class Answer(StrEnum):
    """What was learnt of a node since the last verdict."""

    FOUND = "found"  # the engine runs a process for it, and nobody here saw it start
    STARTED = "started"  # the engine runs a process for it that was not there before
    GONE = "gone"  # the engine confirms that nothing of it runs
    GOOD = "good"  # it answered, and is ready
    BAD = "bad"  # it answered, and is not ready
    SILENT = "silent"  # no answer to one probe
    MUTE = "mute"  # no answer for longer than its probe allows, to at least two probes in a row


TABLE: Mapping[tuple[Health, Answer], tuple[Health, str]] = {
    (Health.UNKNOWN, Answer.FOUND): (Health.SUSPECT, "it was found running"),
    (Health.UNKNOWN, Answer.GONE): (Health.DOWN, "nothing of it runs"),
    (Health.STARTING, Answer.STARTED): (Health.STARTING, "its process was started again"),
    (Health.STARTING, Answer.GONE): (Health.DOWN, "it ended before it was ready"),
    (Health.STARTING, Answer.GOOD): (Health.READY, "it answers"),
    (Health.STARTING, Answer.BAD): (Health.STARTING, "it answers, but is not ready yet"),
    (Health.STARTING, Answer.SILENT): (Health.STARTING, "it does not answer yet"),
    (Health.STARTING, Answer.MUTE): (Health.STARTING, "it does not answer yet"),
    (Health.READY, Answer.STARTED): (Health.STARTING, "its process was started again"),
    (Health.READY, Answer.GONE): (Health.DOWN, "its process ended"),
    (Health.READY, Answer.GOOD): (Health.READY, "it answers"),
    (Health.READY, Answer.BAD): (Health.SUSPECT, "it answers, but is not ready"),
    (Health.READY, Answer.SILENT): (Health.SUSPECT, "it did not answer"),
    (Health.READY, Answer.MUTE): (Health.HUNG, "it runs, but is silent"),
    (Health.SUSPECT, Answer.STARTED): (Health.STARTING, "its process was started again"),
    (Health.SUSPECT, Answer.GONE): (Health.DOWN, "its process ended"),
    (Health.SUSPECT, Answer.GOOD): (Health.READY, "it answers again"),
    (Health.SUSPECT, Answer.BAD): (Health.SUSPECT, "it answers, but is not ready"),
    (Health.SUSPECT, Answer.SILENT): (Health.SUSPECT, "it did not answer"),
    (Health.SUSPECT, Answer.MUTE): (Health.HUNG, "it runs, but is silent"),
    (Health.HUNG, Answer.STARTED): (Health.STARTING, "its process was started again"),
    (Health.HUNG, Answer.GONE): (Health.DOWN, "it was ended"),
    (Health.HUNG, Answer.GOOD): (Health.READY, "it answers again"),
    (Health.HUNG, Answer.BAD): (Health.SUSPECT, "it answers again, but is not ready"),
    (Health.HUNG, Answer.SILENT): (Health.HUNG, "it runs, but is silent"),
    (Health.HUNG, Answer.MUTE): (Health.HUNG, "it runs, but is silent"),
    (Health.DOWN, Answer.STARTED): (Health.STARTING, "its process runs"),
    (Health.DOWN, Answer.GONE): (Health.DOWN, "nothing of it runs"),
}
"""Every transition: (before, learnt) -> (after, because). What is not here cannot happen and changes nothing."""


OVERLAP_S = 1.0
"""An observation takes less than this, so none that began before a death is still under way this much later."""


@dataclass(frozen=True)
class Patience:
    """How long a node may be silent before it counts as hung: seconds, and probes in a row."""

    hang_s: float = 3.0
    misses: int = 2


def witness(before: NodeStatus, state: NodeState, now_s: float) -> NodeStatus:
    """Take in what the engine says of the node; a new process forgets what the old one answered.

    One that was found running is doubted, not waited for without limit: it may have hung while nobody looked.

    A process that was confirmed dead stays dead, whatever an observation that was under way then says of it.
    """
    dead = before.state.dead
    if state.running and dead and state.pid == before.state.pid and now_s < dead.at_s + OVERLAP_S:
        return before
    if state.running and (not before.state.running or state.pid != before.state.pid):
        fresh = replace(before, reading=None, misses=0, silent_since_s=None, good_s=0.0, state=state)
        return _turn(fresh, Answer.FOUND if before.health == Health.UNKNOWN else Answer.STARTED, "", now_s)
    if not state.running and before.health != Health.DOWN:
        return _turn(replace(before, state=state, misses=0, silent_since_s=None), Answer.GONE, "", now_s)
    return replace(before, state=state)


def asked_anew(before: NodeStatus, now_s: float) -> NodeStatus:
    """It will be asked another question from now on, perhaps by way of another program: what it said is out of date."""
    if not before.state.running:
        return before
    fresh = replace(before, reading=None, misses=0, silent_since_s=None, good_s=0.0)
    return _turn(fresh, Answer.STARTED, "it is asked in another way", now_s)


def judge(before: NodeStatus, reading: Reading | None, now_s: float, sent_s: float, patience: Patience) -> NodeStatus:
    """Take in one probe: `reading`, or None when nothing came back. `sent_s` is when it was sent (monotonic)."""
    if not before.state.running:
        return before
    if reading is None:
        silent_since_s = sent_s if before.silent_since_s is None else before.silent_since_s
        misses = before.misses + 1
        mute = now_s - silent_since_s >= patience.hang_s and misses >= patience.misses
        after = replace(before, misses=misses, silent_since_s=silent_since_s)
        return _turn(after, Answer.MUTE if mute else Answer.SILENT, "", now_s)
    good_s = now_s if reading.ready else before.good_s
    after = replace(before, reading=reading, read_s=sent_s, good_s=good_s, misses=0, silent_since_s=None)
    return _turn(after, Answer.GOOD if reading.ready else Answer.BAD, reading.because, now_s)


def begun_anew(node: Node | None, status: NodeStatus) -> NodeStatus:
    """A member that runs, or may run, on another host than it is declared for was given up there: it is as if it had
    never run. That is no confirmed death, and says nothing of what becomes of it there."""
    state = status.state
    if node is None or not node.rebuilds or not state.address or state.digest == node.digest:
        return status
    if state.address in {to.host for to in node.ports.values()}:
        return status
    bare = NodeState(running=False, service=state.service, host=state.host, address=state.address, ground=state.ground)
    because = f"it is not waited for any longer where it was, on {state.host}"
    return NodeStatus(Health.DOWN, bare, since_s=status.since_s, because=because)


def _turn(status: NodeStatus, answer: Answer, because: str, now_s: float) -> NodeStatus:
    if (status.health, answer) not in TABLE:
        return status
    health, reason = TABLE[status.health, answer]
    since_s = status.since_s if health == status.health and answer != Answer.STARTED else now_s
    return replace(status, health=health, since_s=since_s, because=because or reason)


def primary_of(blueprint: Blueprint, view: View) -> str | None:
    """The node that is primary now: recorded as such, running, and saying so itself."""
    node_id = view.group.primary
    if node_id and view.status(node_id).role == Role.PRIMARY:
        return node_id
    return None


def lag_bytes(node: Node, view: View) -> int | None:
    """How far a node is behind, in bytes, by its own word or its primary's; None for whoever follows nobody."""
    status = view.status(node.id)
    if status.state.running and status.reading and status.reading.lag_bytes is not None:
        return status.reading.lag_bytes
    primary = view.status(view.group.primary or "")
    if primary.role != Role.PRIMARY or primary.reading is None:
        return None
    return primary.reading.lags_bytes.get(str(next(iter(node.ports.values()), None)))


FULL_BYTES = 32 << 20
"""A disk with less than this left is as good as full for whatever holds data: two WAL segments, an AOF's growth."""


def no_room(node_id: str, view: View) -> str:
    """What to say of a node whose disk is full; "" of one that has room, or whose engine cannot tell."""
    free_bytes = view.status(node_id).state.free_bytes
    if free_bytes is None or free_bytes >= FULL_BYTES:
        return ""
    return (
        f"the disk of {node_id} is full ({free_bytes >> 20} MB left): it may refuse writes, or end, until there is room"
    )


def service_health(blueprint: Blueprint, view: View) -> tuple[str, str]:
    """Sum a service up: (healthy | degraded | down | starting, because in words).

    It works while its endpoint is ready and, by its nature, its primary, at least one instance, or a majority is.
    """
    lacking, covered = _lacking(blueprint, view)
    full = [words for node in blueprint.of(Part.DATA) if (words := no_room(node.id, view))]
    strays = sorted(set(view.nodes) - {node.id for node in blueprint.active})
    works = _works(blueprint, view)
    behind = [
        node.id for node in blueprint.of(Part.DATA) if view.status(node.id).state.generation != view.group.generation
    ]
    if not lacking and works and full:
        return "degraded", "; ".join(full)
    if not lacking and works and behind:
        return "degraded", f"{', '.join(behind)} has not saved its copy of the newest data yet"
    shortfall = blueprint.shortfall(blueprint, view) if blueprint.shortfall and works else ""
    if not lacking and shortfall:
        return "degraded", shortfall
    if not lacking and works and covered:
        return "healthy", f"{blueprint.stand_ins[0].id} stands in for {covered[0]}"
    if not lacking and works:
        leaving = [node_id for node_id in strays if view.status(node_id).state.running]
        return (
            ("degraded", f"{', '.join(leaving)} is still being removed")
            if leaving
            else ("healthy", "every node is ready")
        )
    if not lacking:
        return "degraded", "it has no confirmed primary yet"
    because = "; ".join([*full, _explain(lacking, view)])
    if works:
        return "degraded", because
    seen = [view.status(node.id) for node in blueprint.nodes]
    begins = (Health.STARTING, Health.READY, Health.UNKNOWN)
    untried = [not status.state.digest and not status.state.failure for status in seen]
    young = all(status.health in begins or new for status, new in zip(seen, untried, strict=True))
    return ("starting" if young else "down"), because


def _lacking(blueprint: Blueprint, view: View) -> tuple[list[str], list[str]]:
    """The declared nodes that are not ready; apart from them those that a stand-in serves for."""
    lacking = [node for node in blueprint.nodes if not view.status(node.id).ready]
    standing_in = sum(view.status(node.id).ready for node in blueprint.stand_ins)
    covered = [node.id for node in lacking if node.part == Part.INSTANCE][:standing_in]
    return [node.id for node in lacking if node.id not in covered], covered


def _works(blueprint: Blueprint, view: View) -> bool:
    """Its endpoint is ready, and its primary, an instance, or a majority, by its nature."""
    if not all(view.status(node.id).ready for node in blueprint.of(Part.ENDPOINT)):
        return False
    if blueprint.of(Part.DATA):
        primary = primary_of(blueprint, view)
        return primary is not None and view.status(primary).ready
    if instances := blueprint.of(Part.INSTANCE):
        return any(view.status(node.id).ready for node in (*instances, *blueprint.stand_ins))
    voters = blueprint.of(Part.VOTER)
    return not voters or 2 * sum(view.status(node.id).ready for node in voters) > len(voters)


def _explain(lacking: list[str], view: View) -> str:
    parts = []
    for node_id in lacking[:3]:
        status = view.status(node_id)
        parts.append(
            f"{node_id} is {status.health.value}: {status.state.failure or status.because or 'not looked at yet'}"
        )
    more = f"; and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return "; ".join(parts) + more
