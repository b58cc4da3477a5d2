"""What all ways in have in common, the API's ports and the dashboard's: who shows a token, how often, how much."""

import asyncio
import hashlib
import ipaddress
import math
from collections.abc import Callable, Mapping
from typing import Any

from starlette.datastructures import Headers

from everup.api.desk import Desk
from everup.api.errors import TooLarge, TooSlow, answer
from everup.api.leases import Receive
from everup.api.rates import REMEMBERED, Meter
from everup.api.recording import Notebook, deed
from everup.api.repeats import Message
from everup.model.access import Caller
from everup.model.errors import TooMany

RATE, BURST = 50.0, 200
"""Requests a second, and at once, from each caller with a token, and from each browser that is signed in. The socket's
owner is not counted."""

STRANGERS_RATE, STRANGERS_BURST = 5.0, 50
"""The same from each address that names nobody."""

GUESSES_RATE, GUESSES_BURST = 0.1, 20
"""How many different wrong tokens an address may show, a second and at once, before it is told nothing of any other."""

BODY_S = 30.0
"""How long the body of a request may take to come."""


def address_of(scope: Mapping[str, Any]) -> str:
    """Where a request came from; "" for the Unix socket. Of IPv6 the /64: one host may have all of its addresses."""
    client = scope.get("client")
    if not client:
        return ""
    try:
        where = ipaddress.ip_address(client[0])
    except ValueError:
        return str(client[0])
    if isinstance(where, ipaddress.IPv6Address) and where.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((int(where) >> 64 << 64, 64)))
    return str(getattr(where, "ipv4_mapped", where))


class Doorway:
    """One for each control plane, so that nobody has twice as many tries by coming in another way.

    Args:
        authenticate: who a token stands for; None when it stands for nobody.
    """

    address_of = staticmethod(address_of)
    answer = staticmethod(answer)

    def __init__(self, desk: Desk, authenticate: Callable[[str], Caller | None]) -> None:
        self.authenticate = authenticate
        self.notebook = Notebook(desk)
        self._known = Meter(RATE, BURST)
        self._strangers = Meter(STRANGERS_RATE, STRANGERS_BURST)
        self._guesses = Meter(GUESSES_RATE, GUESSES_BURST)
        self._right: set[bytes] = set()
        self._wrong: dict[bytes, None] = {}

    def recognise(self, secret: str, address: str) -> Caller | None:
        """Who shows this secret at `address`, which is "" on the Unix socket; None: it is no token.

        Where too many wrong ones came from, one that was not shown before is not even looked at: the answer would tell
        whoever guesses what they want to know. Who was let in before is let in all the same, and showing the same
        wrong one again is no guess.

        Raises:
            TooMany: it was not looked at.
        """
        digest = hashlib.sha256(secret.encode(errors="surrogateescape")).digest()
        if digest in self._wrong:
            return None
        if address and digest not in self._right and (wait_s := self._guesses.due_s(address)):
            raise TooMany(f"too many wrong tokens came from {address}", math.ceil(wait_s))
        caller = self.authenticate(secret)
        if caller is not None:
            self._right.add(digest)
        elif address:
            self._right.discard(digest)
            self._guesses.wait_s(address)
            self._wrong[digest] = None
            if len(self._wrong) > REMEMBERED:
                del self._wrong[next(iter(self._wrong))]
        return caller

    def count(self, who: str, address: str) -> None:
        """Count a request of a known caller or session, `who`, or of a stranger (""); none on the Unix socket.

        Raises:
            TooMany: there were too many of them.
        """
        meter, key = (self._known, who) if who else (self._strangers, address)
        if address and (wait_s := meter.wait_s(key)):
            raise TooMany(f"too many requests came from {address}", math.ceil(wait_s))

    async def bounded(self, receive: Receive, headers: Headers, most_bytes: int) -> Receive:
        """What gives the body of a request, once it is whole and not too long.

        Raises:
            TooLarge, TooSlow: it is not.
        """
        return replaying(await whole(receive, headers, most_bytes), receive)

    async def note(self, scope: Mapping[str, Any], status: int, code: str = "") -> None:
        """Record what came of a request, on the disk before it returns; `scope["state"]` has who, and what was given.

        Raises:
            EverupError: the store refuses it.
        """
        await self.notebook.record(deed(scope, status, code))


async def whole(receive: Receive, headers: Headers, most_bytes: int) -> bytes:
    """The body of a request.

    Raises:
        TooLarge: it is longer than `most_bytes`.
        TooSlow: it did not come in time.
    """
    length = headers.get("content-length", "0")
    chunks: list[bytes] = []
    size = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0
    try:
        async with asyncio.timeout(BODY_S):
            more = size <= most_bytes
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise TooSlow("the connection ended before the request was whole")
                chunks.append(message.get("body", b""))
                more = message.get("more_body", False) and sum(map(len, chunks)) <= most_bytes
    except TimeoutError as error:
        raise TooSlow(f"the request did not come whole within {BODY_S:.0f} s") from error
    size = max(size, sum(map(len, chunks)))
    if size > most_bytes:
        raise TooLarge(f"the request carries {size:,} bytes or more; {most_bytes:,} are the most here")
    return b"".join(chunks)


def replaying(body: bytes, receive: Receive) -> Receive:
    """A source that gives the body as one message, and then what the connection has to say."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
