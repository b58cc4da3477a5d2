"""A PostgreSQL group as its rules and recipes see it: who is where, who says what, who may take over."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from everup.kinds._postgres_patroni import PatroniFacts
from everup.model.desired import Blueprint, Node, Part
from everup.model.observed import NodeStatus, Role, View

STALE_S = 5.0
"""A standby that was not seen in sync this long before a death may lack what the dead primary had acknowledged."""


@dataclass(frozen=True)
class Scene:
    """Answers to the questions every rule asks, drawn once from a blueprint and a view."""

    blueprint: Blueprint
    view: View

    @property
    def label(self) -> str:
        """The service's label, which is also the name that Patroni knows the group by."""
        return self.blueprint.label

    @cached_property
    def members(self) -> tuple[Node, ...]:
        """Declared servers."""
        return self.blueprint.of(Part.DATA)

    @cached_property
    def everyone(self) -> tuple[Node, ...]:
        """Servers, declared or retiring."""
        return self.members + tuple(node for node in self.blueprint.retiring if node.part == Part.DATA)

    @property
    def primary(self) -> Node | None:
        """The recorded primary, alive or not."""
        return self.blueprint.node(self.view.group.primary) if self.view.group.primary else None

    def status(self, node: Node) -> NodeStatus:
        """The verdict on `node`."""
        return self.view.status(node.id)

    def facts(self, node: Node) -> PatroniFacts | None:
        """What Patroni said last of a node, while that runs."""
        status = self.status(node)
        if not status.state.running or status.reading is None:
            return None
        found = status.reading.facts.get("patroni")
        return found if isinstance(found, PatroniFacts) else None

    @cached_property
    def settled_s(self) -> float:
        """When the roles were last changed on purpose; what was read before is out of date. Monotonic seconds."""
        changes = (self.view.attempts.get(name) for name in ("failover", "switchover"))
        return max((change.at_s for change in changes if change), default=0.0)

    def fresh(self, node: Node) -> bool:
        """It was asked after the last change of roles."""
        return self.status(node).read_s > self.settled_s

    def leads(self, node: Node | None) -> bool:
        """It runs and was primary when it was last asked."""
        return node is not None and self.status(node).role == Role.PRIMARY

    @cached_property
    def leaders(self) -> tuple[Node, ...]:
        """All servers that are primary, by up-to-date answers."""
        return tuple(node for node in self.everyone if self.leads(node) and self.fresh(node))

    @cached_property
    def synchronous(self) -> bool:
        """Commits wait for a standby, by the newest word of the settings that the members share; if in doubt, yes."""
        read = [(self.status(node).read_s, facts) for node in self.everyone if (facts := self.facts(node))]
        shared = [facts.shared for _, facts in sorted(read, key=lambda pair: -pair[0]) if facts.shared]
        return not shared or bool(shared[0].get("synchronous_mode"))

    @cached_property
    def confirmed(self) -> tuple[Node, ...]:
        """Standbys that have all that was acknowledged: named in etcd and, where the primary was heard, by that too."""
        primary = self.facts(self.primary) if self.primary else None
        found = []
        for node in self.members:
            facts = self.facts(node)
            if facts is None or facts.role != Role.REPLICA or not facts.sync_standby:
                continue
            if primary is None or primary.standbys.get(node.id, "sync") in ("sync", "quorum"):
                found.append(node)
        return tuple(found)

    def in_generation(self, node: Node) -> bool:
        """Its data is there and as new as any that was ever marked."""
        state, group = self.status(node).state, self.view.group
        return bool(state.has_data and state.generation and 0 < group.marked <= state.generation <= group.generation)

    def heirs(self, after: Node | None) -> list[Node]:
        """Standbys fit to take over, most advanced first; `after` is the dead primary, if it is dead.

        Fit: running, of the newest generation, seen streaming within 5 s of the death, and, where commits wait for a
        standby, one that was waited for.
        """
        dead = self.status(after).state.dead if after else None
        fit = []
        for node in self.confirmed if self.synchronous else self.members:
            facts, status = self.facts(node), self.status(node)
            if facts is None or facts.role != Role.REPLICA or facts.state != "running":
                continue
            stale = dead is not None and status.good_s < dead.at_s - STALE_S
            if self.in_generation(node) and status.good_s and not stale:
                fit.append((facts.position, node))
        return [node for _, node in sorted(fit, key=lambda pair: -pair[0])]

    def running(self, nodes: Iterable[Node]) -> list[Node]:
        """Those of `nodes` whose process exists."""
        return [node for node in nodes if self.status(node).state.running]
