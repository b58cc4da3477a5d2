"""The first answer to a write that carries a key, for whoever sends it again: nothing is done twice."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from everup.api.errors import Repeated

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

KEPT = 1000
KEPT_S = 86_400.0
"""Answers are kept in memory, so many and so long: they may carry a token's secret, and no disk is to hold that."""

KEY_LENGTH = 200


@dataclass
class _First:
    """A request that came with a key: what it was, and its answer, once there is one."""

    fingerprint: bytes
    at_s: float
    answer: "asyncio.Future[list[Message]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Repeats:
    """Answers by caller and key."""

    def __init__(self) -> None:
        self._firsts: dict[tuple[str, str], _First] = {}

    async def once(
        self, who: str, key: str, request: tuple[bytes, ...], work: Callable[[Send], Awaitable[None]], send: Send
    ) -> None:
        """Have `work` answer the `request`, or, where it did so before, send that answer again.

        A second request waits for the first. An answer of 500 or above is not kept: such a request may be tried again.

        Raises:
            Repeated: the key came before with another request, or is none.
        """
        if not key or len(key) > KEY_LENGTH or not all("!" <= letter <= "~" for letter in key):
            raise Repeated(f"an Idempotency-Key has 1 to {KEY_LENGTH} visible ASCII characters", code="request.key")
        fingerprint = hashlib.sha256(b"\0".join(request)).digest()
        first = self._firsts.get((who, key))
        if first is None:
            await self._first(who, key, fingerprint, work, send)
            return
        if first.fingerprint != fingerprint:
            raise Repeated("this Idempotency-Key came before, with another request", "Take a new key for it.")
        answer = await asyncio.shield(first.answer)
        for message in answer:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"idempotent-replayed", b"true")]}
            await send(message)

    async def _first(
        self, who: str, key: str, fingerprint: bytes, work: Callable[[Send], Awaitable[None]], send: Send
    ) -> None:
        self._forget()
        first = self._firsts[who, key] = _First(fingerprint, time.monotonic())
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)
            await send(message)

        try:
            await work(keep)
        except BaseException:
            answer.clear()
            raise
        finally:
            if not answer or answer[0].get("status", 500) >= 500:
                del self._firsts[who, key]
            if answer:
                first.answer.set_result(answer)
            else:
                first.answer.set_exception(Repeated("the first request with this key was not answered", "Try again."))
                first.answer.exception()  # seen, also where nobody waits

    def _forget(self) -> None:
        """The oldest, beyond a number and an age; one that is not answered yet stays."""
        old_s = time.monotonic() - KEPT_S
        done = [key for key, one in self._firsts.items() if one.answer.done()]
        surplus = len(self._firsts) - KEPT + 1
        for number, key in enumerate(done):
            if number < surplus or self._firsts[key].at_s < old_s:
                del self._firsts[key]
