"""Where notifications go, as it is kept in the store: URLs with secrets, in a file that only its owner may read."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from everup.model.errors import NotFound, Refused
from everup.model.notices import Destination, Topic

TABLE = """
CREATE TABLE IF NOT EXISTS destinations (
    name TEXT PRIMARY KEY, url TEXT NOT NULL, topics TEXT NOT NULL, environments TEXT NOT NULL);
"""


class Destinations:
    """The table of destinations."""

    def __init__(self, db: sqlite3.Connection, write: Callable[[Callable[[sqlite3.Connection], Any]], Any]) -> None:
        self._db = db
        self._write = write

    def all(self) -> tuple[Destination, ...]:
        """Every destination, by name."""
        rows = self._db.execute("SELECT name, url, topics, environments FROM destinations ORDER BY name").fetchall()
        return tuple(
            Destination(name, url, tuple(map(Topic, json.loads(topics))), tuple(json.loads(environments)))
            for name, url, topics, environments in rows
        )

    async def add(self, one: Destination) -> None:
        """Keep one more.

        Raises:
            Refused: there is one of that name.
        """
        if any(other.name == one.name for other in self.all()):
            hint = f"Remove it first: everup notify remove {one.name}"
            raise Refused(f"there is a destination {one.name}", hint, code="refused.exists", name=one.name)
        row = (one.name, one.url, json.dumps(one.topics), json.dumps(one.environments))
        await self._write(lambda db: db.execute("INSERT INTO destinations VALUES (?,?,?,?)", row))

    async def remove(self, name: str) -> None:
        """Forget one.

        Raises:
            NotFound: there is none of that name.
        """
        known = [one.name for one in self.all()]
        if name not in known:
            hint = f"Known: {', '.join(known) or 'none'}."
            raise NotFound(f"there is no destination {name}", hint, name=name)
        await self._write(lambda db: db.execute("DELETE FROM destinations WHERE name = ?", (name,)))
