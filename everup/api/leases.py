"""A stream lasts as long as the right to it: whoever's token ends is cut off at the next line."""

import asyncio
from collections.abc import Awaitable, Callable

from everup.api.repeats import Message, Send

Receive = Callable[[], Awaitable[Message]]


def leased(valid: Callable[[], bool], receive: Receive, send: Send) -> tuple[Receive, Send]:
    """The two ends of a connection, which end once `valid` says no; asked before every part of an answer but the last.

    Streams send an empty line every 15 s, so that is how long a right is outlived at most.
    """
    over = asyncio.Event()

    async def sending(message: Message) -> None:
        if over.is_set():
            raise OSError("nobody is entitled to this stream any more")
        if message["type"] == "http.response.body" and message.get("more_body") and not valid():
            over.set()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    async def receiving() -> Message:
        coming, ending = asyncio.ensure_future(receive()), asyncio.ensure_future(over.wait())
        try:
            await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
            return {"type": "http.disconnect"} if over.is_set() else await coming
        finally:
            coming.cancel()
            ending.cancel()

    return receiving, sending
