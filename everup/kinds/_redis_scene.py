"""A Redis group as its rules and recipes see it: who is where, who says what, and what the group should look like."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from everup.kinds._redis_reading import RedisFacts, SentinelFacts
from everup.model.desired import Ask, Blueprint, Command, Node, Part, Tcp
from everup.model.observed import NodeStatus, Role, View

SETTINGS = {"down-after-milliseconds": "5000", "failover-timeout": "5000", "parallel-syncs": "2"}
"""Sentinel's own timers: the net under a dead Everup, and clearly longer than the 3 s after which it fences a hang."""

KNOBS = {
    "publish-period": "500",
    "info-period": "2000",  # 10 s by default: so long a Sentinel may not know replicas that have just joined
    "min-link-reconnect-period": "300",
    "election-timeout": "2000",
}
"""`SENTINEL DEBUG` values, measured; a Sentinel forgets them when it restarts."""

HEARING_S = 5.0
"""How long a silent node may delay what must not happen beside a primary that is not known of."""


@dataclass(frozen=True)
class Scene:
    """Answers to the questions every rule asks, drawn once from a blueprint and a view."""

    blueprint: Blueprint
    view: View

    @property
    def label(self) -> str:
        """The service's label, which is also the name that Sentinels know the group by."""
        return self.blueprint.label

    @cached_property
    def members(self) -> tuple[Node, ...]:
        """Declared data nodes."""
        return self.blueprint.of(Part.DATA)

    @cached_property
    def everyone(self) -> tuple[Node, ...]:
        """Data nodes, declared or retiring."""
        return self.members + tuple(node for node in self.blueprint.retiring if node.part == Part.DATA)

    @cached_property
    def voters(self) -> tuple[Node, ...]:
        """Declared Sentinels."""
        return self.blueprint.of(Part.VOTER)

    @property
    def primary(self) -> Node | None:
        """The recorded primary, alive or not."""
        return self.blueprint.node(self.view.group.primary) if self.view.group.primary else None

    @property
    def majority(self) -> int:
        """How many Sentinels must agree: more than half of those declared."""
        return len(self.voters) // 2 + 1

    def status(self, node: Node) -> NodeStatus:
        """The verdict on `node`."""
        return self.view.status(node.id)

    def facts(self, node: Node) -> RedisFacts | None:
        """What a data node said last, while it runs."""
        status = self.status(node)
        if not status.state.running or status.reading is None:
            return None
        found = status.reading.facts.get("redis")
        return found if isinstance(found, RedisFacts) else None

    def opinion(self, voter: Node) -> SentinelFacts | None:
        """What a Sentinel said last, while it runs."""
        status = self.status(voter)
        if not status.state.running or status.reading is None:
            return None
        found = status.reading.facts.get("sentinel")
        return found if isinstance(found, SentinelFacts) else None

    @cached_property
    def opinions(self) -> tuple[SentinelFacts, ...]:
        """The views of all Sentinels that watch the group."""
        found = (self.opinion(voter) for voter in self.voters)
        return tuple(opinion for opinion in found if opinion and opinion.known)

    def at(self, address: str) -> Node | None:
        """The data node that listens at `"host:port"`."""
        return next((node for node in self.everyone if str(port_of(node)) == address), None)

    @cached_property
    def settled_s(self) -> float:
        """When the roles were last changed on purpose; what was read before is out of date. Monotonic seconds."""
        changes = (self.view.attempts.get(name) for name in ("failover", "switchover", "follow", "promote"))
        return max((change.at_s for change in changes if change), default=0.0)

    def fresh(self, node: Node) -> bool:
        """It was asked after the last change of roles."""
        return self.status(node).read_s > self.settled_s

    def unheard(self) -> list[Node]:
        """Running data nodes and Sentinels that have yet to say how they see the newest roles; each has 5 s for it."""
        return [
            node
            for node in self.running((*self.everyone, *self.voters))
            if (self.status(node).reading is None or not self.fresh(node))
            and self.view.now_s - max(self.settled_s, self.status(node).since_s) < HEARING_S
        ]

    @cached_property
    def named(self) -> Node | None:
        """The node that the newest (highest-epoch) up-to-date Sentinel view calls primary."""
        views = [opinion for voter in self.voters if self.fresh(voter) and (opinion := self.opinion(voter))]
        newest = max((view for view in views if view.known), key=lambda view: view.epoch, default=None)
        return self.at(newest.named) if newest else None

    def leads(self, node: Node | None) -> bool:
        """It runs and called itself primary when it was last asked."""
        return node is not None and self.status(node).role == Role.PRIMARY

    @cached_property
    def leaders(self) -> tuple[Node, ...]:
        """All data nodes that call themselves primary, by up-to-date answers."""
        return tuple(node for node in self.everyone if self.leads(node) and self.fresh(node))

    def in_generation(self, node: Node) -> bool:
        """Its data is there and as new as any that was ever marked.

        A generation that has only begun, with nobody marked yet, makes no data old: its primary may die at once.
        """
        state, group = self.status(node).state, self.view.group
        return bool(state.has_data and state.generation and 0 < group.marked <= state.generation <= group.generation)

    def answering(self) -> int:
        """How many Sentinels answered their last probe and watch the group."""
        return sum(1 for voter in self.voters if self.status(voter).ready)

    def heirs(self, after: Node | None) -> list[Node]:
        """Replicas fit to take over, most advanced first; `after` is the dead primary, if it is dead.

        Fit: running, holding the newest generation, and in sync within 5 s of the death. A replica that has not been
        seen in sync since Everup started is taken at the word of its generation mark.
        """
        dead = self.status(after).state.dead if after else None
        fit = []
        for node in self.members:
            facts, status = self.facts(node), self.status(node)
            if facts is None or facts.role != Role.REPLICA or facts.loading or facts.syncing:
                continue
            stale = bool(status.good_s) and dead is not None and status.good_s < dead.at_s - 5.0
            if self.in_generation(node) and not stale:
                fit.append((facts.offset, node))
        return [node for _, node in sorted(fit, key=lambda pair: -pair[0])]

    def ask(self, node: Node, *commands: Command, timeout_s: float = 1.0) -> Ask:
        """Commands for a data node or a Sentinel, with the group's password."""
        return Ask(port_of(node), commands, timeout_s=timeout_s, password=node.probe.password)

    def running(self, nodes: Iterable[Node]) -> list[Node]:
        """Those of `nodes` whose process exists."""
        return [node for node in nodes if self.status(node).state.running]

    @property
    def elector_id(self) -> str:
        """The 40 hexadecimal characters by which Everup asks Sentinels for their vote."""
        return hashlib.sha1(f"everup/{self.label}".encode(), usedforsecurity=False).hexdigest()


def port_of(node: Node) -> Tcp:
    """Where a data node or a Sentinel itself listens."""
    return node.ports["redis"] if node.part == Part.DATA else node.ports["voter"]


def follow_command(primary: Tcp) -> tuple[Command, ...]:
    """Make a node a replica of `primary`, now and in its rewritten configuration."""
    return (("REPLICAOF", primary.host, str(primary.port)), ("CONFIG", "REWRITE"))


def wanted_settings(scene: Scene) -> dict[str, str]:
    """What `SENTINEL MASTER` should report of every Sentinel."""
    return {**SETTINGS, "quorum": str(scene.majority)}
