"""Where the audit log is kept: a table of the store that only grows."""

import json
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from everup.core.chain import ORIGIN, canonical, seal
from everup.model.audit import Deed

AUDIT_TABLE = """
CREATE TABLE IF NOT EXISTS audit (seq INTEGER PRIMARY KEY, entry TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS audit_unchanged BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER IF NOT EXISTS audit_undeleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
"""


class AuditLog:
    """The entries, each with the hash that chains it to the one before (`core.chain`)."""

    def __init__(
        self, db: sqlite3.Connection, write: Callable[[Callable[[sqlite3.Connection], int]], Awaitable[int]]
    ) -> None:
        self._db = db
        self._write = write

    async def append(self, deed: Deed) -> int:
        """Record a deed, on the disk before it returns; its number.

        Raises:
            EverupError: the store refuses it.
        """

        def work(db: sqlite3.Connection) -> int:
            last = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
            number, former = last or (0, ORIGIN)
            entry = deed.entry(number + 1)
            db.execute("INSERT INTO audit VALUES (?,?,?)", (number + 1, canonical(entry), seal(former, entry)))
            return int(number) + 1

        return await self._write(work)

    def page(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Entries numbered above `after`, oldest first, each with its `hash`; negative: the newest `-after`."""
        if after < 0:
            newest = self._db.execute("SELECT MAX(seq) FROM audit").fetchone()[0] or 0
            after = max(0, newest + after)
        sql = "SELECT entry, hash FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
        return [{**json.loads(entry), "hash": found} for entry, found in self._db.execute(sql, (after, limit))]
