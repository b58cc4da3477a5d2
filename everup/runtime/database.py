"""One SQLite file, written by one thread in order; what is written is on the disk before anybody is told so."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from everup.model.errors import EverupError

T = TypeVar("T")


def unusable(path: Path, error: sqlite3.Error) -> EverupError:
    """What to say of a store that cannot be read at all."""
    return EverupError(
        f"the store {path} cannot be used: {error}",
        "Running services are not touched. Restore the file from a backup, or move it away to start afresh.",
        code="store.unusable",
    )


class Database:
    """The connection, and the thread that writes; `tables` is the SQL that makes what is missing."""

    def __init__(self, path: Path, tables: str) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        try:
            self._db = sqlite3.connect(path, check_same_thread=False)
            self._db.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=2000;" + tables
            )
            path.chmod(0o600)
        except sqlite3.Error as error:
            raise unusable(path, error) from error

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def commit() -> T:
            with self._db:
                return work(self._db)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, commit)
        except sqlite3.Error as error:
            raise EverupError(
                f"the store {self.path} refused a write: {error}", "Is its disk full?", code="store.refused"
            ) from error

    def close(self) -> None:
        """Finish what is being written and close the file."""
        self._thread.shutdown(wait=True)
        self._db.close()
