"""The control plane's own memory: backing it up, looking a backup over, and putting one back."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.session import Session, session_of

if TYPE_CHECKING:
    from everup.model.observed import NodeState
    from everup.runtime.home import Home
    from everup.runtime.safekeeping import Contents


File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


def backup_store(context: typer.Context, file: File) -> None:
    """Back up what the control plane knows (specs, addresses, passwords, primaries, events, drills).

    It may run at any time, and writes one file, mode 0600, that holds passwords; the key of the secrets is not in it,
    nor is the data of services.

    Examples:

      everup store backup everup-$(date +%F).tar.gz
    """
    session = _here(context)
    from everup.runtime.safekeeping import back_up

    _show(session, file, back_up(session.home, file.absolute()), "backed up")


def verify_store(context: typer.Context, file: File) -> None:
    """Read a whole backup and compare every checksum; nothing is changed.

    Examples:

      everup store verify everup-2026-11-23.tar.gz
    """
    session = _here(context)
    from everup.runtime.safekeeping import verify

    _show(session, file, verify(file), "good")


def restore_store(
    context: typer.Context,
    file: File,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Leave running nodes running; the control plane takes them over.")
    ] = False,
) -> None:
    """Put a backup back; the former files are kept.

    It refuses while a control plane runs, and while nodes do without --adopt.

    Examples:

      everup store restore everup-2026-11-23.tar.gz

      everup store restore everup-2026-11-23.tar.gz --adopt
    """
    session = _here(context)
    from everup.cli import render
    from everup.runtime.lock import take_lock
    from everup.runtime.restoring import restore

    home = session.home
    home.prepare()
    lock = take_lock(home.lock)
    try:
        done = restore(home, file.absolute(), _nodes(home), adopt=adopt)
    finally:
        os.close(lock)
    if session.as_json:
        render.show_json(asdict(done))
        return
    print(f"restored: {file}, of {done.contents.at_utc}; environments: {', '.join(done.contents.environments)}")
    if done.former:
        print(f"  what was there before: {done.former}")
    for name in done.forgotten:
        print(f"  {name}: its primary changed after the backup was made; the newest data decides who it is")
    going_on = f"{len(done.running)} nodes go on running; " if done.running else ""
    print(f"  {going_on}everup up starts the control plane")


def _here(context: typer.Context) -> Session:
    session = session_of(context)
    session.here("store", "the store is a file there")
    return session


def _show(session: Session, file: Path, contents: "Contents", word: str) -> None:
    from everup.cli import render
    from everup.core.words import size_of

    if session.as_json:
        render.show_json({"file": str(file.absolute()), **asdict(contents)})
        return
    names = ", ".join(contents.environments) or "none"
    size = size_of(sum(one.size_bytes for one in contents.files))
    print(f"{word}: {file}, of {contents.at_utc}, by Everup {contents.everup}")
    print(f"  environments: {names}\n  files: {', '.join(one.name for one in contents.files)} ({size})")


def _nodes(home: "Home") -> "Mapping[str, Mapping[str, NodeState]]":
    """What there is of nodes, by environment. Only the holder of the home's lock may ask."""
    import asyncio

    from everup.engines.local.engine import LocalEngine
    from everup.engines.local.programs import Programs

    async def look(place: Path) -> "Mapping[str, NodeState]":
        engine = LocalEngine(place, Programs({}, os.environ))
        try:
            return await engine.observe()
        finally:
            await engine.close()

    places = sorted((home.path / "environments").glob("[!.]*"))
    return {place.name: asyncio.run(look(place)) for place in places if place.is_dir()}
