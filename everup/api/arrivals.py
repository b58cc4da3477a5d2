"""Connections to a port that doors lead to: each may say first, in clear, whose connection it passes on.

Only who is known for a door is believed; of anybody else such words are read and count for nothing.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Collection

from everup.api.tcp import CONNECTIONS, HEAD_S, Bounded
from everup.core.announcing import HEAD_BYTES, client_in, length_of, may_begin

Doors = Callable[[], Collection[str]]
"""The addresses from which connections are passed on, as they are known now."""

EACH = 64
"""How many connections may be of one address, as at a door; and how many of one that is no door may be arriving."""

_AGAIN_S = 0.01
_EXHAUSTED_S = 0.5


class Arrivals:
    """Accepts connections of a listening socket; what `asyncio.Server` is to uvicorn.

    Args:
        listener: does not block.
        made: makes the protocol of a connection.
        gate: TLS; None: the port speaks plain HTTP.
        doors: whom to believe.
    """

    def __init__(
        self, listener: socket.socket, made: Callable[[], Bounded], gate: ssl.SSLContext | None, doors: Doors
    ) -> None:
        self._listener = listener
        self._made = made
        self._gate = gate
        self._doors = doors
        self._arriving: dict[asyncio.Task[None], str] = {}
        self._accepting = asyncio.create_task(self._accept(), name="arrivals")

    def close(self) -> None:
        """Accept nobody any more."""
        for task in (self._accepting, *self._arriving):
            task.cancel()

    async def wait_closed(self) -> None:
        """Return once nobody is being let in."""
        await asyncio.gather(self._accepting, *self._arriving, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                arrived, where = await loop.sock_accept(self._listener)
            except OSError:  # no descriptor is left, or whoever knocked is gone again
                await asyncio.sleep(_EXHAUSTED_S)
                continue
            address = str(where[0])
            if not self._admits(address):
                arrived.close()
                continue
            arrived.setblocking(False)
            task = asyncio.create_task(self._let_in(arrived, address))
            self._arriving[task] = address
            task.add_done_callback(self._arriving.pop)

    def _admits(self, address: str) -> bool:
        """There is room for one more that comes from there."""
        from_there = list(self._arriving.values()).count(address)
        return len(self._arriving) < CONNECTIONS and (from_there < EACH or address in self._doors())

    async def _let_in(self, arrived: socket.socket, address: str) -> None:
        loop, protocol = asyncio.get_running_loop(), self._made()
        protocol.each = EACH
        limit_s = {"ssl_handshake_timeout": HEAD_S} if self._gate else {}
        try:
            async with asyncio.timeout(HEAD_S):
                client = await _announced(arrived)
            if address in self._doors():
                protocol.passed_on_for = client
            await loop.connect_accepted_socket(lambda: protocol, arrived, ssl=self._gate, **limit_s)
        except (OSError, ValueError, asyncio.CancelledError):  # it breaks off, is late, or says what nobody can read
            arrived.close()


async def _announced(arrived: socket.socket) -> tuple[str, int] | None:
    """Whose connection is passed on, as its first bytes say, which are taken away then; None: they say nothing.

    Raises:
        OSError: it broke off.
        ValueError: it cannot be understood.
    """
    while True:
        await _readable(arrived)
        head = arrived.recv(HEAD_BYTES, socket.MSG_PEEK)
        if not head:
            raise ConnectionResetError("it ended at once")
        if not may_begin(head):
            return None
        if len(head) == HEAD_BYTES:
            break
        await asyncio.sleep(_AGAIN_S)
    header, length = b"", length_of(head)
    while len(header) < length:
        piece = await asyncio.get_running_loop().sock_recv(arrived, length - len(header))
        if not piece:
            raise ConnectionResetError("it ended in its first words")
        header += piece
    return client_in(header)


async def _readable(arrived: socket.socket) -> None:
    """Return once something has come, or the connection has ended."""
    loop, come = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(arrived, come.set)
    try:
        await come.wait()
    finally:
        loop.remove_reader(arrived)
