"""Streams of JSON objects: one a line (NDJSON), or as server-sent events for browsers.

A failure half-way is a last object `{"error": {...}}`.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from everup.api.errors import problem
from everup.model.errors import EverupError

FIRST_LINE_S = 0.1
"""Seconds to wait for the first line, so that an error known at once is a proper HTTP answer."""

HEARTBEAT_S = 15.0
"""Seconds of silence after which an empty line is sent: it finds out whether the client is still there."""


class Lines(StreamingResponse):
    """A stream of JSON objects, one a line; an empty line is a sign of life."""

    media_type = "application/x-ndjson"
    beat = b"\n"

    @staticmethod
    def encode(one: dict[str, Any]) -> bytes:
        """One object as it is sent."""
        return json.dumps(one).encode() + b"\n"


class ServerSent(Lines):
    """The same as server-sent events: `id` is the object's `seq`, by which a browser that reconnects goes on."""

    media_type = "text/event-stream"
    beat = b":\n\n"

    @staticmethod
    def encode(one: dict[str, Any]) -> bytes:
        """One object as it is sent."""
        number = f"id: {one['seq']}\n" if "seq" in one else ""
        return f"{number}data: {json.dumps(one)}\n\n".encode()


def form_for(accept: str) -> type[Lines]:
    """The form that the header `Accept` asks for."""
    return ServerSent if ServerSent.media_type in accept else Lines


async def stream(lines: AsyncIterator[dict[str, Any]], form: type[Lines] = Lines) -> Lines:
    """Answer with a stream of objects.

    Raises:
        EverupError: `lines` failed before its first line.
    """
    first = asyncio.ensure_future(anext(lines))
    await asyncio.wait({first}, timeout=FIRST_LINE_S)
    if first.done() and isinstance(first.exception(), EverupError):
        first.result()
    return form(_encoded(first, lines, form), headers={"X-Accel-Buffering": "no"})


async def _encoded(
    waiting: "asyncio.Future[dict[str, Any]]", lines: AsyncIterator[Any], form: type[Lines]
) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=HEARTBEAT_S)
            if not done:
                yield form.beat
                continue
            yield form.encode(waiting.result())
            waiting = asyncio.ensure_future(anext(lines))
    except StopAsyncIteration:
        pass
    except EverupError as error:
        yield form.encode({"error": problem(error)})
    finally:
        waiting.cancel()
        await asyncio.wait({waiting})
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()
