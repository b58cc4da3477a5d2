"""The engines behind one face, so that one suite can hold both to the contract."""

import asyncio
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from everup.engines.local.engine import LocalEngine
from everup.engines.local.programs import Programs
from everup.engines.memory import MemoryEngine
from everup.engines.swarm.engine import SwarmEngine
from everup.model.desired import Node, Part, Probe, Protocol, Stop
from everup.model.observed import NodeState, Reading

MISSING = "everup-no-such-program"
SPEAKER = "while :; do if mv say said 2>/dev/null; then cat said; fi; sleep 0.01; done"
"""A script that prints what the test puts into its file `say`."""


def a_node(node_id: str = "web-1", script: str = "exec sleep 600", **changes: Any) -> Node:
    """A node that runs a shell script, stopped within a second."""
    fields: dict[str, Any] = {
        "id": node_id,
        "service": "web",
        "part": Part.INSTANCE,
        "program": "sh",
        "args": ("-c", script),
        "probe": Probe(Protocol.NONE, None, lambda replies: Reading(ready=True)),
        "stop": Stop(grace_s=1.0),
    }
    return Node(**{**fields, **changes})


async def eventually(what: Callable[[], Awaitable[bool]], within_s: float = 90.0) -> None:
    """Wait until `what()` is true; fail when it is not within `within_s` seconds."""
    end_s = time.monotonic() + within_s
    while not await what():
        assert time.monotonic() < end_s, f"did not come true within {within_s} s"
        await asyncio.sleep(0.005)


class World(ABC):
    """What the worlds of all engines can do."""

    engine: LocalEngine | MemoryEngine | SwarmEngine

    async def state(self, node_id: str) -> NodeState:
        return (await self.engine.observe())[node_id]

    async def states(self) -> Mapping[str, NodeState]:
        return await self.engine.observe()

    @abstractmethod
    def kill(self, node_id: str) -> Awaitable[None]: ...

    @abstractmethod
    def read(self, node_id: str, name: str) -> str: ...

    @abstractmethod
    def write(self, node_id: str, name: str, text: str) -> None: ...

    @abstractmethod
    def forget(self, node_id: str) -> None:
        """Let the node's data (`dump.rdb`) be lost."""

    @abstractmethod
    def say(self, node_id: str, lines: str) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...


class LocalWorld(World):
    """Real processes in `home`."""

    engine: LocalEngine

    def __init__(self, home: Path) -> None:
        self.home = home
        self.engine = LocalEngine(home, Programs({}, os.environ))

    async def kill(self, node_id: str) -> None:
        pid = (await self.state(node_id)).pid
        assert pid
        os.kill(pid, signal.SIGKILL)

    def read(self, node_id: str, name: str) -> str:
        return (self.home / "nodes" / node_id / name).read_text()

    def write(self, node_id: str, name: str, text: str) -> None:
        (self.home / "nodes" / node_id / name).write_text(text)

    def forget(self, node_id: str) -> None:
        (self.home / "nodes" / node_id / "dump.rdb").unlink()

    def say(self, node_id: str, lines: str) -> None:
        self.write(node_id, "say.draft", lines + "\n")
        (self.home / "nodes" / node_id / "say.draft").rename(self.home / "nodes" / node_id / "say")

    async def close(self) -> None:
        for node_id in await self.engine.observe():
            await self.engine.fence(node_id)
        await self.engine.close()


class MemoryWorld(World):
    """Bookkeeping, on a clock that stands still until it is moved."""

    engine: MemoryEngine

    def __init__(self) -> None:
        self.now_s = 100.0
        self.engine = MemoryEngine(lambda: self.now_s, missing={MISSING})

    async def kill(self, node_id: str) -> None:
        self.engine.kill(node_id)

    def read(self, node_id: str, name: str) -> str:
        return self.engine.node(node_id).files[name]

    def write(self, node_id: str, name: str, text: str) -> None:
        self.engine.node(node_id).files[name] = text

    def forget(self, node_id: str) -> None:
        self.engine.node(node_id).written = False

    def say(self, node_id: str, lines: str) -> None:
        self.engine.node(node_id).lines.extend(lines.split("\n"))

    async def close(self) -> None:
        return None
