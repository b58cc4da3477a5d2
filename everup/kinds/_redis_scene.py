"""A Redis group as its rules and recipes see it: who is where, who says what, and what the group should look like."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from everup.kinds._redis_reading import RedisFacts, SentinelFacts
from everup.kinds._scene import GroupScene, why_old
from everup.model.desired import Ask, Command, Node, Part, Tcp
from everup.model.observed import Role, View

SETTINGS = {"down-after-milliseconds": "5000", "failover-timeout": "5000", "parallel-syncs": "2"}
"""Sentinel's own timers: the net under a dead Everup, and clearly longer than the 3 s after which it fences a hang."""

HOSTS_APART = {"down-after-milliseconds": "2000"}
"""Where Sentinels have hosts of their own a whole host can be lost, and then they alone may decide: their timer is what
clients wait for. From 2 s, with a host cut off, a write succeeded after 3.8 to 4.5 s (engines.md section 3)."""

KNOBS = {
    "publish-period": "500",
    "info-period": "2000",  # 10 s by default: so long a Sentinel may not know replicas that have just joined
    "min-link-reconnect-period": "300",
    "election-timeout": "2000",
}
"""`SENTINEL DEBUG` values, measured; a Sentinel forgets them when it restarts."""

STALE_S = 5.0
"""A replica that was not seen in sync this long before a death may lack much of what the dead primary had."""

HEARING_S = 5.0
"""How long a silent node may delay what must not happen beside a primary that is not known of."""


@dataclass(frozen=True)
class Scene(GroupScene):
    """Answers to the questions every rule asks, drawn once from a blueprint and a view."""

    role_changes = ("failover", "switchover", "follow", "promote")

    @cached_property
    def voters(self) -> tuple[Node, ...]:
        """Declared Sentinels."""
        return self.blueprint.of(Part.VOTER)

    @property
    def majority(self) -> int:
        """How many Sentinels must agree: more than half of those declared."""
        return len(self.voters) // 2 + 1

    def facts(self, node: Node) -> RedisFacts | None:
        """What a data node said last, while it runs."""
        found = self.said(node, "redis")
        return found if isinstance(found, RedisFacts) else None

    def opinion(self, voter: Node) -> SentinelFacts | None:
        """What a Sentinel said last, while it runs."""
        found = self.said(voter, "sentinel")
        return found if isinstance(found, SentinelFacts) else None

    @cached_property
    def opinions(self) -> tuple[SentinelFacts, ...]:
        """The views of all Sentinels that watch the group."""
        found = (self.opinion(voter) for voter in self.voters)
        return tuple(opinion for opinion in found if opinion and opinion.known)

    def at(self, address: str) -> Node | None:
        """The data node that listens at `"host:port"`."""
        return next((node for node in self.everyone if str(port_of(node)) == address), None)

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

    def answering(self) -> int:
        """How many Sentinels answered their last probe and watch the group."""
        return sum(1 for voter in self.voters if self.status(voter).ready)

    def unfit(self, node: Node, after: Node | None) -> str:
        """Why a node may not take over, "" when it may; `after` is the dead primary, if it is dead.

        Fit: running, holding the newest generation, and in sync within 5 s of the death. A replica that has not been
        seen in sync since Everup started is taken at the word of its generation mark.
        """
        dead = self.status(after).state.dead if after else None
        facts, status = self.facts(node), self.status(node)
        if not status.state.running:
            return "it does not run"
        if facts is None:
            return "it has not said yet how it is"
        if facts.role != Role.REPLICA:
            return "it calls itself primary"
        if facts.loading or facts.syncing:
            return status.reading.because if status.reading else ""
        if not self.in_generation(node):
            return why_old(status, self.view)
        if status.good_s and dead is not None and status.good_s < dead.at_s - STALE_S:
            return f"it was in sync last {dead.at_s - status.good_s:.0f} s before the primary died"
        return ""

    def heirs(self, after: Node | None) -> list[Node]:
        """Replicas fit to take over, most advanced first; `after` is the dead primary, if it is dead.

        Of equal ones those first whose host stays: what one has more than another would be lost.
        """
        fit = [
            (facts.offset, node) for node in self.members if (facts := self.facts(node)) and not self.unfit(node, after)
        ]
        return [node for _, node in sorted(fit, key=lambda pair: (-pair[0], not self.outlasts(pair[1])))]

    def missing_to(self, voter: Node, opinion: SentinelFacts) -> list[Node]:
        """Declared nodes that a Sentinel does not know of."""
        known = {opinion.named, *(peer.address for peer in (*opinion.replicas, *opinion.peers))}
        return [node for node in (*self.members, *self.voters) if node != voter and str(port_of(node)) not in known]

    def ask(self, node: Node, *commands: Command, timeout_s: float = 1.0) -> Ask:
        """Commands for a data node or a Sentinel, from who may do everything there."""
        return ask_of(node, *commands, timeout_s=timeout_s)

    @property
    def elector_id(self) -> str:
        """The 40 hexadecimal characters by which Everup asks Sentinels for their vote."""
        return hashlib.sha1(f"everup/{self.label}".encode(), usedforsecurity=False).hexdigest()


def port_of(node: Node) -> Tcp:
    """Where a data node or a Sentinel itself listens."""
    return node.ports["redis"] if node.part == Part.DATA else node.ports["voter"]


def ask_of(node: Node, *commands: Command, timeout_s: float) -> Ask:
    """Commands for a data node or a Sentinel; its probe knows how to log in."""
    probe = node.probe
    return Ask(
        port_of(node), commands, timeout_s=timeout_s, password=probe.password, user=probe.user, spare=probe.spare
    )


def tried_since(view: View, operation: str, read_s: float) -> bool:
    """The operation ended after the reading that would call for it: look again first."""
    last = view.attempts.get(operation)
    return last is not None and last.at_s >= read_s


def follow_command(primary: Tcp) -> tuple[Command, ...]:
    """Make a node a replica of `primary`, now and in its rewritten configuration."""
    return (("REPLICAOF", primary.host, str(primary.port)), ("CONFIG", "REWRITE"))


def wanted_settings(scene: Scene) -> dict[str, str]:
    """What `SENTINEL MASTER` should report of every Sentinel."""
    apart = not any(voter.ports["voter"].host.startswith("127.") for voter in scene.voters)
    return {**SETTINGS, **(HOSTS_APART if apart else {}), "quorum": str(scene.majority)}
