"""One SQLite file, written by one thread in order; what is written is on the disk before anybody is told so."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from everup.model.errors import EverupError
from everup.runtime.formats import bring_up, check_format

if TYPE_CHECKING:
    from everup.runtime.mirror import Mirror

T = TypeVar("T")

LEAST_BYTES = 256 << 10
"""What a store needs to be opened: its index of the log of writes takes 32 kB."""


def unusable(path: Path, error: sqlite3.Error) -> EverupError:
    """What to say of a store that cannot be read, or of a disk that has no room for what its opening writes."""
    if full(error, path):
        hint = f"Make room where {path.parent} is. Running services are not touched."
        return EverupError(f"the store {path} cannot be used: its disk is full", hint, code="store.full")
    return EverupError(
        f"the store {path} cannot be used: {error}",
        "Running services are not touched. Restore it from a backup: everup store restore FILE --adopt",
        code="store.unusable",
    )


def full(error: sqlite3.Error, path: Path) -> bool:
    """Whether an error means that the disk of `path` has no room; SQLite has other words for that as well."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and path.parent.is_dir():
        return shutil.disk_usage(path.parent).free < LEAST_BYTES
    return code == sqlite3.SQLITE_FULL


def _opened(path: Path, tables: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    try:
        check_format(db, path)
        db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=2000;")
        bring_up(db, path, tables)
        path.chmod(0o600)
    except BaseException:
        db.close()
        raise
    return db


class Database:
    """The connection, and the thread that writes.

    Args:
        path: of the file.
        tables: the SQL that makes what is missing.
        mirror: what keeps the store outside of this machine too, if anything does.
    """

    def __init__(self, path: Path, tables: str, mirror: "Mirror | None" = None) -> None:
        self.path = path
        self.mirror = mirror
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        try:
            self._db = _opened(path, tables)
            if mirror:
                mirror.attach(path, self._thread)
        except sqlite3.Error as error:
            raise unusable(path, error) from error

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def commit() -> T:
            with self._db:
                return work(self._db)

        try:
            if self.mirror:
                return await self.mirror.write(work)
            return await asyncio.get_running_loop().run_in_executor(self._thread, commit)
        except sqlite3.Error as error:
            hint = "Make room on its disk." if full(error, self.path) else "Is its disk full?"
            raise EverupError(f"the store {self.path} refused a write: {error}", hint, code="store.refused") from error

    async def confirm(self) -> None:
        """Return if it is certain that no other control plane acts by a newer copy of this store.

        Raises:
            EverupError: nobody can tell, or another one does.
        """
        if self.mirror:
            await self.mirror.confirm()

    async def reassure(self) -> None:
        """`confirm`, where that failed the last time; else nothing.

        Raises:
            EverupError: as `confirm`.
        """
        if self.mirror and self.mirror.doubted:
            await self.mirror.confirm()

    async def finish(self) -> None:
        """Bring what is kept outside of this machine up to date; comes before `close`."""
        if self.mirror:
            await self.mirror.close()

    def close(self) -> None:
        """Finish what is being written and close the file."""
        self._thread.shutdown(wait=True)
        self._db.close()
