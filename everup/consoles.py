"""Commands to a Unix socket in a node's home, such as HAProxy's runtime socket: one connection for each."""

import asyncio
import os
from pathlib import Path

MAX_ANSWER_BYTES = 1 << 20
_LONGEST_PATH = 104
"""A socket's address may have 108 bytes on Linux, 104 on macOS."""


async def ask(home: Path, socket: str, command: str) -> str:
    """What comes back for `command` on the socket of that name in the directory `home`, cut at 1 MiB.

    Raises:
        OSError: nobody listens there.
    """
    reader, writer = await _open(home, socket)
    try:
        writer.write(command.encode() + b"\n")
        await writer.drain()
        return (await read_all(reader, MAX_ANSWER_BYTES)).decode(errors="replace")
    finally:
        writer.close()


async def read_all(reader: asyncio.StreamReader, limit_bytes: int) -> bytes:
    """What comes until the other side closes, cut at the limit."""
    answer = b""
    while len(answer) < limit_bytes and (piece := await reader.read(limit_bytes - len(answer))):
        answer += piece
    return answer


async def _open(home: Path, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a socket in `home`, through /proc when its path is longer than a socket's address may be."""
    path = str(home / name)
    if len(path.encode()) < _LONGEST_PATH:
        return await asyncio.open_unix_connection(path, limit=MAX_ANSWER_BYTES)
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{name}", limit=MAX_ANSWER_BYTES)
    finally:
        os.close(folder)
