"""Where secrets are kept: a table of the store, each value encrypted and bound to its environment and name."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from everup.model.errors import NotFound
from everup.model.secret import Secret
from everup.runtime.cipher import Cipher

SEALED = "sealed:"
"""How the URL of a destination begins that was sealed here."""

SECRETS_TABLE = """
CREATE TABLE IF NOT EXISTS secrets (
    environment TEXT NOT NULL, name TEXT NOT NULL, sealed TEXT NOT NULL, set_at_utc TEXT NOT NULL, set_by TEXT NOT NULL,
    PRIMARY KEY (environment, name));
"""


class Vault:
    """Values go in, and come out only for the process that is started with them."""

    def __init__(
        self,
        db: sqlite3.Connection,
        write: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        cipher: Cipher,
    ) -> None:
        self._db = db
        self._write = write
        self._cipher = cipher

    async def seal(self, text: str, about: str) -> str:
        """Encrypt a text for whoever says the same `about`; the first ever makes the key.

        Raises:
            EverupError: there is no usable key.
        """
        sql = "SELECT EXISTS (SELECT 1 FROM secrets) OR EXISTS (SELECT 1 FROM destinations WHERE url LIKE ?)"
        if not self._db.execute(sql, (f"{SEALED}%",)).fetchone()[0]:
            await asyncio.to_thread(self._cipher.make_key)
        return await asyncio.to_thread(self._cipher.seal, text, about)

    def open(self, sealed: str, about: str) -> str:
        """The text that was sealed. Blocks; may be called on any thread.

        Raises:
            EverupError: there is no usable key.
        """
        return self._cipher.open(sealed, about)

    async def put(self, environment: str, name: str, value: str, by: str) -> None:
        """Keep a value under that name, instead of a former one; on the disk before it returns.

        Raises:
            EverupError: there is no usable key, or the store refuses it.
        """
        sealed = await self.seal(value, f"{environment}/{name}")
        row = (environment, name, sealed, datetime.now(UTC).isoformat(timespec="seconds"), by)
        await self._write(lambda db: db.execute("INSERT OR REPLACE INTO secrets VALUES (?,?,?,?,?)", row))

    async def remove(self, environment: str, name: str) -> None:
        """Forget a value."""
        what = (environment, name)
        await self._write(lambda db: db.execute("DELETE FROM secrets WHERE environment = ? AND name = ?", what))

    def kept(self, environment: str) -> list[Secret]:
        """All that are kept for an environment, by name, but for their values."""
        sql = "SELECT name, set_at_utc, set_by FROM secrets WHERE environment = ? ORDER BY name"
        return [Secret(*row) for row in self._db.execute(sql, (environment,)).fetchall()]

    def missing(self, environment: str, names: Iterable[str]) -> list[str]:
        """Those of `names` that are not set."""
        known = {one.name for one in self.kept(environment)}
        return sorted(set(names) - known)

    def reveal(self, environment: str, name: str) -> str:
        """The value, for a process that is about to start. Blocks; may be called on any thread.

        Raises:
            NotFound: it is not set.
            EverupError: there is no usable key.
        """
        sql = "SELECT sealed FROM secrets WHERE environment = ? AND name = ?"
        row = self._db.execute(sql, (environment, name)).fetchone()
        if row is None:
            raise NotFound(f"the secret {name} is not set", f"everup secret set {name}", code="secret.missing")
        return self.open(row[0], f"{environment}/{name}")
