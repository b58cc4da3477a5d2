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
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

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
from everup.engines.swarm.addresses import SwarmAddresses
from everup.engines.swarm.keeping import Keeping
from everup.kinds import load_kinds
from everup.model.contracts import Engine
from everup.model.desired import Tcp
from everup.model.errors import EverupError
from everup.model.spec import Environment, Source
from everup.runtime.cipher import Cipher
from everup.runtime.database import unusable
from everup.runtime.desk import Desk
from everup.runtime.environments import Environments
from everup.runtime.grants import AddressBook
from everup.runtime.home import Home
from everup.runtime.lock import STANDBY, take_lock
from everup.runtime.mirror import Mirror
from everup.runtime.store import Store
from everup.specfile.parse import parse
from everup.web.lobby import Entrance, Lobby, invitations
from everup.web.ports import Desk as Shown
from everup.web.ports import Tongue

if TYPE_CHECKING:
    from everup.engines.swarm.fleet import Fleet
    from everup.engines.swarm.leaf import Leaf

try:
    from uvloop import new_event_loop  # probes cost a third (apps.md section 4)
except ImportError:
    from asyncio import new_event_loop  # type: ignore[assignment]


def compose(home: Home, keeping: Keeping, mirror: Mirror | None = None) -> Environments:
    """The environments in the store of `home`, which `mirror` may keep elsewhere, with the kinds there are."""
    kinds, store = load_kinds(), Store(home.store, mirror)

    def parse_source(source: Source) -> Environment:
        return parse(source.text, source.file, kinds)

    return Environments(store, kinds, Engines(home, store, keeping), parse_source, home.environment)


class Engines:
    """The engines there are, of the control plane in `home`."""

    def __init__(self, home: Home, store: Store, keeping: Keeping) -> None:
        self._home = home
        self._store = store
        self._keeping = keeping
        self._fleet: Fleet | None = None
        on_hosts = SwarmAddresses(
            lambda: self._swarm.hosts,
            lambda name: self._swarm.used(name),
            self._elsewhere,
            lambda name: self._swarm.busy(name),
        )
        self.books: dict[str, AddressBook] = {"local": LocalAddresses(home.path, self._elsewhere), "swarm": on_hosts}

    async def ready(self, engine: str) -> None:
        """This machine always is; a Swarm must have been seen.

        Raises:
            EngineError: it cannot be reached, or cannot run what Everup needs there.
        """
        if engine == "swarm":
            await self._swarm.open()

    def engine(self, name: str, environment: Environment) -> Engine:
        """What runs the environment `name`."""
        folder, reveal = self._home.environment(name), partial(self._store.vault.reveal, name)
        if environment.engine == "swarm":
            from everup.engines.swarm.engine import SwarmEngine

            return SwarmEngine(name, self._swarm, folder, reveal=reveal)
        return LocalEngine(folder, Programs(environment.programs, os.environ), reveal=reveal)

    async def close(self) -> None:
        """Let go of the Swarm, where there is one."""
        if self._fleet:
            await self._fleet.close()

    @property
    def _swarm(self) -> "Fleet":
        """The Swarm that Docker's own client would speak to, as it was when it was first needed."""
        if self._fleet is None:
            from everup.engines.swarm.docker import Docker
            from everup.engines.swarm.fleet import Fleet
            from everup.engines.swarm.images import everup_named
            from everup.engines.swarm.place import remembered
            from everup.engines.swarm.wire import Wire

            folder = self._home.path / "swarm"
            image = everup_named(os.environ)
            self._fleet = Fleet(Docker(Wire(remembered(folder))), image, folder, self._keeping)
        return self._fleet

    def _elsewhere(self, environment: str) -> Iterable[Tcp]:
        """Every address that was granted to other environments."""
        names = (name for name in self._store.environments() if name != environment)
        return (to for name in names for to in _addresses(self._store, name))


def _addresses(store: Store, environment: str) -> Iterable[Tcp]:
    granted = store.grants(environment)
    return (to for value in granted.values() if isinstance(value, dict) for to in value.values())


async def leaf_in(home: Home) -> "Leaf | None":
    """The certificate of the API in a Swarm, in whose service this runs, made by now; else None.

    Raises:
        EngineError: the Swarm does not answer, or has not started this as it must be.
    """
    from everup.engines.swarm import control

    if os.environ.get(control.KEPT) != "swarm":
        return None
    from everup.engines.swarm.docker import Docker
    from everup.engines.swarm.leaf import Leaf

    control.settle(home.path)
    leaf = Leaf(Docker(), home.path)
    await leaf.renew()
    return leaf


async def mirror_of(home: Home, keeping: Keeping) -> Mirror | None:
    """What keeps the store in a Swarm, in whose service this runs, once it is this control plane's; else None.

    Raises:
        EverupError: the Swarm does not answer, or what it keeps cannot be read.
    """
    from everup.engines.swarm import control

    if os.environ.get(control.KEPT) != "swarm":
        return None
    from everup.engines.swarm.docker import Docker
    from everup.engines.swarm.state import SwarmShelf

    docker = Docker()
    await control.refuse_forgotten(docker)
    mirror = Mirror(SwarmShelf(docker, keeping), Cipher(home.path / "secret.key"))
    await mirror.load(home.store)
    return mirror


def _deposed(error: EverupError) -> None:
    """Another control plane decides in the Swarm by now: say so; one that the Swarm itself runs ends at once.

    One of this machine does nothing there any more, and goes on with what runs here.
    """
    from everup.engines.swarm.control import KEPT

    print(f"error: {error.message} [{error.code}]\n  {error.hint}", file=sys.stderr, flush=True)
    if os.environ.get(KEPT) == "swarm":
        os._exit(1)


def show_dashboard(app: FastAPI, desk: Shown, doorway: Doorway) -> Lobby:
    """Put the dashboard before the API: its pages speak of what the API tells, and ask for sessions of their own."""
    host = platform.node()
    tongue = Tongue(lambda picture: views.status(picture, host), verdicts.verdict, views.event, status_of)
    lobby = Lobby(desk, tongue, doorway, app, serve_beside)
    app.include_router(invitations(lobby))
    app.add_middleware(Entrance, lobby=lobby)
    return lobby


async def serve(home: Home, opened: OpenPort | None = None, leaf: "Leaf | None" = None) -> None:
    """Look after everything in `home` until SIGTERM or SIGINT; what runs goes on running after that."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    keeping = Keeping(_deposed)
    mirror = await mirror_of(home, keeping)
    environments = compose(home, keeping, mirror)
    await environments.open()
    try:
        desk = Desk(environments)
        await desk.open()
        tokens = environments.store.tokens()
        doorway = Doorway(desk, tokens.authenticate)
        app = create_app(desk, tokens, doorway)
        show_dashboard(app, desk, doorway)
        watches = [desk.telemetry.watch_loop(), desk.messenger.run(told), desk.watch_hosts()]
        if opened and opened.certificate:
            watches.append(opened.certificate.watch(desk.certified))
        if mirror:
            watches.append(mirror.keep_story())
        if leaf:
            watches.append(leaf.watch())
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
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            leaf = runner.run(leaf_in(home))
            opened = open_port(home, words)
            if opened and leaf:
                opened = replace(opened, doors=lambda: leaf.addresses)
            if opened:
                print(f"the API is at {opened.to.url}", flush=True)
            runner.run(serve(home, opened, leaf))
    except (EverupError, sqlite3.Error) as found:
        error = unusable(home.store, found) if isinstance(found, sqlite3.Error) else found
        print(f"error: {error.message} [{error.code}]\n  {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
