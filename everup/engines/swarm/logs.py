"""The output of the copies of a node as one stream."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any


async def merged(sources: Mapping[str, AsyncIterator[str]]) -> AsyncIterator[str]:
    """The lines of all `sources` as they come, each behind the name of its source; one source alone goes without.

    Raises:
        EngineError: what a source raised.
    """
    if len(sources) == 1:
        for alone in sources.values():
            async for line in alone:
                yield line
        return
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1000)

    async def pour(name: str, source: AsyncIterator[str]) -> None:
        async for line in source:
            await queue.put(f"{name}  {line}")

    async def all_of_it() -> None:
        try:
            await asyncio.gather(*(pour(name, source) for name, source in sources.items()))
            await queue.put(None)
        except Exception as error:
            await queue.put(error)

    pouring = asyncio.create_task(all_of_it())
    try:
        while (found := await queue.get()) is not None:
            if isinstance(found, Exception):
                raise found
            yield found
    finally:
        pouring.cancel()
