"""The composition root: the one file that names concrete classes and puts them together."""

import asyncio
import gc
import os
import signal
import sqlite3
import sys
from collections.abc import Iterable

from everup.api.app import create_app
from everup.api.server import serve_api
from everup.api.words import told
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
        beside = [asyncio.create_task(one) for one in (desk.telemetry.watch_loop(), desk.messenger.run(told))]
        gc.freeze()
        await serve_api(create_app(desk), home.socket, stop)
        for task in beside:
            task.cancel()
    finally:
        await environments.close()


def main(home: Home | None = None) -> int:
    """Run the control plane of `home` in the foreground; the exit code."""
    home = home or Home.find(os.environ)
    try:
        home.prepare()
        take_lock(home.lock, wait=os.environ.pop(STANDBY, "") != "")
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve(home))
    except (EverupError, sqlite3.Error) as found:
        error = unusable(home.store, found) if isinstance(found, sqlite3.Error) else found
        print(f"error: {error.message} [{error.code}]\n  {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
