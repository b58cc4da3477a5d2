"""When to do what to a PostgreSQL group: pure rules, most urgent first, each with its reason in words.

Patroni elects; these rules decide who may run, and when its election is to be hurried. The rule of restoring
(postgres.md section 3, measured): fail over when a standby is confirmed that has all that was acknowledged; otherwise
restart in place, and only with the newest data there. A silent node is fenced first; a lease is never cut short on
suspicion.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from everup.core.health import no_room
from everup.core.rules import start
from everup.kinds._haproxy import astray
from everup.kinds._postgres_patroni import differing
from everup.kinds._postgres_scene import Scene
from everup.kinds._postgres_single import FOUND
from everup.kinds._scene import call_election, fallen, leave_drained
from everup.model.actions import Accept, Action, Hold, Mark, Operate, StartNode
from everup.model.desired import Blueprint, Node
from everup.model.observed import Health, View

RETRY_S = 10.0
"""After a failover that was refused, the primary may be restarted in place for this long."""

ASIDE = "--aside"
"""What a keeper must be told to keep its data aside, so that Patroni clones the node."""

STUCK_S = 60.0
"""A standby that runs this long beside a healthy primary and does not stream cannot: it is cloned."""


def accept_primary(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Record who is primary: at the founding, when the record was lost, and when Patroni elected by itself."""
    scene = Scene(blueprint, view)
    if any(scene.status(node).health == Health.UNKNOWN for node in scene.members[:1]):
        return
    if scene.primary is None:
        yield Accept(blueprint.label, *scene.founder())
        return
    others = [node for node in scene.leaders if node.id != view.group.primary]
    silent = scene.status(scene.primary).health == Health.HUNG  # what it said last is from before it lost the lease
    if others and (silent or not scene.leads(scene.primary)):
        yield Accept(blueprint.label, others[0].id, "Patroni elected it")


