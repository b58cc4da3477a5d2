"""The gate before every route: who asks, whether they may, and how much they may send; deny by default."""

import asyncio
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match

from everup.api.errors import TooLarge, TooMany, TooSlow, Unnamed, WrongMethod, answer
from everup.api.leases import Receive, leased
from everup.api.permits import BODY_BYTES, Judgement, Permit, judge, methods_for, permits_for, refusal
from everup.api.rates import Meter
from everup.api.repeats import Message, Repeats, Send
from everup.core.permission import unknown
from everup.model.access import OWNER, Caller
from everup.model.errors import EverupError

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Authenticate = Callable[[Headers], Caller | None]
"""Who asks, by the headers of a request; None: they do not say."""

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

BODY_S = 30.0
"""How long the body of a request may take to come."""

RATE, BURST = 50.0, 200
"""Requests a second, and at once, from each caller with a token. The socket's owner is not counted."""

STRANGERS_RATE, STRANGERS_BURST = 5.0, 50
"""The same from each address that names nobody."""


def caller_of(request: Request) -> Caller:
    """Who asks, as the gate found."""
    caller: Caller = request.state.caller
    return caller


Asking = Annotated[Caller, Depends(caller_of)]
"""The parameter of a route that wants to know who asks."""


def owned(app: App) -> App:
    """The application for those who came through the private Unix socket: they own the control plane."""

    async def trusting(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["caller"] = OWNER
        await app(scope, receive, send)

    return trusting


class Gate:
    """ASGI middleware. Whoever gets through is in `request.state.caller`.

    Args:
        exists: whether the application has a route for a request.
    """

    def __init__(
        self,
        app: App,
        *,
        authenticate: Authenticate,
        exists: Callable[[Scope], bool],
    ) -> None:
        self._app = app
        self._authenticate = authenticate
        self._exists = exists
        self._known = Meter(RATE, BURST)
        self._strangers = Meter(STRANGERS_RATE, STRANGERS_BURST)
        self._repeats = Repeats()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer why not."""
        if scope["type"] != "http":
            raise RuntimeError(f"the API speaks HTTP only, not {scope['type']}")
        headers, send = Headers(scope=scope), _guarded(send)
        try:
            caller, permit = self._admit(scope, headers)
            await self._pass(scope, headers, (caller, permit), (receive, send))
        except EverupError as error:
            await answer(error)(scope, receive, send)

    def _admit(self, scope: Scope, headers: Headers) -> tuple[Caller | None, Permit | None]:
        """Who asks and by which permit.

        Raises:
            EverupError: they may not.
        """
        state = scope.setdefault("state", {})
        caller: Caller | None = state.get("caller") or self._authenticate(headers)
        self._count(scope, caller)
        permit, environment = next(permits_for(scope["method"], scope["path"]), (None, None))
        verdict = judge(permit, caller, environment)
        if verdict == Judgement.UNNAMED or (verdict != Judgement.PERMITTED and caller is None):
            given = "authorization" in headers
            raise Unnamed(
                "that token is not valid: it is unknown, was revoked, or has expired" if given else "who asks?",
                "Send a valid one: Authorization: Bearer TOKEN; an operator makes one: everup token create NAME.",
            )
        if caller is not None:
            state["caller"] = caller
            if verdict == Judgement.HIDDEN:
                raise unknown(environment or "", caller.environments or ())
            if verdict == Judgement.FORBIDDEN and (permit or self._exists(scope)):
                raise refusal(permit, caller)
        if permit is None and (allow := methods_for(scope["path"])):
            raise WrongMethod(scope["method"], allow)
        return caller, permit

    def _count(self, scope: Scope, caller: Caller | None) -> None:
        if caller == OWNER:
            return
        client = scope.get("client")
        stranger = client[0] if client else ""
        wait_s = self._known.wait_s(caller.name) if caller else self._strangers.wait_s(stranger)
        if wait_s:
            raise TooMany(f"too many requests from {caller.name if caller else stranger}", math.ceil(wait_s))

    async def _pass(
        self, scope: Scope, headers: Headers, who: tuple[Caller | None, Permit | None], way: tuple[Receive, Send]
    ) -> None:
        caller, permit = who
        receive, send = way
        if scope["method"] not in WRITES:
            if caller not in (None, OWNER):
                receive, send = leased(lambda: self._authenticate(headers) == caller, receive, send)
            await self._app(scope, receive, send)
            return
        body = await _whole(receive, headers, permit.body_bytes if permit else BODY_BYTES)
        replayed = _replaying(body, receive)

        async def work(send: Send) -> None:
            await self._app(scope, replayed, send)

        key = headers.get("idempotency-key")
        if key is None or caller is None or permit is None:
            await work(send)
            return
        request = (scope["method"].encode(), scope["path"].encode(), scope.get("query_string", b""), body)
        await self._repeats.once(caller.name, key, request, work, send)


def _guarded(send: Send) -> Send:
    """What keeps answers out of caches, unless they say otherwise, and browsers from guessing what they are."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Content-Type-Options"] = "nosniff"
        await send(message)

    return sending


async def _whole(receive: Receive, headers: Headers, most_bytes: int) -> bytes:
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


def _replaying(body: bytes, receive: Receive) -> Receive:
    """A source that gives the body as one message, and then what the connection has to say."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def install_gate(app: FastAPI, authenticate: Authenticate) -> None:
    """Put the gate before every route of the application, those added later too."""

    def exists(scope: Scope) -> bool:
        return any(route.matches(scope)[0] == Match.FULL for route in app.router.routes)

    app.add_middleware(Gate, authenticate=authenticate, exists=exists)
