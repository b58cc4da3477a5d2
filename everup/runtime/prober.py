"""Asks every running node how it is: often while it starts, calmly while it is well, at once when nudged."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from everup.core.targets import SECOND_LOOK_S
from everup.model.desired import Ask, Node, NodeId, Probe, Protocol, Silence
from everup.model.observed import Health, Reading
from everup.runtime.talk import Console, Link, Reply, ask_again

Hear = Callable[[NodeId, Reading | None, float, float], Health]
"""Told (node, reading or None, monotonic second of asking, seconds that it may be silent); says how it is judged."""

EAGER_S = 0.004
EAGER_GROWTH = 1.15
EAGER_LIMIT_S = 0.25
"""A starting node is asked after 4 ms, then ever less often: it is noticed within about 15 % of its start."""

LATE_S = 0.25
"""A time-out that fires this much too late says that this process was starved, and nothing about the node."""

FRESH_EVERY = 10
"""Every tenth probe uses a new connection: a kept one proves nothing of accepting (apps.md section 4)."""


class Prober:
    """One small task per node. Follows the set of nodes it is given."""

    def __init__(self, console: Console, hear: Hear) -> None:
        self._console = console
        self._hear = hear
        self._tasks: dict[NodeId, tuple[Probe, int | None, asyncio.Task[None]]] = {}
        self._nudges: dict[NodeId, asyncio.Event] = {}

    def watch(self, nodes: Mapping[NodeId, tuple[Node, int | None]]) -> None:
        """Probe exactly these nodes from now on; each comes with the pid of its process, a new pid starts afresh."""
        for node_id in list(self._tasks):
            wanted = nodes.get(node_id)
            probe, pid, task = self._tasks[node_id]
            if wanted is None or wanted[1] != pid or differs(wanted[0].probe, probe):
                task.cancel()
                del self._tasks[node_id]
        for node_id, (node, pid) in nodes.items():
            if node_id not in self._tasks:
                self._nudges[node_id] = asyncio.Event()
                task = asyncio.create_task(self._keep_asking(node), name=f"probe {node_id}")
                self._tasks[node_id] = (node.probe, pid, task)

    def nudge(self, node_id: NodeId) -> None:
        """Ask this node now."""
        if node_id in self._nudges:
            self._nudges[node_id].set()

    def stop(self) -> None:
        """End every task."""
        self.watch({})

    async def _keep_asking(self, node: Node) -> None:
        link: Link | None = None
        eager_s, count, refused_s = EAGER_S, 0, float("-inf")
        nudge = self._nudges[node.id]
        try:
            while True:
                count += 1
                if link and count % FRESH_EVERY == 0:
                    link.close()
                sent_s = time.monotonic()
                link, reply = await self._ask(node, link)
                late_s = time.monotonic() - sent_s - node.probe.timeout_s
                if isinstance(reply, Silence) and late_s > LATE_S:
                    continue
                reading = None if isinstance(reply, Silence) else node.probe.read(reply)
                refused_s = sent_s if isinstance(reply, Silence) and reply.refused else refused_s
                health = self._hear(node.id, reading, sent_s, _patience_s(node.probe, sent_s - refused_s))
                wait_s = node.probe.interval_s if node.probe.protocol != Protocol.NONE else 3600.0
                if health == Health.STARTING:
                    eager_s = min(eager_s * EAGER_GROWTH, EAGER_LIMIT_S)
                    wait_s = eager_s
                elif health != Health.READY:
                    wait_s = min(SECOND_LOOK_S, wait_s)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await nudge.wait()
                nudge.clear()
        finally:
            if link:
                link.close()

    async def _ask(self, node: Node, link: Link | None) -> tuple[Link | None, Reply]:
        probe = node.probe
        if probe.protocol == Protocol.NONE or probe.to is None:
            return None, ()
        question = Ask(
            probe.to, probe.commands, probe.protocol, probe.timeout_s, probe.password, probe.user, probe.spare
        )
        return await ask_again(question, self._console, link)


def _patience_s(probe: Probe, refused_ago_s: float) -> float:
    """How long the node may be silent: what was started again a moment ago is given time to answer, too."""
    return probe.hang_s if probe.absent_s is None or refused_ago_s >= probe.hang_s else probe.absent_s


def differs(one: Probe, other: Probe) -> bool:
    """They ask different questions. Readers may be closures, new in every blueprint: they do not count."""
    return (one.protocol, one.to, one.commands, one.user, one.password) != (
        other.protocol,
        other.to,
        other.commands,
        other.user,
        other.password,
    )
