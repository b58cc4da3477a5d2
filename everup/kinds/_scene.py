"""A group with a primary, as the rules and recipes of any such kind see it; each kind adds what its servers say."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from everup.core.health import lag_bytes
from everup.model.actions import Action, Hold, Operate
from everup.model.desired import Blueprint, Node, Part
from everup.model.observed import Ground, Health, NodeStatus, Role, View


def holds_newest(status: NodeStatus, view: View) -> bool:
    """Its data is there and as new as any that was ever marked.

    A generation that has only begun, with nobody marked yet, makes no data old: its primary may die at once.
    """
    state, group = status.state, view.group
    return bool(state.has_data and state.generation and 0 < group.marked <= state.generation <= group.generation)


def why_old(status: NodeStatus, view: View) -> str:
    """Why a node does not hold the newest data."""
    generation = status.state.generation
    if not status.state.has_data:
        return "its data is gone"
    if generation is None:
        return "its data was never marked as this service's"
    if generation < view.group.marked:
        return f"its data is of generation {generation}, older than the newest, {view.group.marked}"
    return f"its data is of generation {generation}, which nobody recorded"


BEHIND_BYTES = 16 << 20
"""A copy that is further behind than this is told of."""


def behind(members: Iterable[Node], view: View) -> Iterator[tuple[Node, str]]:
    """Members that are far behind their primary, and how far, in words."""
    for node in members:
        lag = lag_bytes(node, view)
        if lag is not None and lag >= BEHIND_BYTES:
            yield node, f"{node.id} is {lag / 1e6:.1f} MB behind its primary"


@dataclass(frozen=True)
class GroupScene:
    """Answers to the questions every rule asks, drawn once from a blueprint and a view.

    `role_changes` names the operations that change roles: what was read before the newest of them is out of date.
    """

    blueprint: Blueprint
    view: View
    role_changes: ClassVar[tuple[str, ...]] = ("failover", "switchover")

    @property
    def label(self) -> str:
        """The service's label, which is also the name that its elector knows the group by."""
        return self.blueprint.label

    @cached_property
    def members(self) -> tuple[Node, ...]:
        """Declared data nodes."""
        return self.blueprint.of(Part.DATA)

    @cached_property
    def everyone(self) -> tuple[Node, ...]:
        """Data nodes, declared or retiring."""
        return self.members + tuple(node for node in self.blueprint.retiring if node.part == Part.DATA)

    @property
    def primary(self) -> Node | None:
        """The recorded primary, alive or not."""
        return self.blueprint.node(self.view.group.primary) if self.view.group.primary else None

    def status(self, node: Node) -> NodeStatus:
        """The verdict on `node`."""
        return self.view.status(node.id)

    def said(self, node: Node, topic: str) -> object:
        """What `node` said last on `topic`, while it runs; None when it does not, or said nothing."""
        status = self.status(node)
        return status.reading.facts.get(topic) if status.state.running and status.reading else None

    @cached_property
    def settled_s(self) -> float:
        """When the roles were last changed on purpose; what was read before is out of date. Monotonic seconds."""
        changes = (self.view.attempts.get(name) for name in self.role_changes)
        return max((change.at_s for change in changes if change), default=0.0)

    def fresh(self, node: Node) -> bool:
        """It was asked after the last change of roles."""
        return self.status(node).read_s > self.settled_s

    def leads(self, node: Node | None) -> bool:
        """It runs and called itself primary when it was last asked."""
        return node is not None and self.status(node).role == Role.PRIMARY

    @cached_property
    def leaders(self) -> tuple[Node, ...]:
        """All data nodes that call themselves primary, by up-to-date answers."""
        return tuple(node for node in self.everyone if self.leads(node) and self.fresh(node))

    def in_generation(self, node: Node) -> bool:
        """Its data is there and as new as any that was ever marked."""
        return holds_newest(self.status(node), self.view)

    def running(self, nodes: Iterable[Node]) -> list[Node]:
        """Those of `nodes` whose process exists."""
        return [node for node in nodes if self.status(node).state.running]

    def outlasts(self, node: Node) -> bool:
        """Its host is not about to be switched off."""
        return self.status(node).state.ground == Ground.SOUND

    def turned_down(self, retry_s: float) -> str:
        """Why a failover was refused since the primary died, less than `retry_s` ago; "" when none was."""
        dead = self.status(self.primary).state.dead if self.primary else None
        last = self.view.attempts.get("failover")
        since_s = max(dead.at_s if dead else 0.0, self.view.now_s - retry_s)
        return last.because or "it was refused" if last and not last.done and last.at_s > since_s else ""

    def founder(self, favourite: Node | None = None) -> tuple[str, str]:
        """Whom to record as primary where nobody is, and why: who leads (the favourite first), has data, is first."""
        if self.leaders:
            return (favourite if favourite in self.leaders and favourite else self.leaders[0]).id, "it already leads"
        kept = [node for node in self.everyone if self.status(node).state.has_data]
        if kept:
            best = max(kept, key=lambda node: self.status(node).state.generation or 0)
            return best.id, "it has the newest data"
        return self.members[0].id, "the group is new"


def leave_drained(scene: GroupScene, heirs: Iterable[Node]) -> Iterator[Action]:
    """A primary whose host is about to be switched off hands over, to the best of `heirs` whose host is not."""
    primary = scene.primary
    if primary is None or len(scene.members) < 2 or not scene.leads(primary) or not scene.fresh(primary):
        return
    if scene.status(primary).state.ground != Ground.DRAINED:
        return
    because = f"its host {scene.status(primary).state.host} is drained"
    yield Hold(scene.label, f"{because}; it hands over", primary.id)
    if staying := [node for node in heirs if node in scene.members and scene.outlasts(node)]:
        yield Operate(scene.label, "switchover", f"{because}, and {primary.id} leads there", staying[0].id)


def call_election(scene: GroupScene, dead: Node, because: str) -> Action:
    """Have the electors choose a successor now; while nobody knows whether `dead` still runs, they say when."""
    state = scene.status(dead).state
    if state.ended:
        return Operate(scene.label, "failover", because, dead.id)
    return Hold(scene.label, f"{state.silent}; {dead.id} may still run, so its electors decide by themselves", dead.id)


def fallen(scene: GroupScene) -> Generator[Action, None, Node | None]:
    """The primary once it does not run, as far as anybody waits for it; None before, or until somebody has looked."""
    primary = scene.primary
    if primary is None or scene.status(primary).state.running:
        return None
    if scene.status(primary).health != Health.DOWN:
        yield Hold(scene.label, "it was not looked at yet", primary.id)
        return None
    return primary
