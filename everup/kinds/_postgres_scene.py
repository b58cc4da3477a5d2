"""A PostgreSQL group as its rules and recipes see it: who is where, who says what, who may take over."""

from dataclasses import dataclass
from functools import cached_property

from everup.kinds._postgres_patroni import PatroniFacts, member_name
from everup.kinds._scene import GroupScene, why_old
from everup.model.desired import Node
from everup.model.observed import Role

STALE_S = 5.0
"""A standby that was not seen in sync this long before a death may lack what the dead primary had acknowledged."""


@dataclass(frozen=True)
class Scene(GroupScene):
    """Answers to the questions every rule asks, drawn once from a blueprint and a view."""

    def facts(self, node: Node) -> PatroniFacts | None:
        """What Patroni said last of a node, while that runs."""
        found = self.said(node, "patroni")
        return found if isinstance(found, PatroniFacts) else None

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
            if primary is None or primary.standbys.get(member_name(node), "sync") in ("sync", "quorum"):
                found.append(node)
        return tuple(found)

    def unfit(self, node: Node, after: Node | None) -> str:
        """Why a standby may not take over, "" when it may; `after` is the dead primary, if it is dead.

        Fit: running, of the newest generation, seen streaming within 5 s of the death, and, where commits wait for a
        standby, one that was waited for.
        """
        dead = self.status(after).state.dead if after else None
        facts, status = self.facts(node), self.status(node)
        if facts is None or facts.state != "running":
            return "it does not run"
        if facts.role != Role.REPLICA:
            return "it calls itself primary"
        if self.synchronous and node not in self.confirmed:
            return "it was not waited for by commits"
        if not self.in_generation(node):
            return why_old(status, self.view)
        if not status.good_s or (dead is not None and status.good_s < dead.at_s - STALE_S):
            return "it was behind"
        return ""

    def heirs(self, after: Node | None) -> list[Node]:
        """Standbys fit to take over, most advanced first; `after` is the dead primary, if it is dead.

        Where all of them have all that was acknowledged, those come first whose host stays.
        """
        fit = [
            (facts.position, node)
            for node in self.members
            if (facts := self.facts(node)) and not self.unfit(node, after)
        ]

        def rank(one: tuple[int, Node]) -> tuple[bool, int]:
            return self.synchronous and not self.outlasts(one[1]), -one[0]

        return [node for _, node in sorted(fit, key=rank)]
