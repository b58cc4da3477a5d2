"""What a Redis group could lose now, and who would lead next: the parts of check and explain that only Redis knows."""

from collections.abc import Iterator
from dataclasses import dataclass

from everup.kinds._redis_memory import crowded
from everup.kinds._redis_scene import Scene, port_of
from everup.kinds._scene import behind
from everup.model.desired import Blueprint, Node
from everup.model.findings import Candidate, Election, Finding, Level, Topic, Vote
from everup.model.observed import View

LOCK = "auth: true under another label (it cannot be added in place); clients then take the URL of everup env"


def election(blueprint: Blueprint, view: View) -> Election:
    """The replicas by offset, with what speaks against each; the Sentinels with what they say."""
    scene = Scene(blueprint, view)
    heirs = scene.heirs(scene.primary)
    others = [node for node in scene.members if node != scene.primary and node not in heirs]
    votes = tuple(_vote(scene, voter) for voter in scene.voters)
    return Election(
        tuple(_candidate(scene, node) for node in (*heirs, *others)), votes, scene.majority if scene.voters else 0
    )


def _candidate(scene: Scene, node: Node) -> Candidate:
    facts, generation = scene.facts(node), scene.status(node).state.generation
    against = scene.unfit(node, scene.primary)
    return Candidate(
        node.id,
        not against,
        against or "it is in sync",
        {"offset": facts.offset if facts else None, "generation": generation},
    )


def _vote(scene: Scene, voter: Node) -> Vote:
    status, opinion = scene.status(voter), scene.opinion(voter)
    if not status.ready or opinion is None:
        return Vote(voter.id, False, status.state.failure or status.because or "it does not answer")
    named = scene.at(opinion.named)
    return Vote(voter.id, True, f"it names {named.id if named else opinion.named}, epoch {opinion.epoch}")


@dataclass(frozen=True)
class Weaknesses:
    """What a loss would cost that only a look at the replication and at the Sentinels' memory tells; who may come in.

    `safe`: the primary refuses writes while no replica confirms any. `exposed`: nobody needs a password, and its
    nodes listen on a network that others may be on.
    """

    safe: bool
    exposed: bool = False

    def __call__(self, blueprint: Blueprint, view: View) -> Iterator[Finding]:
        """Find them."""
        if self.exposed:
            because = f"{blueprint.label} asks for no password: whoever reaches the network of the hosts can change it"
            yield Finding(Level.WARNING, Topic.ACCESS, because, next=LOCK)
        yield from crowded(blueprint, view)
        scene = Scene(blueprint, view)
        if len(scene.members) < 2 or scene.primary is None:
            return
        yield from self._writes(scene)
        for node, because in behind(scene.members, view):
            yield Finding(Level.WARNING, Topic.LAG, f"{because}: so much could be lost if it took over", node.id)
        for voter in scene.voters:
            if because := _stale(scene, voter, scene.primary):
                yield Finding(Level.WARNING, Topic.QUORUM, f"{voter.id} {because}", voter.id)

    def _writes(self, scene: Scene) -> Iterator[Finding]:
        if not self.safe:
            because = "replication is asynchronous: a failover can lose the last moment's writes"
            yield Finding(Level.NOTE, Topic.DURABILITY, because, next="WAIT 1 after a write that must not be lost")
            return
        heirs = scene.heirs(None)
        if len(heirs) == 1:
            because = f"if {heirs[0].id} were lost now, {scene.label} would refuse writes: no other replica is in sync"
            yield Finding(Level.NO, Topic.DURABILITY, because, heirs[0].id, f"everup status {scene.label} --nodes")


def _stale(scene: Scene, voter: Node, primary: Node) -> str:
    """What a Sentinel that answers believes, and is not so; "" when it knows the group as it is."""
    opinion = scene.opinion(voter)
    if opinion is None or not opinion.known or not scene.status(voter).ready:
        return ""
    if opinion.named != str(port_of(primary)):
        named = scene.at(opinion.named)
        return f"names {named.id if named else opinion.named} as primary (epoch {opinion.epoch}), not {primary.id}"
    if missing := scene.missing_to(voter, opinion):
        return f"does not know {', '.join(node.id for node in missing)} yet"
    known = {str(port_of(node)) for node in (*scene.everyone, *scene.voters)}
    ghosts = sorted({peer.address for peer in (*opinion.replicas, *opinion.peers)} - known)
    if ghosts:
        return f"remembers {', '.join(ghosts)}, which no longer exists"
    if opinion.flags & {"s_down", "o_down"}:
        return f"cannot reach {primary.id}, and counts it as down"
    return ""
