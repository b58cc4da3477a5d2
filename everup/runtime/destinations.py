"""Where notifications go, as it is kept in the store: URLs with secrets, which the key of the vault encrypts."""

import json
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from everup.model.errors import NotFound, Refused
from everup.model.notices import Destination, Topic, scheme_of
from everup.runtime.vault import SEALED, Vault

TABLE = """
CREATE TABLE IF NOT EXISTS destinations (
    name TEXT PRIMARY KEY, url TEXT NOT NULL, topics TEXT NOT NULL, environments TEXT NOT NULL);
"""
"""A URL stands there as `sealed:SCHEME:CIPHERTEXT`; as it was given, until a store of format 1 has met its key."""


class Destinations:
    """The table of destinations."""

    def __init__(
        self,
        db: sqlite3.Connection,
        write: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        vault: Vault,
    ) -> None:
        self._db = db
        self._write = write
        self._vault = vault

    def all(self) -> tuple[Destination, ...]:
        """Every destination, by name. Takes no key."""
        rows = self._db.execute("SELECT name, url, topics, environments FROM destinations ORDER BY name").fetchall()
        return tuple(
            Destination(
                name,
                scheme_of(kept.removeprefix(SEALED)),
                tuple(map(Topic, json.loads(topics))),
                tuple(json.loads(environments)),
            )
            for name, kept, topics, environments in rows
        )

    def url(self, name: str) -> str:
        """The URL of one, for whoever delivers. Blocks; may be called on any thread.

        Raises:
            NotFound: there is none of that name.
            EverupError: there is no usable key.
        """
        row = self._db.execute("SELECT url FROM destinations WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise self._unknown(name)
        kept = str(row[0])
        return self._vault.open(kept.rpartition(":")[2], _about(name)) if kept.startswith(SEALED) else kept

    async def add(self, one: Destination, url: str) -> None:
        """Keep one more, on the disk before it returns.

        Raises:
            Refused: there is one of that name.
            EverupError: there is no usable key, or the store refuses it.
        """
        if any(other.name == one.name for other in self.all()):
            hint = f"Remove it first: everup notify remove {one.name}"
            raise Refused(f"there is a destination {one.name}", hint, code="refused.exists", name=one.name)
        row = (one.name, await self._sealed(one.name, url), json.dumps(one.topics), json.dumps(one.environments))
        await self._write(lambda db: db.execute("INSERT INTO destinations VALUES (?,?,?,?)", row))

    async def remove(self, name: str) -> None:
        """Forget one, and what waits for it.

        Raises:
            NotFound: there is none of that name.
        """
        if not any(one.name == name for one in self.all()):
            raise self._unknown(name)

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM destinations WHERE name = ?", (name,))
            db.execute("DELETE FROM outbox WHERE destination = ?", (name,))

        await self._write(work)

    async def seal(self) -> None:
        """Encrypt the URLs that a store of format 1 kept as they were given, and leave no trace of those in its file.

        Raises:
            EverupError: there is no usable key, or the store refuses it; they are as they were, and work.
        """
        rows = self._db.execute("SELECT name, url FROM destinations").fetchall()
        sealed = [(await self._sealed(name, kept), name) for name, kept in rows if not kept.startswith(SEALED)]
        if not sealed:
            return

        def work(db: sqlite3.Connection) -> None:
            db.execute("PRAGMA secure_delete = ON")
            db.executemany("UPDATE destinations SET url = ? WHERE name = ?", sealed)

        await self._write(work)
        await self._write(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())

    async def _sealed(self, name: str, url: str) -> str:
        return f"{SEALED}{scheme_of(url)}://:{await self._vault.seal(url, _about(name))}"

    def _unknown(self, name: str) -> NotFound:
        known = ", ".join(one.name for one in self.all()) or "none"
        return NotFound(f"there is no destination {name}", f"Known: {known}.", name=name)


def _about(name: str) -> str:
    """What binds a ciphertext to its destination; no secret of an environment is called so."""
    return f"notify:{name}"
