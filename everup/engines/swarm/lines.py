"""A line to the agent of every host: whether it answers, and the ends on that host the moment they happen."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing

from everup.engines.swarm.hosts import Host
from everup.engines.swarm.placement import HostView
from everup.engines.swarm.sight import Ended, Sight
from everup.model.desired import NodeId
from everup.model.errors import EngineError, Unavailable

_RETRY_S = 0.5
_HEARD_S = 1.5  # an agent says something every second

Heard = Callable[[HostView, Ended], None]


class Line:
    """Keeps a connection to one agent for as long as it is wanted, and opens it anew when it breaks.

    Attributes:
        up: the agent answers.
        why: why it does not, in words.
        tried: set once it is known whether it answers.
    """

    def __init__(self, environment: str, host: HostView, agent: Host, heard: Heard) -> None:
        self.host = host
        self.agent = agent
        self.up = False
        self.why = "it was not asked yet"
        self.tried = asyncio.Event()
        self._beat_s = 0.0
        self._environment = environment
        self._heard = heard
        self._task = asyncio.create_task(self._run(), name=f"line to {host.name}")

    async def nodes(self) -> Mapping[NodeId, Sight] | None:
        """What the agent says of its nodes; None when it does not answer, which is then known.

        One that was heard a moment ago is asked again: a busy host is late now and then.
        """
        for patient in (True, False):
            asked_s = time.monotonic()
            try:
                return await self.agent.nodes(self._environment)
            except Unavailable as error:
                if not patient or self._beat_s < asked_s - _HEARD_S:
                    self.down(error.message)
                    break
            except EngineError as error:
                self.down(error.message)
                break
        return None

    def down(self, why: str) -> None:
        """Somebody asked it something, and it did not answer."""
        self.up, self.why = False, why

    async def close(self) -> None:
        """Hang up."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
                self.down("its agent hung up")
            except EngineError as error:
                self.down(error.message)
            self.tried.set()
            await asyncio.sleep(_RETRY_S)

    async def _listen(self) -> None:
        async with aclosing(self.agent.exits(self._environment)) as exits:
            async for ended in exits:
                self.up, self._beat_s = True, time.monotonic()
                self.tried.set()
                if ended is not None:
                    self._heard(self.host, ended)
