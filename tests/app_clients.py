"""Clients as apps have them, each with its own way to a primary's endpoint, writing numbers and reading them back."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

import psycopg
from psycopg_pool import ConnectionPool
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.everup_cli import Everup
from tests.repeated import Repeated

PATIENT_S = 20
"""How long a client waits for an answer, on a busy machine too."""

TABLE = "everup_app_writes"


class AppClient(ABC):
    """Writes numbers, each acknowledged or an exception. `connections` is how many it has; `pause_s` how long it
    thinks between two requests."""

    connections = 1
    pause_s = 0.01

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name

    @abstractmethod
    def write(self, n: int) -> None:
        """Write one number; returns once it is acknowledged."""

    @abstractmethod
    def survivors(self) -> set[int]:
        """The numbers that are there now."""

    def close(self) -> None:
        """Let go of what it holds."""
        return None


def members(url: str, key: str) -> set[int]:
    """The numbers in a set of Redis."""
    with Redis.from_url(url, socket_timeout=PATIENT_S) as client:
        return {int(n) for n in client.smembers(key)}  # type: ignore[union-attr]


class RedisClient(AppClient):
    """redis-py as `Redis(host, port)` makes it: it tries again ten times by itself."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(url, name)
        self.key = f"app:{name}"
        self.client = self.made()

    def made(self) -> Redis:
        to = urlsplit(self.url)
        return Redis(to.hostname or "", to.port or 0, password=to.password, socket_timeout=PATIENT_S)

    def write(self, n: int) -> None:
        self.client.sadd(self.key, n)

    def survivors(self) -> set[int]:
        return members(self.url, self.key)

    def close(self) -> None:
        self.client.close()


class RedisUnrepeated(RedisClient):
    """redis-py as `Redis.from_url` makes it: it tries nothing twice."""

    def made(self) -> Redis:
        return Redis.from_url(self.url, socket_timeout=PATIENT_S, retry=Retry(NoBackoff(), 0))


class RedisAnew(RedisUnrepeated):
    """A new connection for every request, which is tried once."""

    def write(self, n: int) -> None:
        with self.made() as client:
            client.sadd(self.key, n)


class SqlClient(AppClient):
    """One psycopg connection that commits each statement; opened anew, within the next request, when it broke."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(url, name)
        self.open: psycopg.Connection[tuple[object, ...]] | None = None
        with self.connect() as connection:
            connection.execute(f"create table if not exists {TABLE} (name text, n bigint, primary key (name, n))")
            connection.execute(f"delete from {TABLE} where name = %s", (name,))

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.url, autocommit=True, connect_timeout=PATIENT_S)

    def insert(self, connection: "psycopg.Connection[tuple[object, ...]]", n: int) -> None:
        connection.execute(f"insert into {TABLE} values (%s, %s)", (self.name, n))

    def write(self, n: int) -> None:
        if self.open is None or self.open.closed:
            self.open = self.connect()
        self.transact(self.open, n)

    def transact(self, connection: "psycopg.Connection[tuple[object, ...]]", n: int) -> None:
        self.insert(connection, n)

    def survivors(self) -> set[int]:
        with self.connect() as connection:
            rows = connection.execute(f"select n from {TABLE} where name = %s", (self.name,))
            return {int(str(n)) for (n,) in rows}

    def close(self) -> None:
        if self.open is not None:
            with suppress(psycopg.Error):
                self.open.close()


class SqlIdle(SqlClient):
    """A connection that is hardly ever used."""

    pause_s = 0.5


class SqlTransactions(SqlClient):
    """A connection that is nearly always inside a transaction, of 30 ms each."""

    def transact(self, connection: "psycopg.Connection[tuple[object, ...]]", n: int) -> None:
        with connection.transaction():
            self.insert(connection, n)
            time.sleep(0.03)


class SqlAnew(SqlClient):
    """A new connection for every transaction, which is tried once."""

    def write(self, n: int) -> None:
        with self.connect() as connection:
            self.insert(connection, n)


class SqlPool(SqlClient):
    """psycopg_pool with two connections, as it comes."""

    connections = 2
    checked = False

    def __init__(self, url: str, name: str) -> None:
        super().__init__(url, name)
        check = ConnectionPool.check_connection if self.checked else None
        kwargs = {"autocommit": True, "connect_timeout": PATIENT_S}
        self.pool = ConnectionPool(url, min_size=2, max_size=2, kwargs=kwargs, check=check, timeout=60, open=True)
        self.pool.wait(60)

    def write(self, n: int) -> None:
        with self.pool.connection() as connection:
            self.insert(connection, n)

    def close(self) -> None:
        self.pool.close()


class SqlCheckedPool(SqlPool):
    """psycopg_pool with two connections, each looked at before it is used (`check=`)."""

    checked = True


GATE_S = 3.0
"""A switchover that took less was over before the gate of its endpoint opened by itself."""


def hand_over(everup: Everup, label: str, loops: Mapping[str, Repeated]) -> float:
    """Switch over while these clients write before and after it; returns the seconds that the operation took."""
    for loop in loops.values():
        loop.wait(20)
    now_s = time.monotonic()
    everup("switchover", label)
    for loop in loops.values():
        loop.wait(20, after_s=now_s)
        loop.stop()
    lines = map(json.loads, everup("events", "--json", "--lines", "100").stdout.splitlines())
    ended = [one["fields"] for one in lines if one["name"] == "operation.ended" and one["service"] == label]
    return next(float(fields["took_ms"]) / 1000 for fields in ended[::-1] if fields["operation"] == "switchover")


REDIS_CLIENTS: dict[str, type[AppClient]] = {
    "redis-py, Redis(host, port)": RedisClient,
    "redis-py, from_url": RedisUnrepeated,
    "redis-py, a connection per request": RedisAnew,
}
SQL_CLIENTS: dict[str, type[AppClient]] = {
    "psycopg, mostly idle": SqlIdle,
    "psycopg, one statement each 10 ms": SqlClient,
    "psycopg, inside transactions of 30 ms": SqlTransactions,
    "psycopg, a connection per transaction": SqlAnew,
    "psycopg_pool": SqlPool,
    "psycopg_pool, check": SqlCheckedPool,
}
