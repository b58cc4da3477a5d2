"""What a PostgreSQL group could lose now, and who would lead next: the parts of check and explain only it knows."""

from collections.abc import Iterator

from everup.kinds._postgres_patroni import PatroniFacts
from everup.kinds._postgres_scene import Scene
from everup.kinds._scene import behind
from everup.model.desired import Blueprint, Node
from everup.model.findings import Candidate, Election, Finding, Level, Topic
from everup.model.observed import View


def election(blueprint: Blueprint, view: View) -> Election:
    """The standbys by position, with what speaks against each. Patroni elects, by a lock in etcd: nobody votes here."""
    scene = Scene(blueprint, view)
    heirs = scene.heirs(scene.primary)
    others = [node for node in scene.members if node != scene.primary and node not in heirs]
    said = [status.reading.facts.get("patroni") for node in scene.members if (status := scene.status(node)).reading]
    blocked = any(isinstance(facts, PatroniFacts) and facts.failsafe for facts in said)
    candidates = tuple(_candidate(scene, node) for node in (*heirs, *others))
    return Election(
        candidates, obstacle="etcd has no majority: Patroni could give the lead to nobody" if blocked else ""
    )


def _candidate(scene: Scene, node: Node) -> Candidate:
    facts, generation = scene.facts(node), scene.status(node).state.generation
    against = scene.unfit(node, scene.primary)
    words = "every commit waits for it" if scene.synchronous else "it streams"
    compared = {
        "lsn": _lsn(facts.position) if facts else None,
        "timeline": facts.timeline if facts else None,
        "generation": generation,
    }
    return Candidate(node.id, not against, against or words, compared)


def _lsn(position: int) -> str:
    """A position in the WAL as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def weaknesses(blueprint: Blueprint, view: View) -> Iterator[Finding]:
    """Commits that wait for nobody, or for somebody slow."""
    scene = Scene(blueprint, view)
    if not scene.synchronous:
        because = "commits wait for no standby (rpo: async): a failover can lose the last moment's commits"
        yield Finding(Level.NOTE, Topic.DURABILITY, because)
    for node, because in behind(scene.members, view):
        awaited = scene.synchronous and node in scene.confirmed
        cost = "commits wait for it" if awaited else "it is not read from while it is"
        yield Finding(Level.WARNING, Topic.LAG, f"{because}: {cost}", node.id, f"everup logs {node.id}")
