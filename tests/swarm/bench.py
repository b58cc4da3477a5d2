"""One host of a rig with an agent on it, and nodes started there as the engine starts them, one by one."""

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from everup.engines.swarm import services
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.hosts import Host as Agent
from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.pair import Pair
from everup.engines.swarm.place import Place
from everup.engines.swarm.sight import Ended, Sight
from everup.engines.swarm.volume import Volume
from everup.engines.swarm.wire import Wire
from everup.model.desired import Node, Part, Probe, Protocol, Tcp
from everup.model.errors import Unavailable
from everup.model.observed import Reading
from tests.swarm.host import PATIENCE_S, Host

PORT = 9485
"""Not the one of the agents that a control plane puts on the same hosts."""

ANY = 1 << 60
"""Larger than the number of any control plane that the host has heard of."""

_T = TypeVar("_T")
_NUMBERS = itertools.count(1)


def program(node_id: str, script: str, **more: object) -> Node:
    """A node that runs a Python script, in which `beat()` shows that it lives and `stay()` does so for ever."""
    text = (
        "import os, signal, sys, time\n"
        "def beat():\n    open('beats', 'a').write(f'{os.environ[\"START\"]} {time.time()}\\n')\n"
        "def stay():\n    while True:\n        beat()\n        time.sleep(0.01)\n"
    ) + script
    fields: dict[str, object] = {"service": "svc", "part": Part.DATA, "program": "python3", "keeps": ("beats",), **more}
    silent = Probe(Protocol.NONE, None, lambda replies: Reading(ready=True))
    return Node(id=node_id, args=("-uc", text), probe=silent, **fields)  # type: ignore[arg-type]


