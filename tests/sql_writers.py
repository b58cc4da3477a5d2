"""Writers to a PostgreSQL: threads that insert one row per commit and note every attempt, and what is left of it."""

import threading
import time
from types import TracebackType

import psycopg

from tests.journal import Write, acknowledged

TABLE = "everup_writes"
UNCONNECTED = "not connected: "
"""How the error of an attempt begins that found nobody to send a transaction to."""

_STRIDE = 1_000_000_000


class SqlWriters:
    """Writes through `url` while the block lasts; connections that break are opened anew, at once.

    Args:
        url: a connection URL.
        count: how many connections write at the same time, one write in flight on each.
        pause_s: seconds between two writes of one connection.
        table: where to; it is emptied first.
    """

    def __init__(self, url: str, count: int = 1, pause_s: float = 0.0, table: str = TABLE) -> None:
        self._table = table
        self._url = url
        self._pause_s = pause_s
        self._over = threading.Event()
        self._writes: list[list[Write]] = [[] for _ in range(count)]
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(count)]

    def __enter__(self) -> "SqlWriters":
        with psycopg.connect(self._url, autocommit=True, connect_timeout=20) as connection:
            connection.execute(f"create table if not exists {self._table} (n bigint primary key)")
            connection.execute(f"truncate {self._table}")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def writes(self) -> list[Write]:
        """Every attempt so far, in order of its end."""
        return sorted((write for own in self._writes for write in list(own)), key=lambda write: write.ended_s)

    @property
    def journals(self) -> list[list[Write]]:
        """Every attempt so far, for each connection by itself."""
        return [list(own) for own in self._writes]

    @property
    def cut(self) -> int:
        """How many transactions failed on the connection that had most of them; attempts to connect do not count."""
        return max(sum(bool(w.error) and not str(w.error).startswith(UNCONNECTED) for w in own) for own in self._writes)

    @property
    def errors(self) -> list[Write]:
        """Attempts that failed."""
        return [write for write in self.writes if write.error is not None]

    def wait_for(self, more: int, within_s: float = 90.0) -> None:
        """Wait until `more` writes were acknowledged from now on."""
        wanted, end_s = len(acknowledged(self.writes)) + more, time.monotonic() + within_s
        while len(acknowledged(self.writes)) < wanted:
            assert time.monotonic() < end_s, f"fewer than {more} acknowledged writes in {within_s} s"
            time.sleep(0.005)

    def stop(self) -> None:
        """Write no more."""
        self._over.set()
        for thread in self._threads:
            thread.join(15)

    def survivors(self) -> set[int]:
        """What is in the table now."""
        with psycopg.connect(self._url, connect_timeout=20) as connection:
            return {n for (n,) in connection.execute(f"select n from {self._table}")}

    def _write(self, writer: int) -> None:
        connection: psycopg.Connection[tuple[object, ...]] | None = None
        n = writer * _STRIDE
        while not self._over.is_set():
            n += 1
            sent_s = time.monotonic()
            try:
                if connection is None:
                    connection = psycopg.connect(self._url, autocommit=True, connect_timeout=20)
                connection.execute(f"insert into {self._table} values (%s)", (n,))
                error = None
            except psycopg.Error as failure:
                error = ("" if connection else UNCONNECTED) + str(failure).splitlines()[0]
                if connection is not None:
                    connection.close()
                connection = None
            self._writes[writer].append(Write(n, sent_s, time.monotonic(), error))
            self._over.wait(0.005 if error else self._pause_s) if error or self._pause_s else None
        if connection is not None:
            connection.close()
