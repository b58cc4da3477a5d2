"""Passing bytes on from one connection to another."""

import asyncio
from contextlib import suppress

_CHUNK_BYTES = 65_536


async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends, and then the end; a connection that breaks ends it too."""
    with suppress(OSError):
        while piece := await source.read(_CHUNK_BYTES):
            to.write(piece)
            await to.drain()
        if to.can_write_eof():
            to.write_eof()
