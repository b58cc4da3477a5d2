"""Tokens in the store: shown once, kept as a hash, with an expiry and their last use."""

import asyncio
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from everup.model.access import OWNER, Caller, Level
from everup.model.errors import EverupError, NotFound, Refused
from everup.model.tokens import Token

TABLE = """
CREATE TABLE IF NOT EXISTS tokens (
    name TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, level TEXT NOT NULL, environments TEXT,
    created_utc TEXT NOT NULL, expires_utc TEXT, used_utc TEXT);
"""

PREFIX = "everup_"
"""What every token starts with, so that scanners of repositories and logs find one that was left there."""

SECRET_BYTES = 32
"""256 random bits: nobody guesses them, so one SHA-256 hides them; slow hashes are for what people think up."""

USED_EVERY_S = 60
"""How fine the last use is kept, in seconds: not every request writes to the disk."""

_COLUMNS = "name, level, environments, created_utc, expires_utc, used_utc"


def _utcnow() -> datetime:
    return datetime.now(UTC)


class Tokens:
    """All tokens, in memory by hash and on the disk.

    An attacker who measures how long a look-up takes learns about hashes only, which lead to no secret.
    """

    def __init__(
        self, db: sqlite3.Connection, write: Callable[..., Any], now: Callable[[], datetime] = _utcnow
    ) -> None:
        self._write = write
        self._now = now
        self._by_hash: dict[str, Token] = {}
        self._noting: set[asyncio.Task[None]] = set()
        for digest, name, level, environments, *times in db.execute(f"SELECT hash, {_COLUMNS} FROM tokens"):
            where = None if environments is None else tuple(json.loads(environments))
            self._by_hash[digest] = Token(name, Level(level), where, *times)

    def authenticate(self, secret: str) -> Caller | None:
        """Who shows this secret; None: it is no token, or one that was revoked or has expired."""
        digest = _digest(secret)
        token = self._by_hash.get(digest)
        now = self._now()
        if token is None or (token.expires_utc and now >= datetime.fromisoformat(token.expires_utc)):
            return None
        if not token.used_utc or now - datetime.fromisoformat(token.used_utc) >= timedelta(seconds=USED_EVERY_S):
            self._by_hash[digest] = replace(token, used_utc=_text(now))
            self._note_use(digest, _text(now))
        return token.caller

    def tokens(self) -> list[Token]:
        """All that were created and not revoked, expired ones too, by name."""
        return sorted(self._by_hash.values(), key=lambda one: one.name)

    async def create(
        self,
        name: str,
        level: Level,
        environments: Collection[str] | None,
        expires_in_s: float | None,
        secret: str = "",
    ) -> tuple[Token, str]:
        """Make a token, on the disk before it returns; and its secret, a new one by default, which is kept nowhere.

        Raises:
            Refused: there is one of that name already.
        """
        if name == OWNER.name or any(one.name == name for one in self._by_hash.values()):
            hint = f"Revoke it first: everup token revoke {name}" if name != OWNER.name else ""
            raise Refused(f"there is a token {name} already", hint, code="refused.token", name=name)
        now = self._now()
        expires_utc = None if expires_in_s is None else _text(now + timedelta(seconds=expires_in_s))
        where = None if environments is None else tuple(sorted(set(environments)))
        token = Token(name, level, where, _text(now), expires_utc)
        secret = secret or new_secret()
        digest = _digest(secret)
        kept = None if where is None else json.dumps(where)
        row = (name, digest, level.value, kept, token.created_utc, expires_utc, None)
        self._by_hash[digest] = token  # nobody knows the secret yet; the name is taken while the disk is busy
        try:
            await self._write(lambda db: db.execute("INSERT INTO tokens VALUES (?,?,?,?,?,?,?)", row))
        except BaseException:
            del self._by_hash[digest]
            raise
        return token, secret

    async def revoke(self, name: str) -> None:
        """End a token: at once, and on the disk before it returns.

        Raises:
            NotFound: there is none of that name.
        """
        found = [digest for digest, one in self._by_hash.items() if one.name == name]
        if not found:
            known = ", ".join(one.name for one in self.tokens()) or "none"
            raise NotFound(f"there is no token {name}", f"Known: {known}.", name=name)
        del self._by_hash[found[0]]
        await self._write(lambda db: db.execute("DELETE FROM tokens WHERE name = ?", (name,)))

    def _note_use(self, digest: str, at_utc: str) -> None:
        """Keep the moment of use, some time; a store that takes no more keeps nobody out."""

        async def note() -> None:
            try:
                sql = "UPDATE tokens SET used_utc = ? WHERE hash = ?"
                await self._write(lambda db: db.execute(sql, (at_utc, digest)))
            except EverupError as error:
                print(f"the last use of a token was not kept: {error.message}", flush=True)

        task = asyncio.get_running_loop().create_task(note(), name="last use of a token")
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)


def new_secret() -> str:
    """What nobody guesses."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
