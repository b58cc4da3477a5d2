"""The application on a Unix socket that only its owner may open."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

GRACE_S = 2
"""Seconds that open requests get to end when the server stops; streams are then cut."""


class _Server(uvicorn.Server):
    """Leaves signals to the composition root."""

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


async def serve_api(app: FastAPI, path: Path, stop: asyncio.Event, *, ready: Callable[[], Any] = lambda: None) -> None:
    """Serve until `stop` is set; then end open requests within `GRACE_S` seconds and remove the socket.

    Installs no signal handlers. `ready` is called once, as soon as clients can connect.

    Raises:
        OSError: the socket could not be made.
    """
    listener = bind(path)
    server = _server(app, http="h11")

    async def end() -> None:
        await stop.wait()
        server.should_exit = True

    ending = asyncio.create_task(end())
    try:
        ready()
        await server.serve(sockets=[listener])
    finally:
        ending.cancel()
        listener.close()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


async def serve_beside(app: Callable[..., Any], listener: socket.socket) -> None:
    """Serve another application on a listening socket until this is cancelled."""
    await _server(app, http="h11", server_header=False).serve(sockets=[listener])


def _server(app: Any, **settings: Any) -> _Server:
    quiet: dict[str, Any] = {"ws": "none", "lifespan": "off", "log_config": None, "access_log": False}
    return _Server(uvicorn.Config(app, timeout_graceful_shutdown=GRACE_S, **quiet, **settings))
