"""News as server-sent events: each event is taken from the journal and encoded once, whoever listens."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress

from everup.model.errors import EverupError
from everup.web.ports import Desk, Json, Tongue

HEARTBEAT_S = 15.0
"""Seconds of silence after which a comment is sent: it finds out whether the browser is still there."""

BEHIND = 256
"""Pieces that a browser may be behind; it then gets one that says that it missed some."""

GATHER_S, GATHER_MOST_S = 0.001, 0.05
"""News wait so long for each that listens, at most: what a burst brings is sent to a crowd in one piece, and the loop
that decides a failover is left alone in its first moments."""

MISSED = b"event: missed\ndata: {}\n\n"
BEAT = b": still here\n\n"


def message(name: str, body: Json, number: int | None = None) -> bytes:
    """One server-sent event."""
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(body)}\n\n".encode()


class _Channel:
    """Those who listen to one environment, and the one task that serves them."""

    def __init__(self) -> None:
        self.listeners: set[asyncio.Queue[bytes]] = set()
        self.pump: asyncio.Task[None] | None = None
        self._gathered: list[bytes] = []

    def gather(self, words: bytes) -> None:
        """Give everybody the same bytes soon, with what else comes by then."""
        if not self._gathered:
            wait_s = min(GATHER_S * len(self.listeners), GATHER_MOST_S)
            asyncio.get_running_loop().call_later(wait_s, self._tell)
        self._gathered.append(words)

    def _tell(self) -> None:
        """Who is too far behind loses what waits for it, and is told."""
        words = b"".join(self._gathered)
        self._gathered.clear()
        for listener in self.listeners:
            if listener.full():
                while not listener.empty():
                    listener.get_nowait()
                listener.put_nowait(MISSED)
            listener.put_nowait(words)


class Feed:
    """The events of all environments, fanned out. Nothing runs for an environment that nobody listens to.

    Each message says how many listen: browsers then look at different moments, the later the more they are, so that a
    crowd of them leaves a failover the time it needs.
    """

    def __init__(self, desk: Desk, tongue: Tongue) -> None:
        self._desk = desk
        self._tongue = tongue
        self._channels: dict[str, _Channel] = {}

    async def listen(self, environment: str, welcome: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Events from now on, the newest one first; ends when the listener is not `welcome` any more."""
        channel = self._channels.setdefault(environment, _Channel())
        listener: asyncio.Queue[bytes] = asyncio.Queue(BEHIND + 1)
        channel.listeners.add(listener)
        if channel.pump is None:
            channel.pump = asyncio.create_task(self._serve(environment, channel), name=f"dashboard of {environment}")
        try:
            yield BEAT
            while welcome():
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        yield await listener.get()
                except TimeoutError:
                    yield BEAT
        finally:
            channel.listeners.discard(listener)
            if not channel.listeners and channel.pump:
                channel.pump.cancel()
                self._channels.pop(environment, None)

    async def _serve(self, environment: str, channel: _Channel) -> None:
        with suppress(EverupError):
            async for event in self._desk.events(environment, after=-1, follow=True):
                body = self._tongue.event(event) | {"listeners": len(channel.listeners)}
                channel.gather(message("happened", body, event.seq))


async def log_lines(
    desk: Desk, environment: str, name: str, welcome: Callable[[], bool], lines: int
) -> AsyncIterator[bytes]:
    """What a node prints, from its newest `lines` lines on, as it prints it."""
    async with aclosing(_generator(desk.logs(environment, name, lines=lines, follow=True))) as found:
        waiting = asyncio.ensure_future(anext(found))
        try:
            while welcome():
                done, _ = await asyncio.wait({waiting}, timeout=HEARTBEAT_S)
                if not done:
                    yield BEAT
                    continue
                node_id, line = waiting.result()
                yield message("line", {"node": node_id, "line": line})
                waiting = asyncio.ensure_future(anext(found))
        except (StopAsyncIteration, EverupError):
            yield message("over", {})
        finally:
            waiting.cancel()
            await asyncio.wait({waiting})


async def _generator(lines: AsyncIterator[tuple[str, str]]) -> AsyncGenerator[tuple[str, str], None]:
    async for pair in lines:
        yield pair
