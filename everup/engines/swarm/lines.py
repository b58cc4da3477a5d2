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

REUSE, REUSE_S = 5.0, 2.0
"""For how long an answer is gone by: so many times as long as it took, and so many seconds at most.

A busy host is so asked less often than an idle one; an end or an act makes what was said before void at once.
"""

_RETRY_S = 0.5
_HEARD_S = 1.5  # an agent says something every second

Heard = Callable[[Ended], None]


class Line:
    """Keeps a connection to one agent for as long as it is wanted, and opens it anew when it breaks.

    Attributes:
        up: the agent answers.
        told: since it answers it has said what runs there, and whoever keeps that has taken it in.
        why: why it does not, in words.
        tried: set once it is known whether it answers.
    """

    def __init__(self, environment: str, host: HostView, agent: Host, heard: Heard) -> None:
        self.host = host
        self.agent = agent
        self.up = self.told = False
        self.why = "it was not asked yet"
        self.tried = asyncio.Event()
        self._beat_s = 0.0
        self._fresh_until_s = 0.0
        self._newest_s = 0.0
        self._asking: asyncio.Task[Mapping[NodeId, Sight] | None] | None = None
        self._environment = environment
        self._heard = heard
        self._task = asyncio.create_task(self._run(), name=f"line to {host.name}")

    async def nodes(self) -> Mapping[NodeId, Sight] | None:
        """What the agent says of its nodes; None when it does not answer, which is then known, or too late.

        Whoever asks while a question is under way gets the answer to that one. An agent that was heard a moment ago is
        asked again: a busy host is late now and then.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._nodes())
        return await asyncio.shield(self._asking)

    async def _nodes(self) -> Mapping[NodeId, Sight] | None:
        for patient in (True, False):
            asked_s = time.monotonic()
            self._fresh_until_s = asked_s
            try:
                found = await self.agent.nodes(self._environment)
                if asked_s < self._newest_s:
                    return None  # what was asked later was answered sooner
                self._newest_s = asked_s
                if self._fresh_until_s == asked_s:  # nothing has happened meanwhile
                    answered_s = time.monotonic()
                    self._fresh_until_s = answered_s + min(REUSE_S, REUSE * (answered_s - asked_s))
                return found
            except Unavailable as error:
                if not patient or self._beat_s < asked_s - _HEARD_S:
                    self.down(error.message)
                    break
            except EngineError as error:
                self.down(error.message)
                break
        return None

    def fresh(self) -> bool:
        """What the agent said last can still be gone by."""
        return self.up and self.told and time.monotonic() < self._fresh_until_s

    def outdate(self) -> None:
        """What the agent said, and is about to say, is out of date."""
        self._fresh_until_s, self._asking = 0.0, None

    def down(self, why: str) -> None:
        """Somebody asked it something, and it did not answer."""
        self.up, self.told, self.why = False, False, why

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
                    self.outdate()
                    self._heard(ended)
