"""The application on a Unix socket that only its owner may open, and on a TCP port where somebody asked for one."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from everup.api.arrivals import Arrivals, Doors
from everup.api.certificate import Certificate
from everup.api.gate import owned
from everup.api.tcp import Bounded, OpenPort

GRACE_S = 2
"""Seconds that open requests get to end when the server stops; streams are then cut."""


class _Server(uvicorn.Server):
    """Leaves signals to the composition root; with `doors` it listens to whose connections they pass on."""

    doors: Doors | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        if self.doors is None or not sockets:
            await super().startup(sockets)
            return
        await self.lifespan.startup()
        kind: Any = self.config.http_protocol_class

        def made() -> Bounded:
            return cast(
                Bounded, kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
            )

        self.servers = [cast(Any, Arrivals(one, made, self.config.ssl, self.doors)) for one in sockets]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def bind(path: Path) -> socket.socket:
    """A listening socket at `path` with mode 0600; a stale file of a dead control plane is replaced.

    Only the holder of the home's lock may call this: a live socket would be replaced too.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


async def serve_api(
    app: FastAPI,
    path: Path,
    stop: asyncio.Event,
    *,
    ready: Callable[[], Any] = lambda: None,
    opened: OpenPort | None = None,
) -> None:
    """Serve until `stop` is set; then end open requests within `GRACE_S` seconds and remove the socket.

    Installs no signal handlers. `ready` is called once, as soon as clients can connect.

    Raises:
        OSError: the socket could not be made.
    """
    listener = bind(path)
    servers = [(_server(owned(app), http="h11"), listener)]
    if opened:
        servers.append((_tcp_server(app, opened.certificate), opened.listener))
        servers[-1][0].doors = opened.doors

    async def end() -> None:
        await stop.wait()
        for server, _ in servers:
            server.should_exit = True

    ending = asyncio.create_task(end())
    try:
        ready()
        await asyncio.gather(*(server.serve(sockets=[one]) for server, one in servers))
    finally:
        ending.cancel()
        for _, one in servers:
            one.close()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


async def serve_beside(app: Callable[..., Any], listener: socket.socket) -> None:
    """Serve another application on a TCP socket until this is cancelled, within the bounds of the API's own port."""
    await _tcp_server(app).serve(sockets=[listener])


def _tcp_server(app: Any, certificate: Certificate | None = None) -> _Server:
    server = _server(app, http=Bounded, server_header=False)
    server.config.load()
    server.config.ssl = certificate.context if certificate else None
    return server


def _server(app: Any, **settings: Any) -> _Server:
    quiet: dict[str, Any] = {"ws": "none", "lifespan": "off", "log_config": None, "access_log": False}
    return _Server(uvicorn.Config(app, timeout_graceful_shutdown=GRACE_S, **quiet, **settings))
