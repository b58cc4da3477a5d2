"""What is to be delivered yet, as it is kept in the store: the next control plane delivers what this one could not."""

import json
import sqlite3
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict, replace
from typing import Any

from everup.model.notices import Letter, Notice, Tone, Topic

OUTBOX_TABLE = """
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, at_utc TEXT NOT NULL, notice TEXT NOT NULL);
"""


class Outbox:
    """The table of letters."""

    def __init__(
        self, db: sqlite3.Connection, write: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]
    ) -> None:
        self._db = db
        self._write = write

    def all(self) -> tuple[Letter, ...]:
        """Every letter that was not taken out, oldest first."""
        rows = self._db.execute("SELECT number, destination, at_utc, notice FROM outbox ORDER BY number").fetchall()
        return tuple(Letter(name, _read(notice), at_utc, number) for number, name, at_utc, notice in rows)

    async def put(self, letter: Letter) -> Letter:
        """Keep a letter, on the disk before it returns; with its number.

        Raises:
            EverupError: the store refuses it.
        """
        notice = asdict(letter.notice)
        row = (letter.destination, letter.at_utc, json.dumps({**notice, "topics": sorted(letter.notice.topics)}))
        sql = "INSERT INTO outbox (destination, at_utc, notice) VALUES (?,?,?)"
        return replace(letter, number=await self._write(lambda db: db.execute(sql, row).lastrowid))

    async def take(self, letters: Collection[Letter]) -> None:
        """Forget letters: they were delivered, or given up.

        Raises:
            EverupError: the store refuses it.
        """
        numbers = [(one.number,) for one in letters if one.number is not None]
        if numbers:
            await self._write(lambda db: db.executemany("DELETE FROM outbox WHERE number = ?", numbers))


def _read(text: str) -> Notice:
    kept = json.loads(text)
    return Notice(**{**kept, "topics": frozenset(map(Topic, kept["topics"])), "tone": Tone(kept["tone"])})