async def until(met: Callable[[], Awaitable[_T]], what: str) -> _T:
    """Wait for a true answer; a host or a Docker that is silent counts as no."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        with suppress(Unavailable):
            if answer := await met():
                return answer
        assert time.monotonic() < end_s, f"{what}: not within {PATIENCE_S:.0f} s"
        await asyncio.sleep(0.05)


class Bench:
    """Starts nodes of an environment of its own on one host, past the engine, and asks the agent there."""

    def __init__(self, host: Host, image_id: str, pair: Pair) -> None:
        self.host = host
        self.image_id = image_id
        self.environment = f"bench{next(_NUMBERS)}"
        self.pair = pair
        self.docker = Docker(Wire(Place(f"unix://{host.socket}"), PATIENCE_S))
        self.folder = Path(tempfile.mkdtemp(prefix="everup-agent-"))
        self.agent = self.heard_as(Keeping(lambda error: None))
        self.process: subprocess.Popen[bytes] | None = None

    async def open(self) -> None:
        """Start the agent; it answers when this returns."""
        words = ["--address", self.host.address, "--port", str(PORT), "--proc", "/proc"]
        words += ["--certificate", str(self.pair.cert), "--key", str(self.pair.key), "--folder", str(self.folder)]
        command = self.host.command([sys.executable, "-m", "everup.engines.swarm.agent", *words])
        self.process = await asyncio.to_thread(subprocess.Popen, command)
        await until(self.answers, "the agent answers")

    def heard_as(self, keeping: Keeping, pair: Pair | None = None, answer_s: float = PATIENCE_S) -> Agent:
        """The agent, to whoever has that turn, and that pair."""
        return Agent(self.host.name, Tcp(self.host.address, PORT), pair or self.pair, keeping, answer_s)

    async def answers(self) -> bool:
        await self.agent.nodes(self.environment)
        return True

    def kill_agent(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait(PATIENCE_S)

    async def start(self, node: Node, ticket: int, *, wait: bool = True) -> Sight | None:
        """Have Swarm start a node; with `wait`, return once its program was reached, or could not be."""
        name = services.order_name(self.environment, node.id, ticket)
        host_id = (await self.docker.itself())["Swarm"]["NodeID"]
        node = replace(node, env={"START": str(ticket), **node.env})
        start = services.Start(self.environment, node, ticket, self.image_id, host_id=host_id, keeping=ANY)
        order = json.dumps(services.order(start)).encode()
        secret_id = await self.docker.secrets.create(name, order, services.whose(self.environment, node.id))
        spec = services.spec(replace(start, secret_id=secret_id))
        if services.is_everywhere(node):
            spec["TaskTemplate"]["Placement"] = {"Constraints": [f"node.id=={host_id}"]}
        if found := await self.docker.services.inspect(start.name):
            await self.docker.services.change(found["ID"], lambda former: spec)
        else:
            await self.docker.services.create(spec)
        return await self.started(node.id, ticket) if wait else None

    async def again(self, node_id: str) -> None:
        """Have Swarm start the same once more, as it does by itself when it sees fit."""
        name = services.name_of(self.environment, node_id)

        def edit(spec: dict[str, object]) -> dict[str, object]:
            template = dict(spec["TaskTemplate"])  # type: ignore[call-overload]
            template["ForceUpdate"] = template.get("ForceUpdate", 0) + 1
            return {**spec, "TaskTemplate": template}

        await self.docker.services.change(name, edit)

    async def sight(self, node_id: str) -> Sight:
        return (await self.agent.nodes(self.environment)).get(node_id, Sight(running=False))

    async def started(self, node_id: str, ticket: int) -> Sight:
        async def reached() -> Sight | None:
            sight = await self.sight(node_id)
            seen = sight.running or sight.failure or sight.ended_age_s is not None  # it may have ended at once
            return sight if sight.start == ticket and seen else None

        return await until(reached, f"{node_id} is started with {ticket}")

    async def ended(self, node_id: str, count: int) -> list[str]:
        """How the containers of a node ended, newest first, once so many have."""

        async def found() -> list[str] | None:
            wanted = services.filters(self.environment, node_id)
            states = [one["Status"] for one in await self.docker.containers.list(wanted) if one["State"] == "exited"]
            return states if len(states) >= count else None

        return await until(found, f"{count} containers of {node_id} have ended")

    def home(self, node_id: str) -> Path:
        """A node's volume, on the disk of its host."""
        return self.host.volume(services.name_of(self.environment, node_id))

    def volume(self, node_id: str) -> Volume:
        return Volume(self.home(node_id))

    def beats(self, node_id: str, ticket: int) -> list[float]:
        """When a start of a node showed that it lives, seconds since 1970."""
        place = self.home(node_id) / "beats"
        lines = [line.split() for line in place.read_text().splitlines()] if place.exists() else []
        return [float(words[1]) for words in lines if len(words) == 2 and words[0] == str(ticket)]

    async def beating(self, node_id: str, ticket: int) -> None:
        """Return once that start of a node shows that it lives."""
        before = len(self.beats(node_id, ticket))

        async def more() -> bool:
            return len(self.beats(node_id, ticket)) > before

        await until(more, f"{node_id} beats")

    async def listen(self, ends: list[Ended], ready: asyncio.Event) -> None:
        """Collect ends, and set `ready` when the stream is open."""
        async with aclosing(self.agent.exits(self.environment)) as stream:
            async for end in stream:
                ready.set()
                if end:
                    ends.append(end)

    async def close(self) -> None:
        """Remove all that was started."""
        with suppress(ProcessLookupError):
            self.kill_agent()
        wanted = services.filters(self.environment)
        for service in await self.docker.services.list(wanted):
            await self.docker.services.remove(service["ID"])
        await until(self._removed, "the containers are gone")
        for secret in await self.docker.secrets.list(wanted):
            await self.docker.secrets.remove(secret["ID"])
        for volume in await self.docker.volumes.list(wanted):
            await self.docker.volumes.remove(volume["Name"])
        await self.agent.close()
        await self.docker.close()
        shutil.rmtree(self.folder)

    async def _removed(self) -> bool:
        found = await self.docker.containers.list(services.filters(self.environment))
        for one in found:
            await self.docker.containers.remove(one["Id"])
        return not found


def alive(pid: int) -> bool:
    """A process of this machine lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
