"""The gate before every route: who asks, whether they may, and how much they may send; deny by default."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match

from everup.api.doorway import Doorway, address_of, replaying, whole
from everup.api.errors import Unnamed, WrongMethod, answer
from everup.api.leases import Receive, leased
from everup.api.permits import BODY_BYTES, Judgement, Permit, judge, methods_for, permits_for, refusal
from everup.api.repeats import Message, Repeats, Send
from everup.core.permission import unknown
from everup.model.access import OWNER, Caller
from everup.model.errors import EverupError

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


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

    def __init__(self, app: App, *, doorway: Doorway, exists: Callable[[Scope], bool]) -> None:
        self._app = app
        self._doorway = doorway
        self._exists = exists
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
        caller: Caller | None = state.get("caller")
        if caller is None and (secret := _bearer(headers)) is not None:
            caller = self._doorway.recognise(secret, address_of(scope))
        if caller is not None:
            state["caller"] = caller
        if caller != OWNER:
            self._doorway.count(caller.name if caller else "", address_of(scope))
        permit, environment = next(permits_for(scope["method"], scope["path"]), (None, None))
        verdict = judge(permit, caller, environment)
        if verdict == Judgement.UNNAMED or (verdict != Judgement.PERMITTED and caller is None):
            given = "authorization" in headers
            raise Unnamed(
                "that token is not valid: it is unknown, was revoked, or has expired" if given else "who asks?",
                "Send a valid one: Authorization: Bearer TOKEN; an operator makes one: everup token create NAME.",
            )
        if caller is not None:
            if verdict == Judgement.HIDDEN:
                raise unknown(environment or "", caller.environments or ())
            if verdict == Judgement.FORBIDDEN and (permit or self._exists(scope)):
                raise refusal(permit, caller)
        if permit is None and (allow := methods_for(scope["path"])):
            raise WrongMethod(scope["method"], allow)
        return caller, permit

    async def _pass(
        self, scope: Scope, headers: Headers, who: tuple[Caller | None, Permit | None], way: tuple[Receive, Send]
    ) -> None:
        caller, permit = who
        receive, send = way
        if scope["method"] not in WRITES:
            if caller not in (None, OWNER):
                receive, send = leased(
                    lambda: self._doorway.authenticate(_bearer(headers) or "") == caller, receive, send
                )
            await self._app(scope, receive, send)
            return
        body = await whole(receive, headers, permit.body_bytes if permit else BODY_BYTES)
        replayed = replaying(body, receive)

        async def work(send: Send) -> None:
            await self._app(scope, replayed, send)

        key = headers.get("idempotency-key")
        if key is None or caller is None or permit is None:
            await work(send)
            return
        request = (scope["method"].encode(), scope["path"].encode(), scope.get("query_string", b""), body)
        await self._repeats.once(caller.name, key, request, work, send)


def _bearer(headers: Headers) -> str | None:
    """The token in the header `Authorization`; None where there is none."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _guarded(send: Send) -> Send:
    """What keeps answers out of caches, unless they say otherwise, and browsers from guessing what they are."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Content-Type-Options"] = "nosniff"
        await send(message)

    return sending


def install_gate(app: FastAPI, doorway: Doorway) -> None:
    """Put the gate before every route of the application, those added later too."""

    def exists(scope: Scope) -> bool:
        return any(route.matches(scope)[0] == Match.FULL for route in app.router.routes)

    app.add_middleware(Gate, doorway=doorway, exists=exists)
