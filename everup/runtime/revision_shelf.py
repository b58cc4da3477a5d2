"""Where revisions are kept: a part of the store."""

import json
import sqlite3
from pathlib import Path

from everup.model.revisions import Revision, Trial
from everup.runtime.database import Database
from everup.runtime.mirror import Mirror

KEPT_REVISIONS = 50
"""Of each service."""

_TABLE = """
CREATE TABLE IF NOT EXISTS revisions (
    environment TEXT NOT NULL, label TEXT NOT NULL, number INTEGER NOT NULL, declared TEXT NOT NULL,
    serial INTEGER NOT NULL, at_utc TEXT NOT NULL, trial TEXT NOT NULL, because TEXT NOT NULL,
    PRIMARY KEY (environment, label, number));
"""


class RevisionShelf(Database):
    """The revisions of apps and workers, by environment and label."""

    def __init__(self, path: Path, tables: str, mirror: Mirror | None = None) -> None:
        super().__init__(path, tables + _TABLE, mirror)

    def revisions(self, environment: str) -> dict[str, tuple[Revision, ...]]:
        """The revisions of each service that has some, oldest first."""
        found: dict[str, list[Revision]] = {}
        columns = "label, number, declared, serial, at_utc, trial, because"
        sql = f"SELECT {columns} FROM revisions WHERE environment = ? ORDER BY number"
        for label, number, declared, serial, at_utc, trial, because in self._db.execute(sql, (environment,)):
            one = Revision(number, json.loads(declared), serial, at_utc, Trial(trial), because)
            found.setdefault(label, []).append(one)
        return {label: tuple(ones) for label, ones in found.items()}

    async def save_revision(self, environment: str, label: str, one: Revision) -> None:
        """Keep a revision as it stands now, and drop the oldest beyond a limit."""
        row = (one.number, json.dumps(one.declared), one.serial, one.at_utc, one.trial.value, one.because)

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO revisions VALUES (?,?,?,?,?,?,?,?)", (environment, label, *row))
            oldest = (environment, label, one.number - KEPT_REVISIONS)
            db.execute("DELETE FROM revisions WHERE environment = ? AND label = ? AND number <= ?", oldest)

        await self._write(work)
