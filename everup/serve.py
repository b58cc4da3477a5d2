"""The composition root: the one file that names concrete classes and puts them together."""

import asyncio
import gc
import json
import os
import platform
import signal
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from functools import partial

from fastapi import FastAPI

from everup.api import verdicts, views
from everup.api.app import create_app
from everup.api.doorway import Doorway
from everup.api.errors import status_of
from everup.api.server import serve_api, serve_beside
from everup.api.tcp import OpenPort, open_tcp
from everup.core.listening import listening
from everup.core.words import told
from everup.engines.local.engine import LocalEngine
from everup.engines.local.ports import LocalAddresses
from everup.engines.local.programs import Programs
from everup.kinds import load_kinds
from everup.model.desired import Tcp
from everup.model.errors import EverupError
from everup.model.spec import Environment, Source
from everup.runtime.database import unusable
from everup.runtime.desk import Desk
from everup.runtime.environments import Environments
from everup.runtime.home import Home
from everup.runtime.lock import STANDBY, take_lock
from everup.runtime.store import Store
from everup.specfile.parse import parse
from everup.web.lobby import Entrance, Lobby, invitations
from everup.web.ports import Desk as Shown
from everup.web.ports import Tongue

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
        programs = Programs(environment.programs, os.environ)
        return LocalEngine(home.environment(name), programs, reveal=partial(store.vault.reveal, name))

    def elsewhere(environment: str) -> Iterable[Tcp]:
        return (to for name in store.environments() if name != environment for to in _addresses(store, name))

    return Environments(store, kinds, LocalAddresses(home.path, elsewhere), parse_source, engine_for, home.environment)


def _addresses(store: Store, environment: str) -> Iterable[Tcp]:
    granted = store.grants(environment)
    return (to for value in granted.values() if isinstance(value, dict) for to in value.values())


def show_dashboard(app: FastAPI, desk: Shown, doorway: Doorway) -> Lobby:
    """Put the dashboard before the API: its pages speak of what the API tells, and ask for sessions of their own."""
    host = platform.node()
    tongue = Tongue(lambda picture: views.status(picture, host), verdicts.verdict, views.event, status_of)
    lobby = Lobby(desk, tongue, doorway, app, serve_beside)
    app.include_router(invitations(lobby))
    app.add_middleware(Entrance, lobby=lobby)
    return lobby


async def serve(home: Home, opened: OpenPort | None = None) -> None:
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
        tokens = environments.store.tokens()
        doorway = Doorway(desk, tokens.authenticate)
        app = create_app(desk, tokens, doorway)
        show_dashboard(app, desk, doorway)
        watches = [desk.telemetry.watch_loop(), desk.messenger.run(told)]
        if opened and opened.certificate:
            watches.append(opened.certificate.watch(desk.certified))
        beside = [asyncio.create_task(one) for one in watches]
        gc.freeze()
        await serve_api(app, home.socket, stop, opened=opened)
        for task in beside:
            task.cancel()
    finally:
        await environments.close()


def open_port(home: Home, words: Sequence[str]) -> OpenPort | None:
    """The TCP port that `words` ask for, `ADDR:PORT [CERT KEY]`, or the one that is kept in the home; None: neither.

    Raises:
        EverupError: it cannot be opened. One that is kept in the home is then left out, and the services looked after.
    """
    if words:
        to = listening(*words)
        return open_tcp(to)
    try:
        kept = json.loads(home.listening.read_text()) if home.listening.exists() else None
        found = listening(*map(str, kept)) if kept else None
        return open_tcp(found) if found else None
    except (EverupError, OSError, ValueError, TypeError) as error:
        print(f"the API is on its Unix socket only; {home.listening} cannot be followed: {error}", flush=True)
        return None


def main(words: Sequence[str] = ()) -> int:
    """Run the control plane of the home in the foreground; the exit code. `words` are those of `open_port`."""
    home = Home.find(os.environ)
    try:
        home.prepare()
        take_lock(home.lock, wait=os.environ.pop(STANDBY, "") != "")
        opened = open_port(home, words)
        if opened:
            print(f"the API is at {opened.to.url}", flush=True)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve(home, opened))
    except (EverupError, sqlite3.Error) as found:
        error = unusable(home.store, found) if isinstance(found, sqlite3.Error) else found
        print(f"error: {error.message} [{error.code}]\n  {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
