"""The dashboard's way into a process: loaded when first asked for, and a listener on loopback for whoever owns it."""

import asyncio
import contextlib
import importlib
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from everup.model.errors import Refused
from everup.model.spec import Frozen
from everup.web.ports import BASE, Desk, Doorway, Json, Tongue
from everup.web.sessions import INVITED_S, Sessions

HOST = "127.0.0.1"
PORT = 8484
"""Where the owner's dashboard listens; another free port where this one is taken."""

Serve = Callable[[ASGIApp, socket.socket], Awaitable[None]]
"""Serves an application on a listening socket, until it is cancelled."""


class Wanted(Frozen):
    """The port to listen on; None: the usual one, or any where that is taken."""

    port: int | None = Field(default=None, ge=1, le=65_535)


class Lobby:
    """An ASGI application that becomes the dashboard at its first request: whoever never looks does not pay for it."""

    def __init__(self, desk: Desk, tongue: Tongue, doorway: Doorway, api: ASGIApp, serve: Serve) -> None:
        self._desk, self._tongue, self._api = desk, tongue, api
        self._doorway = doorway
        self.sessions = Sessions(doorway.authenticate, time.monotonic)
        self._serve = serve
        self._app: ASGIApp | None = None
        self._loading = asyncio.Lock()
        self._listener: tuple[str, asyncio.Task[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        app = self._app or await self._load()
        await app(scope, receive, send)

    async def invite(self, port: int | None = None) -> Json:
        """Open the listener, if it is not open yet; an address that signs the owner in, once: `{url, valid_s}`.

        Raises:
            Refused: the port that was asked for is taken.
        """
        if self._listener is None or self._listener[1].done():
            self._listener = self._open(port)
        address, _ = self._listener
        return {"url": f"{address}{BASE}/sign-in?once={self.sessions.invite()}", "valid_s": INVITED_S}

    def _open(self, port: int | None) -> tuple[str, asyncio.Task[None]]:
        listener = _bind(port)
        task = asyncio.create_task(self._attend(_front(self), listener), name="dashboard")
        return f"http://{HOST}:{listener.getsockname()[1]}", task

    async def _attend(self, app: ASGIApp, listener: socket.socket) -> None:
        with contextlib.closing(listener):
            await self._serve(app, listener)

    def _make(self, module: Any) -> ASGIApp:
        made: ASGIApp = module.dashboard(self._desk, self._tongue, self._doorway, self.sessions, self._api)
        return made

    async def _load(self) -> ASGIApp:
        async with self._loading:
            if self._app is None:
                module: Any = await asyncio.to_thread(importlib.import_module, "everup.web.app")
                self._app = await asyncio.to_thread(self._make, module)
        assert self._app is not None
        return self._app


class Entrance:
    """ASGI middleware: `/` and everything under `BASE` is the dashboard's, which asks for sessions; the rest is not."""

    def __init__(self, app: ASGIApp, lobby: Lobby) -> None:
        self._app = app
        self._pages = _front(lobby)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        ours = scope["type"] == "http" and (path in ("/", BASE) or path.startswith(f"{BASE}/"))
        await (self._pages if ours else self._app)(scope, receive, send)


def _front(lobby: Lobby) -> Router:
    """The way to the dashboard: `/` leads there."""

    async def home(request: Request) -> Response:
        return RedirectResponse(f"{BASE}/", 303)

    return Router([Route("/", home, methods=["GET"]), Mount(BASE, lobby)])


def invitations(lobby: Lobby) -> APIRouter:
    """The route by which the owner of the control plane gets into the dashboard without a token."""
    router = APIRouter(prefix="/v1", tags=["dashboard"])

    @router.post("/dashboard")
    async def invite(wanted: Wanted) -> Json:
        """Open the dashboard on loopback; an address that signs in once, soon: for who came by the Unix socket."""
        return await lobby.invite(wanted.port)

    return router


def _bind(port: int | None) -> socket.socket:
    """A listening socket on loopback: at `port`, else at the usual one, else at any.

    Raises:
        Refused: `port` was asked for, and is taken.
    """
    for wanted in (PORT, 0) if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, wanted))
            listener.listen(128)
        except OSError as error:
            listener.close()
            reason = error.strerror
            continue
        listener.setblocking(False)
        return listener
    raise Refused(f"the dashboard cannot listen on {HOST}:{wanted}: {reason}", "Name another port: --port N")
