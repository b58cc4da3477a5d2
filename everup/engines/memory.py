"""An engine without processes, for tests: nodes "run" at once, end when told to, and time is the given clock's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from everup.model.contracts import Fault
from everup.model.desired import Node, NodeId
from everup.model.errors import EngineError, NodeFailed
from everup.model.observed import Confirmed, NodeEvent, NodeState

_KILLED = -9


@dataclass
class Pretence:
    """A node that is pretended: `files` are those in its home, `written` that it has made what `keeps` names."""

    node: Node
    state: NodeState
    extra_args: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    written: bool = False
    generation: int | None = None
    hung: bool = False
    lost_until_s: float = 0.0
    reloads: int = 0


class MemoryEngine:
    """Implements `Engine` and `FaultInjector` by bookkeeping alone.

    Args:
        clock: seconds, as `Confirmed.at_s` and `NodeState.retry_at_s` use them.
        missing: names of programs that cannot be started.
    """

    faults = frozenset({Fault.CRASH, Fault.HANG, Fault.NODE_LOSS})

    def __init__(self, clock: Callable[[], float], missing: Collection[str] = ()) -> None:
        self._clock = clock
        self._missing = frozenset(missing)
        self._nodes: dict[NodeId, Pretence] = {}
        self._events: asyncio.Queue[NodeEvent] = asyncio.Queue()
        self._pids = 1000

    async def ensure(self, node: Node, extra_args: tuple[str, ...] = ()) -> None:
        """Pretend that `node` runs; one that already does is left alone (`extra_args` do not count).

        Raises:
            NodeFailed: its program is among the missing, or a drill keeps it lost.
        """
        one = self._nodes.get(node.id)
        if one and self._clock() < one.lost_until_s:
            raise NodeFailed(f"{node.id} is lost, by a drill", code="engine.node_lost")
        if one and one.state.running and one.state.digest == node.digest:
            if one.state.files_digest != node.files_digest and node.reload_signal:
                one.files.update(node.files)
                one.reloads += 1
                one.state = replace(one.state, files_digest=node.files_digest)
            one.node = node
            return
        if node.program in self._missing:
            raise NodeFailed(f"{node.id}: its program {node.program} cannot be started", code="engine.program_missing")
        self._start(node, extra_args)

    async def remove(self, node_id: NodeId, *, keep_data: bool) -> None:
        """Pretend that it ended as asked; unless `keep_data`, forget it."""
        if one := self._nodes.get(node_id):
            self._end(one, 0)
            if not keep_data:
                del self._nodes[node_id]

    async def observe(self) -> Mapping[NodeId, NodeState]:
        """Every node, running or not."""
        return {
            node_id: replace(
                one.state,
                has_data=one.written or not one.node.keeps,
                generation=one.generation if one.written or not one.node.keeps else None,
                retry_at_s=one.lost_until_s,
            )
            for node_id, one in self._nodes.items()
        }

    async def watch(self) -> AsyncIterator[NodeEvent]:
        """Ends that nobody asked for."""
        while True:
            yield await self._events.get()

    async def fence(self, node_id: NodeId) -> Confirmed:
        """Pretend that it was killed."""
        one = self._nodes.get(node_id)
        if one is None:
            return Confirmed(node_id, self._clock(), None)
        return self._end(one, _KILLED)

    async def mark(self, node_id: NodeId, generation: int) -> None:
        """Note which generation its data belongs to."""
        self._one(node_id).generation = generation

    async def logs(self, node_id: NodeId, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """The newest `lines` that `say` put there; then, with `follow`, what comes."""
        one = self._one(node_id)
        position = max(0, len(one.lines) - lines)
        while True:
            while position < len(one.lines):
                yield one.lines[position]
                position += 1
            if not follow or node_id not in self._nodes:
                return
            await asyncio.sleep(0.01)

    async def inject(self, node_id: NodeId, fault: Fault, *, for_s: float) -> None:
        """Crash, hang or lose a running node."""
        one = self._one(node_id)
        if not one.state.running:
            raise EngineError(f"{node_id} does not run", code="engine.not_running")
        if fault == Fault.HANG:
            one.hung = True
            return
        one.lost_until_s = self._clock() + for_s if fault == Fault.NODE_LOSS else 0.0
        self.kill(node_id)

    def kill(self, node_id: NodeId, exit_code: int = _KILLED) -> None:
        """Let it end by itself; whoever watches is told."""
        one = self._one(node_id)
        if one.state.running:
            self._events.put_nowait(NodeEvent(node_id, "exited", self._end(one, exit_code)))

    def node(self, node_id: NodeId) -> Pretence:
        """What is pretended of a node, for tests to read and to change."""
        return self._one(node_id)

    def _start(self, node: Node, extra_args: tuple[str, ...]) -> None:
        before = self._nodes.get(node.id)
        one = before or Pretence(node, NodeState(running=False, restarts=-1))
        self._pids += 1
        one.node, one.extra_args, one.hung, one.written = node, extra_args, False, True
        one.files.update(node.files)
        one.files.update({name: text for name, text in node.seeds.items() if name not in one.files})
        one.state = NodeState(
            running=True,
            service=node.service,
            digest=node.digest,
            files_digest=node.files_digest,
            pid=self._pids,
            since_utc="2026-01-01T00:00:00+00:00",
            restarts=one.state.restarts + 1,
        )
        self._nodes[node.id] = one

    def _end(self, one: Pretence, exit_code: int) -> Confirmed:
        if one.state.dead is None:
            dead = Confirmed(one.node.id, self._clock(), exit_code)
            one.state = replace(one.state, running=False, pid=None, dead=dead)
            return dead
        return one.state.dead

    def _one(self, node_id: NodeId) -> Pretence:
        if node_id not in self._nodes:
            raise EngineError(f"there is no node {node_id} here", code="engine.no_such_node", node=node_id)
        return self._nodes[node_id]
