"""The local engine: nodes as plain processes that outlive the control plane, adopted when it comes back."""

import asyncio
import contextlib
import hashlib
import shutil
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from everup.engines.background import Background
from everup.engines.local import fencing, kernel, privilege
from everup.engines.local.launch import Reveal
from everup.engines.local.logs import KEEP, LIMIT_BYTES
from everup.engines.local.node import Clock, LocalNode, Surroundings
from everup.engines.local.programs import Programs
from everup.model.contracts import Fault
from everup.model.desired import Node, NodeId
from everup.model.errors import EngineError
from everup.model.observed import Confirmed, NodeEvent, NodeState

_TEND_EVERY_S = 2.0
_T = TypeVar("_T")


def _nothing(name: str) -> str:
    raise EngineError(f"nobody keeps secrets here, so there is no {name}")


class LocalEngine:
    """Runs the nodes of one environment on this machine; implements `Engine` and `FaultInjector`.

    Only one may work in a `home` at a time. Its methods belong to one event loop; calls for one node wait for each
    other, and a call that is cancelled is finished in the background.

    Args:
        home: the environment's directory; each node lives in `home/nodes/<id>/`.
        programs: where server programs are found.
        clock: monotonic seconds.
        reveal: gives the values of secrets to nodes that start with some; called on threads of its own.
    """

    faults = frozenset({Fault.CRASH, Fault.HANG, Fault.NODE_LOSS})

    def __init__(
        self, home: Path, programs: Programs, clock: Clock = time.monotonic, reveal: Reveal = _nothing
    ) -> None:
        self._home = home.absolute()
        self._clock = clock
        self._events: asyncio.Queue[NodeEvent] = asyncio.Queue()
        self._nodes: dict[NodeId, LocalNode] = {}
        self._work = Background()
        self._adoption: asyncio.Task[None] | None = None
        self._around = Surroundings(
            nodes=self._home / "nodes",
            trash=self._home / "trash",
            name=hashlib.sha256(str(self._home.resolve()).encode()).hexdigest()[:12],
            programs=programs,
            clock=clock,
            exited=lambda dead: self._events.put_nowait(NodeEvent(dead.node_id, "exited", dead)),
            reveal=reveal,
        )

    async def ensure(self, node: Node, extra_args: tuple[str, ...] = ()) -> None:
        """Make the running process match `node`; a process that already does is left alone (`extra_args` do not count).

        Returns once the process exists, not once it is ready: readiness is the prober's word. Takes at most
        `node.stop.grace_s` seconds more, spent stopping a predecessor. The back-off of a crash loop
        (`NodeState.retry_at_s`) is the caller's to keep.

        Raises:
            NodeFailed: the program is missing, could not be started, or a port of it is in use by somebody else.
        """
        await self._alone(node.id, lambda local: local.ensure(node, extra_args))

    async def remove(self, node_id: NodeId, *, keep_data: bool) -> None:
        """Stop a node gracefully, and, unless `keep_data`, delete its home. One that is gone already is no error."""

        async def work(local: LocalNode) -> None:
            await local.end()
            if not keep_data:
                await local.discard()

        await self._alone(node_id, work)

    async def observe(self) -> Mapping[NodeId, NodeState]:
        """Every node that has a home here or failed to get one, running or not."""
        await self._adopted()
        states = {node_id: local.state() for node_id, local in self._nodes.items()}
        return {node_id: state for node_id, state in states.items() if state.home or state.failure}

    async def watch(self) -> AsyncIterator[NodeEvent]:
        """Ends that nobody asked for, the moment they are confirmed; none is lost while nobody iterates.

        While somebody does, the nodes' output is rotated as well (`tend`).
        """
        tending = asyncio.create_task(self.tend())
        try:
            while True:
                yield await self._events.get()
        finally:
            tending.cancel()

    async def fence(self, node_id: NodeId) -> Confirmed:
        """Kill everything of a node, stopped or not; return only when nothing of it can run any more.

        Raises:
            EngineError: after 10 s something of it is still there (code `engine.not_fenced`).
        """
        await self._adopted()
        self._node(node_id).strike()  # at once, also in the middle of somebody's graceful stop
        return await self._alone(node_id, lambda local: local.fence())

    async def mark(self, node_id: NodeId, generation: int) -> None:
        """Note durably, beside the node's data, which generation that data belongs to."""
        await self._alone(node_id, lambda local: asyncio.to_thread(local.mark, generation))

    async def logs(self, node_id: NodeId, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """The newest `lines` of its output, oldest first, without line ends; then, with `follow`, what comes.

        Raises:
            EngineError: there is no such node.
        """
        await self._adopted()
        local = self._node(node_id)
        if not local.home.path.is_dir():
            raise EngineError(f"there is no node {node_id} here", code="engine.no_such_node", node=node_id)
        async for line in local.journal.lines(lines, follow):
            yield line

    async def inject(self, node_id: NodeId, fault: Fault, *, for_s: float) -> None:
        """Crash, hang or lose a running node on purpose; a lost one cannot be started for `for_s` seconds.

        Raises:
            EngineError: it does not run.
        """
        if fault == Fault.HANG:
            await self._alone(node_id, lambda local: local.hang())
        else:
            until_s = self._clock() + for_s if fault == Fault.NODE_LOSS else 0.0
            await self._alone(node_id, lambda local: local.crash(until_s))

    async def rotate(self, node_id: NodeId, limit_bytes: int = LIMIT_BYTES, keep: int = KEEP) -> bool:
        """Archive a node's output once it exceeds `limit_bytes`, keeping `keep` times that; say whether it was due."""
        await self._adopted()
        return await asyncio.to_thread(self._node(node_id).journal.rotate, limit_bytes, keep)

    async def tend(self) -> None:
        """Rotate the output of all nodes every few seconds, for ever."""
        while True:
            for node_id in [name for name, local in self._nodes.items() if local.journal.exceeds()]:
                with contextlib.suppress(OSError, EngineError):  # a full disk, or the like: tried again
                    await self.rotate(node_id)
            await asyncio.sleep(_TEND_EVERY_S)

    async def close(self) -> None:
        """Let go of all nodes, which run on. Calls under way are waited for; afterwards nothing may be called."""
        await self._work.settled()
        for local in self._nodes.values():
            await local.close()

    async def _alone(self, node_id: NodeId, work: Callable[[LocalNode], Awaitable[_T]]) -> _T:
        """Do `work` with a node while nothing else is done with it; to the end, even when the caller is cancelled."""
        await self._adopted()
        local = self._node(node_id)

        async def locked() -> _T:
            async with local.lock:
                try:
                    return await work(local)
                except OSError as error:
                    raise EngineError(f"{node_id}: {error.strerror}: {error.filename}", node=node_id) from error

        return await self._work.finish(locked())

    def _node(self, node_id: NodeId) -> LocalNode:
        if node_id not in self._nodes:
            if "/" in node_id or node_id in ("", ".", ".."):
                raise EngineError(f"{node_id!r} cannot name a node", code="engine.no_such_node")
            self._nodes[node_id] = LocalNode(node_id, self._around)
        return self._nodes[node_id]

    async def _adopted(self) -> None:
        if self._adoption is None or (self._adoption.done() and self._adoption.exception()):
            self._adoption = asyncio.create_task(self._adopt())
        await asyncio.shield(self._adoption)

    async def _adopt(self) -> None:
        """Take over every node of the home; whatever bears this environment's marker and is no node's is killed."""
        try:
            self._around.nodes.mkdir(mode=0o700, parents=True, exist_ok=True)
            if stat.S_IMODE(self._home.stat().st_mode) != privilege.OPENED:
                self._home.chmod(0o700)
            for place in sorted(self._around.nodes.iterdir()):
                local = self._node(place.name)
                await local.adopt()
        except OSError as error:
            raise EngineError(f"{error.filename}: {error.strerror}", "Everup must own its home directory.") from error
        strays = await asyncio.to_thread(kernel.marked, f"{self._around.name}/")
        for marker in set(strays.values()):
            state = self._node(marker.partition("/")[2]).state()
            if not state.running:
                await asyncio.to_thread(fencing.sweep, kernel.Trail(marker))
        self._work.begin(asyncio.to_thread(shutil.rmtree, self._around.trash, ignore_errors=True))
