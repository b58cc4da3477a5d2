"""The store in pieces that can be kept elsewhere, and a store made from such pieces.

One piece, `state`, is what was declared: the tables, their rows and the store's format, so that a newer Everup brings
it up as it does a file. Logs only grow, so each of them is many pieces, `audit-1-120`, of which the newest are small.
"""

import gzip
import json
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everup.model.errors import EverupError

STATE = "state"

Range = tuple[int, int]
"""The first and the last row that a piece of a log holds, by rowid."""

SPARE_NUMBERS = 1000
"""Numbers of events that may have been given out and not kept elsewhere; none is given out twice."""


@dataclass(frozen=True)
class Log:
    """A table to which rows are only added.

    Attributes:
        most: rows in one piece.
        kept: rows that are kept elsewhere, the newest; None: all.
        prompt: a row counts as kept only once it is kept elsewhere too; others follow some seconds later.
    """

    table: str
    most: int
    kept: int | None = None
    prompt: bool = False


LOGS = (Log("audit", 4096, prompt=True), Log("events", 4096, kept=8192), Log("drills", 32, kept=128))
"""Every other table of the store is what was declared."""

PASSING = {"tokens": {"used_utc"}}
"""Columns whose change alone is not worth keeping elsewhere."""


def declared(db: sqlite3.Connection) -> dict[str, list[str]]:
    """The tables that hold what was declared, each with its columns."""
    logs = {log.table for log in LOGS}
    sql = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    names = [name for (name,) in db.execute(sql) if name not in logs]
    return {name: [column for _, column, *_ in db.execute(f"PRAGMA table_info({name})")] for name in names}


def format_of(db: sqlite3.Connection) -> int:
    """The number of the store's format."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def state_of(db: sqlite3.Connection) -> bytes:
    """The piece `state`."""
    schema = "SELECT sql FROM main.sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    return _packed(
        {
            "format": format_of(db),
            "events": _newest_event(db),
            "schema": [sql for (sql,) in db.execute(schema)],
            "tables": {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in declared(db)},
        }
    )


def rows_of(db: sqlite3.Connection, log: Log, rows: Range) -> bytes:
    """A piece of a log; rows that were deleted since are not in it."""
    found = db.execute(f"SELECT rowid, * FROM {log.table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid", rows)
    columns = ["rowid", *(name for name, *_ in found.description[1:])]
    return _packed({"columns": columns, "rows": found.fetchall()})


def piece_name(log: Log, rows: Range) -> str:
    """What a piece of a log is called."""
    return f"{log.table}-{rows[0]}-{rows[1]}"


def ranges_in(names: Collection[str], log: Log) -> list[Range]:
    """The ranges of a log that these pieces hold, oldest first."""
    found = (name.split("-") for name in names)
    return sorted((int(words[1]), int(words[2])) for words in found if words[0] == log.table and len(words) == 3)


def following(ranges: list[Range], newest: int, log: Log) -> list[Range]:
    """The ranges of a log once row `newest` is in one of them.

    A piece takes in the ones before it that are not larger, so there are few, and a row is seldom written again.
    """
    first = ranges[-1][1] + 1 if ranges else max(0, newest - (log.kept or newest)) + 1
    after = list(ranges)
    while first <= newest:
        one = (first, min(newest, first + log.most - 1))
        while after and _size(after[-1]) <= _size(one) and one[1] - after[-1][0] < log.most:
            one = (after.pop()[0], one[1])
        after.append(one)
        first = one[1] + 1
    return [one for one in after if log.kept is None or one[1] > newest - log.kept]


def rebuild(path: Path, pieces: Mapping[str, bytes]) -> int | None:
    """Make the store at `path` from its pieces, in place of any that is there; its format, None where there is none.

    Raises:
        EverupError: the pieces do not fit together.
        sqlite3.Error: the disk refuses it.
    """
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    if STATE not in pieces:
        return None
    draft = path.with_name(f"{path.name}.loading")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    with closing(sqlite3.connect(draft)) as db, db:
        state = _unpacked(STATE, pieces[STATE])
        for sql in state["schema"]:
            db.execute(sql)
        for table, rows in state["tables"].items():
            if rows:
                db.executemany(f"INSERT INTO {table} VALUES ({_marks(rows[0])})", rows)
        for log in LOGS:
            for one in ranges_in(pieces, log):
                _fill(db, log, _unpacked(piece_name(log, one), pieces[piece_name(log, one)]))
        _settle(db, state.get("events", 0))
        db.execute(f"PRAGMA user_version = {int(state['format'])}")
    draft.replace(path)
    return int(state["format"])


def _fill(db: sqlite3.Connection, log: Log, piece: Mapping[str, Any]) -> None:
    sql = f"INSERT INTO {log.table} ({', '.join(piece['columns'])}) VALUES ({_marks(piece['columns'])})"
    db.executemany(sql, piece["rows"])


def _newest_event(db: sqlite3.Connection) -> int:
    """The largest number of an event that is, or was, in the store: those of destroyed environments are deleted."""
    return int(db.execute("SELECT MAX(seq) FROM sqlite_sequence WHERE name = 'events'").fetchone()[0] or 0)


def _settle(db: sqlite3.Connection, newest: int) -> None:
    """Drop what is told of environments that were destroyed since, and leave numbers out that may have been told.

    `newest` is the largest number of an event when what was declared was kept last.
    """
    after = max(newest, _newest_event(db)) + SPARE_NUMBERS
    for table in ("events", "drills"):
        db.execute(f"DELETE FROM {table} WHERE environment NOT IN (SELECT name FROM environments)")
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
    db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)", (after,))


def _marks(row: Collection[Any]) -> str:
    return ", ".join("?" * len(row))


def _size(one: Range) -> int:
    return one[1] - one[0] + 1


def _packed(content: Mapping[str, Any]) -> bytes:
    return gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0)


def _unpacked(name: str, piece: bytes) -> dict[str, Any]:
    try:
        found = json.loads(gzip.decompress(piece))
    except (OSError, EOFError, ValueError) as error:
        raise EverupError(f"what was kept as {name} is damaged: {error}", code="store.unusable") from error
    assert isinstance(found, dict)
    return found
