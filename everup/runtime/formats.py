"""The format of the store: its number, the steps that lead there from former ones, and what is refused.

The number is SQLite's `user_version`; stores of before formats were numbered have 0. A table that is only added needs
no step, since every opening makes what is missing. Each step is tested with a store that the former version wrote.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from everup.model.errors import EverupError

Step = Callable[[sqlite3.Connection], None]


def _number(db: sqlite3.Connection) -> None:
    """From 0, which had no number: forget what a version left behind that did not know all tables."""
    present = _tables(db)
    for table in sorted(present & {"deposed", "revisions", "drills"} if "environments" in present else ()):
        db.execute(f"DELETE FROM {table} WHERE environment NOT IN (SELECT name FROM environments)")


def _seal(db: sqlite3.Connection) -> None:
    """From 1, whose URLs of destinations are as they were given.

    `Destinations.seal` encrypts them. Not this: a key that cannot be had must keep nobody from opening the store.
    """


STEPS: tuple[Step, ...] = (_number, _seal)
"""Each leads from the format of its place in the list to the next one, whichever of the tables are there."""


def bring_up(db: sqlite3.Connection, path: Path, tables: str, steps: Sequence[Step] = STEPS) -> None:
    """Make the store what this version writes: whole, or not at all. The former one is kept beside it as `*.format-N`.

    Args:
        tables: SQL that makes what is missing.

    Raises:
        EverupError: a newer Everup wrote it (`store.newer`).
        sqlite3.Error: it is damaged, or the disk refuses it.
    """
    found = check_format(db, path, len(steps))
    if any(word != "ok" for (word,) in db.execute("PRAGMA quick_check(1)")):
        raise sqlite3.DatabaseError("its pages are damaged")
    filled = bool(_tables(db))
    if filled and found < len(steps):
        _keep(db, path.with_name(f"{path.name}.format-{found}"))
    try:
        db.executescript(f"BEGIN IMMEDIATE; {tables}")
        for step in steps[found:] if filled else ():
            step(db)
        if found < len(steps):
            db.execute(f"PRAGMA user_version = {len(steps)}")
        db.commit()
    except BaseException:
        db.rollback()
        raise


def check_format(db: sqlite3.Connection, path: Path, known: int = len(STEPS)) -> int:
    """The format of a store.

    Raises:
        EverupError: this Everup does not know it (`store.newer`).
    """
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > known:
        raise EverupError(
            f"the store {path} was written by a newer Everup: its format is {found}, this one knows up to {known}",
            "Use that version, or restore a backup of this one: everup store restore FILE. Services are not touched.",
            code="store.newer",
        )
    return found


def _tables(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _keep(db: sqlite3.Connection, place: Path) -> None:
    place.unlink(missing_ok=True)
    place.touch(mode=0o600)
    with closing(sqlite3.connect(place)) as copy:
        db.backup(copy)
        if "destinations" in _tables(copy):  # with secrets that nobody would think of finding there
            copy.execute("PRAGMA secure_delete = ON")
            copy.execute("DELETE FROM destinations")
            copy.commit()