def restore_primary(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """The primary is confirmed dead: a standby that has everything takes over, or else it starts again in place."""
    scene = Scene(blueprint, view)
    primary = yield from fallen(scene)
    if primary is None:
        return
    refused, heirs = scene.turned_down(RETRY_S), scene.heirs(primary)
    if heirs and not refused:
        word = "was waited for by every commit" if scene.synchronous else "was streaming"
        yield call_election(scene, primary, f"{primary.id} is dead, {heirs[0].id} {word}")
    elif view.group.marked == 0:
        yield start(scene.view, primary, "the group is new", FOUND)
    elif scene.in_generation(primary):
        why = refused or _no_heir(scene, primary)
        yield start(scene.view, primary, f"restarted in place: {why}, and its data is there")
    else:
        yield from _without_its_data(scene, primary)


def _no_heir(scene: Scene, primary: Node) -> str:
    """Why nobody can take over, candidate by candidate."""
    reasons = [f"{node.id}: {scene.unfit(node, primary)}" for node in scene.members if node != primary]
    return "; ".join(reasons) or "it is the only node"


def _without_its_data(scene: Scene, primary: Node) -> Iterator[Action]:
    """The recorded primary lost its data: those that still have the newest start, and Patroni elects among them."""
    spare = [node for node in scene.members if node != primary and scene.in_generation(node)]
    because = f"{primary.id} has lost its newest data; it is not started empty"
    yield Hold(scene.label, f"{because}, and waits for one that has it to lead", primary.id)
    for node in spare:
        if not scene.status(node).state.running:
            yield start(scene.view, node, f"{because}; {node.id} has it")
    if spare and all(scene.status(node).state.running for node in spare):
        last = scene.view.attempts.get("failover")
        if last is None or last.at_s < scene.view.now_s - RETRY_S:
            yield call_election(scene, primary, f"{because}; {spare[0].id} has it")


def start_standbys(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A server that is not the primary starts once there is one that is well: it rewinds, or is cloned."""
    scene = Scene(blueprint, view)
    leader = scene.primary if scene.leads(scene.primary) else None
    for node in scene.members:
        if scene.status(node).state.running or (scene.primary and node.id == scene.primary.id):
            continue
        if leader is None or not scene.status(leader).ready:
            yield Hold(blueprint.label, "it starts as a standby once there is a primary", node.id)
        else:
            yield start(scene.view, node, f"it joins {leader.id} as a standby", *_aside(scene, node))


def _aside(scene: Scene, node: Node) -> tuple[str, ...]:
    last, dead = scene.view.attempts.get("set-aside"), scene.status(node).state.dead
    stopped_for_it = last and last.done and last.because.startswith(f"{node.id} ") and dead and dead.at_s <= last.at_s
    return (ASIDE,) if stopped_for_it else ()


def clone_stuck(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A standby that runs beside a healthy primary and cannot follow it is stopped, to be cloned; its data is kept."""
    scene = Scene(blueprint, view)
    primary = scene.primary
    if primary is None or not scene.leads(primary) or not scene.status(primary).ready:
        return
    for node in scene.running(scene.members):
        status, facts = scene.status(node), scene.facts(node)
        if node == primary or status.ready or facts is None or not status.state.has_data:
            continue
        lonely_s = view.now_s - max(status.since_s, status.good_s, scene.settled_s)
        if lonely_s > STUCK_S:
            yield Operate(
                blueprint.label, "set-aside", f"it has not followed {primary.id} for {lonely_s:.0f} s", node.id
            )
            return


def leave_full_disk(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A primary whose disk is full refuses writes: a standby that has everything, and room, takes over."""
    scene = Scene(blueprint, view)
    primary, last = scene.primary, view.attempts.get("switchover")
    if primary is None or not scene.leads(primary) or not no_room(primary.id, view):
        return
    if last is not None and last.at_s > view.now_s - STUCK_S:
        return  # a full disk may keep the primary from ending well; not again at once
    roomy = [node for node in scene.heirs(None) if not no_room(node.id, view)]
    if roomy:
        because = f"{no_room(primary.id, view)}; {roomy[0].id} has room"
        yield Operate(blueprint.label, "switchover", because, roomy[0].id)


def leave_host(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A primary hands over before its host is switched off."""
    scene = Scene(blueprint, view)
    yield from leave_drained(scene, scene.heirs(None))


def lead_endpoint(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """The endpoint leads to the recorded primary, and to nobody else."""
    scene = Scene(blueprint, view)
    primary, end = scene.primary, blueprint.endpoint
    if primary is None or end is None or not scene.leads(primary) or not scene.status(primary).ready:
        return
    last, read_s = view.attempts.get("lead"), view.status(end.node).read_s
    if (last is not None and last.at_s >= read_s) or read_s <= scene.settled_s:
        return
    if because := astray(view, end.node, primary.ports["postgres"]):
        yield Operate(blueprint.label, "lead", f"{because}; the primary is {primary.id}")


def mark_generation(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Note on disk which servers hold the newest data: the primary, and standbys once one of them is waited for."""
    scene = Scene(blueprint, view)
    primary = scene.primary
    if primary is None or not scene.leads(primary) or not scene.fresh(primary) or not scene.status(primary).ready:
        return
    for node in scene.running(scene.members):
        state = scene.status(node).state
        if not state.has_data or not scene.fresh(node) or not scene.status(node).ready:
            continue
        if state.generation == view.group.generation and (node != primary or view.group.marked == state.generation):
            continue
        if node != primary and scene.synchronous and not scene.confirmed:
            yield Hold(blueprint.label, "no commit waits for a standby yet", node.id)
        elif node == primary or not scene.leads(node):
            yield Mark(node.id, blueprint.label, view.group.generation)


@dataclass(frozen=True)
class ShareSettings:
    """The settings that members share through etcd are as they should be."""

    wanted: str

    def __call__(self, blueprint: Blueprint, view: View) -> Iterator[Action]:
        """Propose to correct them, through the primary."""
        scene = Scene(blueprint, view)
        primary = scene.primary
        facts = scene.facts(primary) if primary else None
        if primary is None or facts is None or facts.shared is None or not scene.leads(primary):
            return
        last = view.attempts.get("tune")
        if last is not None and last.at_s >= scene.status(primary).read_s:
            return
        wanted: dict[str, Any] = json.loads(self.wanted)
        if name := differing(wanted, facts.shared):
            yield Operate(blueprint.label, "tune", f"the members share another {name}", primary.id)


def tell_trouble(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Say what is waited for: an etcd without a majority, a group without a leader, a standby far behind."""
    scene = Scene(blueprint, view)
    heard = [(node, facts) for node in scene.running(scene.members) if (facts := scene.facts(node))]
    if any(facts.failsafe for _, facts in heard):
        because = "etcd has no majority; the primary goes on because every member agrees, and nobody could take over"
        yield Hold(blueprint.label, because)
    elif scene.primary and scene.status(scene.primary).state.running and heard and not scene.leaders:
        yield Hold(blueprint.label, "nobody leads; Patroni elects once the lease of the last primary is over")


def replace_members(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Servers that changed are replaced one by one: standbys first, the primary after it has handed over."""
    scene = Scene(blueprint, view)
    primary = scene.primary
    due = [node for node in scene.running(scene.members) if scene.status(node).state.digest != node.digest]
    if not due or primary is None:
        yield from (Hold(blueprint.label, "it is due for replacement, once there is a primary", n.id) for n in due)
        return
    due.sort(key=lambda node: node == primary)
    unready = [node.id for node in blueprint.nodes if not scene.status(node).ready and node != due[0]]
    for node in due:
        if unready:
            yield Hold(blueprint.label, f"it is due for replacement, but waits for {', '.join(unready)}", node.id)
        elif node != primary:
            yield StartNode(node, "its declaration changed")
        elif scene.heirs(None):
            yield Operate(blueprint.label, "switchover", f"{node.id} is to be restarted, and hands over first")
            yield Hold(blueprint.label, "it hands over before it is restarted", node.id)
        else:
            yield Hold(blueprint.label, "it is due for replacement, but no standby has everything yet", node.id)
        unready = unready or [node.id]


def shortfall(blueprint: Blueprint, view: View) -> str:
    """A group in which no commit waits for a standby could not lose its primary, however well all servers are."""
    scene = Scene(blueprint, view)
    if scene.synchronous and not scene.confirmed:
        return "no commit waits for a standby yet; if the primary died now, it would have to be started again"
    return ""


GROUP_RULES = (
    accept_primary,
    restore_primary,
    start_standbys,
    clone_stuck,
    leave_full_disk,
    leave_host,
    lead_endpoint,
    mark_generation,
    replace_members,
    tell_trouble,
)
