"""Putting a backup of the control plane back in place, beside what runs."""

import json
import os
import shutil
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from everup.core.restored import corrected
from everup.model.errors import EverupError, Refused
from everup.model.observed import Group, NodeState
from everup.runtime.database import unusable
from everup.runtime.home import Home
from everup.runtime.safekeeping import STORE, Contents, check_store, unpack
from everup.runtime.store import Store

Found = Mapping[str, Mapping[str, NodeState]]
"""What the engines found: environment -> node -> state."""


Records = Mapping[tuple[str, str], Group]
"""(environment, label) -> who is recorded as primary."""


@dataclass(frozen=True)
class Restored:
    """What a restore did: the backup's own words, where the former files are, whose record of a primary was too old."""

    contents: Contents
    former: str | None
    forgotten: tuple[str, ...]
    running: tuple[str, ...]


def restore(home: Home, file: Path, found: Found, *, adopt: bool) -> Restored:
    """Put the backup `file` in place of the home's store and of the files beside it, which are kept in `former/`.

    Only the holder of the home's lock may call this.

    Args:
        found: what there is of nodes, running or not.
        adopt: nodes that run are left running, for the next control plane to take over.

    Raises:
        Refused: nodes run, and `adopt` is not set; or one runs that the backup does not know.
        EverupError: the backup is damaged, or of a newer Everup, or the disk is full; nothing was changed.
    """
    draft = home.path / ".restoring"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(mode=0o700)
        contents = unpack(file, draft)
        Store(draft / STORE).close()  # brought up to the format of now
        with closing(sqlite3.connect(draft / STORE)) as db:
            check_store(db, file)
            running = _running(found)
            _refuse(running, contents, adopt=adopt)
            forgotten = _correct(db, _records_of(home.store), found)
            _note(db, contents, forgotten)
        former = _swap(home, draft, contents)
    except OSError as error:
        raise EverupError(f"{file} cannot be put in place: {error.strerror}", code="store.full") from error
    except sqlite3.Error as error:
        raise unusable(file, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Restored(contents, str(former) if former else None, forgotten, running)


def _running(found: Found) -> tuple[str, ...]:
    return tuple(
        f"{environment}/{node_id}"
        for environment, states in sorted(found.items())
        for node_id, state in sorted(states.items())
        if state.running
    )


def _refuse(running: tuple[str, ...], contents: Contents, *, adopt: bool) -> None:
    if running and not adopt:
        some = ", ".join(running[:3]) + (f" and {len(running) - 3} more" if len(running) > 3 else "")
        hint = (
            "To leave them running and let the next control plane take them over as the backup declares them: --adopt"
        )
        raise Refused(f"nodes run: {some}", hint, code="refused.running")
    unknown = {name.partition("/")[0] for name in running} - set(contents.environments)
    if unknown:
        names = ", ".join(sorted(unknown))
        hint = "End its nodes first, or take a newer backup: nobody would look after them."
        raise Refused(f"nodes of {names} run, which the backup does not know", hint, code="refused.running")


def _correct(db: sqlite3.Connection, former: Records, found: Found) -> tuple[str, ...]:
    """Replace records of primaries that a disk proves too old; `environment/label` of those nobody knows better of."""
    forgotten = []
    with db:
        for (environment, label), record in _records(db).items():
            states = [state for state in found.get(environment, {}).values() if state.service == label]
            after = corrected(record, former.get((environment, label)), states)
            if after is None:
                continue
            key, deposed = (
                (environment, label),
                json.dumps({node: dict(noted) for node, noted in after.deposed.items()}),
            )
            values = (*key, after.primary, after.generation, after.marked)
            db.execute("INSERT OR REPLACE INTO groups VALUES (?,?,?,?,?)", values)
            db.execute("INSERT OR REPLACE INTO deposed VALUES (?,?,?)", (*key, deposed))
            if after.primary is None:
                forgotten.append(f"{environment}/{label}")
    return tuple(forgotten)


def _records(db: sqlite3.Connection) -> Records:
    """Who is recorded as primary of each service."""
    columns = "environment, label, primary_node, generation, marked, coalesce(nodes, '{}')"
    rows = db.execute(f"SELECT {columns} FROM groups LEFT JOIN deposed USING (environment, label)").fetchall()
    return {
        (environment, label): Group(primary, generation, marked, json.loads(deposed))
        for environment, label, primary, generation, marked, deposed in rows
    }


def _records_of(store: Path) -> Records:
    """What the store that is replaced says, if it can be read at all."""
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=rw", uri=True)) as db:
            return _records(db)
    except (sqlite3.Error, ValueError):
        return {}


def _note(db: sqlite3.Connection, contents: Contents, forgotten: tuple[str, ...]) -> None:
    """Leave an event in each environment: what is told of later began with a restore."""
    now_utc = datetime.now(UTC).isoformat(timespec="milliseconds")
    with db:
        for name in contents.environments:
            labels = [one.partition("/")[2] for one in forgotten if one.startswith(f"{name}/")]
            fields = json.dumps({"backup_utc": contents.at_utc, "forgotten": labels})
            row = (name, now_utc, "control.restored", fields)
            db.execute("INSERT INTO events (environment, at_utc, name, fields) VALUES (?,?,?,?)", row)


def _swap(home: Home, draft: Path, contents: Contents) -> Path | None:
    """Move what is there aside, then the new files in; the store comes last, for without it there is no home to use."""
    names = sorted((member.name for member in contents.files), key=lambda name: name == STORE)
    former = set_aside(home, [*names, f"{STORE}-wal", f"{STORE}-shm"])
    for name in names:
        (home.path / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (draft / name).rename(home.path / name)
    handle = os.open(home.path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return former


def set_aside(home: Home, names: Collection[str]) -> Path | None:
    """Move those files and folders of a home that are there to `former/`, in this order; where, None for nothing.

    Raises:
        OSError: they cannot be moved.
    """
    there = [name for name in names if (home.path / name).exists()]
    if not there:
        return None
    former = home.path / "former" / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    for name in there:
        (former / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home.path / name).rename(former / name)
    return former
