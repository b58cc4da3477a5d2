"""Streams as NDJSON: one JSON object per line; a failure half-way is a last line `{"error": {...}}`."""

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
    """A stream of JSON objects, one a line."""

    media_type = "application/x-ndjson"


async def ndjson(lines: AsyncIterator[dict[str, Any]]) -> Lines:
    """Answer with a stream of objects.

    Raises:
        EverupError: `lines` failed before its first line.
    """
    first = asyncio.ensure_future(anext(lines))
    await asyncio.wait({first}, timeout=FIRST_LINE_S)
    if first.done() and isinstance(first.exception(), EverupError):
        first.result()
    return Lines(_encoded(first, lines))


async def _encoded(waiting: "asyncio.Future[dict[str, Any]]", lines: AsyncIterator[Any]) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=HEARTBEAT_S)
            if not done:
                yield b"\n"
                continue
            yield json.dumps(waiting.result()).encode() + b"\n"
            waiting = asyncio.ensure_future(anext(lines))
    except StopAsyncIteration:
        pass
    except EverupError as error:
        yield json.dumps({"error": problem(error)}).encode() + b"\n"
    finally:
        waiting.cancel()
        await asyncio.wait({waiting})
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()
