"""What must outlive the control plane: specs, grants, who is primary, and the events. One SQLite file.

Writes run on one thread of their own, in order; those that decide something are waited for and synced to disk.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everup.model.desired import Tcp
from everup.model.events import Event
from everup.model.observed import Group
from everup.model.spec import Source
from everup.runtime.audit import AUDIT_TABLE, AuditLog
from everup.runtime.cipher import Cipher
from everup.runtime.database import unusable
from everup.runtime.destinations import TABLE, Destinations
from everup.runtime.mirror import Mirror
from everup.runtime.outbox import OUTBOX_TABLE, Outbox
from everup.runtime.revision_shelf import RevisionShelf
from everup.runtime.tokens import TABLE as TOKENS_TABLE
from everup.runtime.tokens import Tokens
from everup.runtime.vault import SECRETS_TABLE, Vault

KEPT_EVENTS = 50_000
KEPT_DRILLS = 500

_DOOMED = 2
"""In the column `stopped`: 0 runs, 1 is stopped, 2 is being deleted."""

_TABLES = """
CREATE TABLE IF NOT EXISTS environments (
    name TEXT PRIMARY KEY, file TEXT NOT NULL, text TEXT NOT NULL, directory TEXT NOT NULL, path TEXT NOT NULL,
    overrides TEXT NOT NULL DEFAULT '{}', revisions TEXT NOT NULL DEFAULT '{}', stopped INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS grants (
    environment TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (environment, key));
CREATE TABLE IF NOT EXISTS groups (
    environment TEXT NOT NULL, label TEXT NOT NULL, primary_node TEXT, generation INTEGER NOT NULL,
    marked INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (environment, label));
CREATE TABLE IF NOT EXISTS deposed (
    environment TEXT NOT NULL, label TEXT NOT NULL, nodes TEXT NOT NULL, PRIMARY KEY (environment, label));
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, environment TEXT NOT NULL, at_utc TEXT NOT NULL, name TEXT NOT NULL,
    service TEXT, node TEXT, fields TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS drills (
    environment TEXT NOT NULL, id TEXT NOT NULL, label TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (environment, id));
CREATE INDEX IF NOT EXISTS events_by_environment ON events (environment, seq);
"""


@dataclass(frozen=True)
class Saved:
    """One environment as it was last applied. `overrides` is label -> key -> value set by commands since.

    `revisions` counts by label the restarts that were asked for.

    `doomed`: some of its data may be deleted already, so the rest must follow before it can be applied again.
    """

    source: Source
    overrides: Mapping[str, Mapping[str, Any]]
    revisions: Mapping[str, int]
    stopped: bool
    doomed: bool = False


class Store(RevisionShelf):
    """The SQLite file. Reads are direct and fast; writes go through `_write`, which commits before it returns."""

    def __init__(self, path: Path, mirror: Mirror | None = None) -> None:
        """Open or create the store; `mirror` keeps it outside of this machine too.

        Raises:
            EverupError: the file is damaged, or the disk refuses it.
        """
        tables = _TABLES + AUDIT_TABLE + SECRETS_TABLE + TOKENS_TABLE + TABLE + OUTBOX_TABLE
        super().__init__(path, tables, mirror)
        try:
            row = self._db.execute("SELECT MAX(seq) FROM sqlite_sequence WHERE name = 'events'").fetchone()
        except sqlite3.Error as error:
            raise unusable(path, error) from error
        self._next_seq = (row[0] or 0) + 1
        self.audit = AuditLog(self._db, self._write)
        self.vault = Vault(self._db, self._write, Cipher(path.with_name("secret.key")))

    @property
    def drills(self) -> "KeptDrills":
        """The results of drills."""
        return KeptDrills(self._db, self._write)

    def tokens(self) -> Tokens:
        """Who may use the API over TCP."""
        return Tokens(self._db, self._write)

    @property
    def destinations(self) -> Destinations:
        """Where notifications go."""
        return Destinations(self._db, self._write, self.vault)

    @property
    def outbox(self) -> Outbox:
        """Notifications that were not delivered yet."""
        return Outbox(self._db, self._write)

    def environments(self) -> dict[str, Saved]:
        """Every environment ever applied and not destroyed, by name."""
        columns = "name, file, text, directory, path, overrides, revisions, stopped"
        rows = self._db.execute(f"SELECT {columns} FROM environments ORDER BY name").fetchall()
        return {
            name: Saved(
                Source(file=file, text=text, directory=directory, path=path),
                json.loads(overrides),
                json.loads(revisions),
                stopped > 0,
                stopped == _DOOMED,
            )
            for name, file, text, directory, path, overrides, revisions, stopped in rows
        }

    async def save_environment(self, name: str, saved: Saved) -> None:
        """Keep an environment as it is wanted from now on."""
        source = saved.source
        row = (name, source.file, source.text, source.directory, source.path)
        state = (
            json.dumps(saved.overrides),
            json.dumps(saved.revisions),
            _DOOMED if saved.doomed else int(saved.stopped),
        )
        await self._write(
            lambda db: db.execute("INSERT OR REPLACE INTO environments VALUES (?,?,?,?,?,?,?,?)", row + state)
        )

    async def forget_environment(self, name: str) -> None:
        """Drop all that is known of an environment; the audit log stays."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM environments WHERE name = ?", (name,))
            db.execute("DELETE FROM grants WHERE environment = ?", (name,))
            db.execute("DELETE FROM groups WHERE environment = ?", (name,))
            db.execute("DELETE FROM deposed WHERE environment = ?", (name,))
            db.execute("DELETE FROM events WHERE environment = ?", (name,))
            db.execute("DELETE FROM revisions WHERE environment = ?", (name,))
            db.execute("DELETE FROM drills WHERE environment = ?", (name,))
            db.execute("DELETE FROM secrets WHERE environment = ?", (name,))

        await self._write(work)

    def grants(self, environment: str) -> dict[str, Any]:
        """What was granted: `"<label>/<key>"` -> {port name: Tcp} or a password."""
        rows = self._db.execute("SELECT key, value FROM grants WHERE environment = ?", (environment,)).fetchall()
        return {key: _granted(json.loads(value)) for key, value in rows}

    async def save_grants(self, environment: str, grants: Mapping[str, Any]) -> None:
        """Keep what was granted, for ever."""
        rows = [(environment, key, json.dumps(_storable(value))) for key, value in grants.items()]
        await self._write(lambda db: db.executemany("INSERT OR REPLACE INTO grants VALUES (?,?,?)", rows))

    def groups(self, environment: str) -> dict[str, Group]:
        """Who is recorded as primary of each service, and who was and is to be compared with that one."""
        rows = self._db.execute(
            "SELECT label, coalesce(nodes, '{}'), primary_node, generation, marked"
            " FROM groups LEFT JOIN deposed USING (environment, label) WHERE environment = ?",
            (environment,),
        ).fetchall()
        return {
            label: Group(primary, generation, marked, json.loads(deposed))
            for label, deposed, primary, generation, marked in rows
        }

    async def save_group(self, environment: str, label: str, group: Group) -> None:
        """Record, on disk before it returns, who is primary."""
        row = (environment, label, group.primary, group.generation, group.marked)
        deposed = json.dumps({node_id: dict(noted) for node_id, noted in group.deposed.items()})

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO groups VALUES (?,?,?,?,?)", row)
            db.execute("INSERT OR REPLACE INTO deposed VALUES (?,?,?)", (environment, label, deposed))

        await self._write(work)

    def number(self) -> int:
        """The next event's sequence number."""
        self._next_seq += 1
        return self._next_seq - 1

    async def append(self, events: list[Event]) -> None:
        """Keep events, and drop the oldest beyond a limit."""
        rows = [
            (e.seq, e.environment, e.at_utc, e.name, e.service, e.node, json.dumps(dict(e.fields), default=str))
            for e in events
        ]

        def work(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO events VALUES (?,?,?,?,?,?,?)", rows)
            if events and events[0].seq // 1000 != (events[-1].seq + 1) // 1000:
                db.execute("DELETE FROM events WHERE seq <= ?", (events[-1].seq - KEPT_EVENTS,))

        await self._write(work)

    def events(self, environment: str, after: int, limit: int = 1000) -> list[Event]:
        """Stored events numbered above `after`, oldest first; a negative `after` means the newest `-after`."""
        columns = "seq, at_utc, name, service, node, fields"
        if after < 0:
            sql = f"SELECT {columns} FROM events WHERE environment = ? ORDER BY seq DESC LIMIT ?"
            rows = list(reversed(self._db.execute(sql, (environment, -after)).fetchall()))
        else:
            sql = f"SELECT {columns} FROM events WHERE environment = ? AND seq > ? ORDER BY seq LIMIT ?"
            rows = self._db.execute(sql, (environment, after, limit)).fetchall()
        return [
            Event(name, environment, at, service, node, json.loads(fields), seq)
            for seq, at, name, service, node, fields in rows
        ]


class KeptDrills:
    """The results of drills in the store, each as it is reported."""

    def __init__(self, db: sqlite3.Connection, write: Callable[[Callable[[sqlite3.Connection], Any]], Any]) -> None:
        self._db = db
        self._write = write

    async def keep(self, environment: str, drill_id: str, label: str, body: Mapping[str, Any]) -> None:
        """Keep one more, and drop the oldest beyond a limit."""
        row = (environment, drill_id, label, json.dumps(body))

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO drills VALUES (?,?,?,?)", row)
            newest = "SELECT id FROM drills WHERE environment = ? ORDER BY id DESC LIMIT ?"
            old = f"DELETE FROM drills WHERE environment = ? AND id NOT IN ({newest})"
            db.execute(old, (environment, environment, KEPT_DRILLS))

        await self._write(work)

    def of(self, environment: str) -> list[dict[str, Any]]:
        """All that are kept, oldest first: their ids begin with the moment they ended."""
        sql = "SELECT body FROM drills WHERE environment = ? ORDER BY id"
        return [json.loads(body) for (body,) in self._db.execute(sql, (environment,)).fetchall()]


def _storable(value: Any) -> Any:
    return {name: [to.host, to.port] for name, to in value.items()} if isinstance(value, Mapping) else value


def _granted(value: Any) -> Any:
    return {name: Tcp(host, port) for name, (host, port) in value.items()} if isinstance(value, dict) else value
