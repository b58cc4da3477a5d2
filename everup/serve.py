"""The composition root: the one file that names concrete classes and puts them together."""

import asyncio
import fcntl
import gc
import os
import platform
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from fastapi import FastAPI

from everup.api import verdicts, views
from everup.api.app import create_app
from everup.api.errors import status_of
from everup.api.server import serve_api, serve_beside
from everup.engines.local.engine import LocalEngine
from everup.engines.local.ports import LocalAddresses
from everup.engines.local.programs import Programs
from everup.kinds import load_kinds
from everup.model.desired import Tcp
from everup.model.errors import EverupError, Refused
from everup.model.spec import Environment, Source
from everup.runtime.desk import Desk
from everup.runtime.environments import Environments
from everup.runtime.home import Home
from everup.runtime.store import Store
from everup.specfile.parse import parse
from everup.web.lobby import Entrance, Lobby, invitations
from everup.web.ports import Authenticate, Tongue
from everup.web.ports import Desk as Shown

try:
    from uvloop import new_event_loop  # probes cost a third (apps.md section 4)
except ImportError:
    from asyncio import new_event_loop  # type: ignore[assignment]


def compose(home: Home) -> Environments:
    """The environments in the store of `home`, with the kinds there are and the local engine."""
    kinds, store = load_kinds(), Store(home.store)

    def parse_source(source: Source) -> Environment:
        return parse(source.text, source.file, kinds)

    def engine_for(name: str, environment: Environment) -> LocalEngine:
        return LocalEngine(home.environment(name), Programs(environment.programs, os.environ))

    def elsewhere(environment: str) -> Iterable[Tcp]:
        return (to for name in store.environments() if name != environment for to in _addresses(store, name))

    return Environments(store, kinds, LocalAddresses(home.path, elsewhere), parse_source, engine_for, home.environment)


def _addresses(store: Store, environment: str) -> Iterable[Tcp]:
    granted = store.grants(environment)
    return (to for value in granted.values() if isinstance(value, dict) for to in value.values())


def take_lock(path: Path) -> int:
    """Hold the home's lock for the life of this process; returns its descriptor.

    Raises:
        Refused: another control plane holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise Refused(
            f"another control plane{f' (pid {holder})' if holder else ''} looks after {path.parent}",
            "Use it, end it, or set EVERUP_HOME to another directory.",
            code="refused.second_control_plane",
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def show_dashboard(app: FastAPI, desk: Shown, authenticate: Authenticate) -> None:
    """Put the dashboard before the API: its pages speak of what the API tells, and ask for sessions of their own."""
    host = platform.node()
    tongue = Tongue(lambda picture: views.status(picture, host), verdicts.verdict, views.event, status_of)
    lobby = Lobby(desk, tongue, authenticate, app, serve_beside)
    app.include_router(invitations(lobby))
    app.add_middleware(Entrance, lobby=lobby)


async def serve(home: Home) -> None:
    """Look after everything in `home` until SIGTERM or SIGINT; what runs goes on running after that."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    environments = compose(home)
    await environments.open()
    try:
        desk = Desk(environments)
        await desk.open()
        app = create_app(desk)
        show_dashboard(app, desk, lambda token: None)
        gc.freeze()
        await serve_api(app, home.socket, stop)
    finally:
        await environments.close()


def main(home: Home | None = None) -> int:
    """Run the control plane of `home` in the foreground; the exit code."""
    home = home or Home.find(os.environ)
    try:
        home.prepare()
        take_lock(home.lock)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve(home))
    except EverupError as error:
        print(f"error: {error.message} [{error.code}]\n  {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
