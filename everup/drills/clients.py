"""How clients write, by the libraries that they really use; imported where a drill needs them, and nowhere else.

Each connects eagerly and repeats nothing by itself: what a library would hide behind its own retries and back-off is
what a drill wants to see. Each writes to a place of its own that nobody else uses, and takes it away afterwards.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from everup.model.errors import Refused

ANSWER_S = 5.0
"""How long a client waits for an answer before it counts the write as failed."""

REDIS_SILENCE = {"socket_timeout": 2.0, "socket_connect_timeout": 1.0}
"""How long a client of Redis waits for a node that may be on a lost host, seconds: as `everup connect` has it."""

KEPT_S = 86_400
"""What a drill that was broken off could not take away goes by itself after a day, where the store can do that."""


class Unacknowledged(Exception):
    """The service answered, and did not say that it took the write."""


class Client(Protocol):
    """One way to write. `failures` are the exceptions of a write that was not acknowledged."""

    failures: tuple[type[Exception], ...]

    def prepare(self) -> None:
        """Make the place that is written to."""
        ...

    def write(self, n: int) -> None:
        """Write a number that was never written before; returns once it is acknowledged."""
        ...

    def count(self) -> int | None:
        """How many numbers are there now; None when what is written cannot be read back."""
        ...

    def survivors(self) -> frozenset[int] | None:
        """The numbers that are there now; None when what is written cannot be read back."""
        ...

    def clean_up(self) -> None:
        """Take the place away."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class RedisClient:
    """Adds the numbers to a set, through the Sentinels or by URL."""

    def __init__(self, settings: Mapping[str, str], place: str, *, sentinel: bool) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self.failures: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._key = f"everup:drill:{place}"
        eager: dict[str, Any] = {**REDIS_SILENCE, "retry": Retry(NoBackoff(), 0)}
        self._client: redis.Redis
        if sentinel:
            from redis import sentinel as sentinels

            group_of: Any = sentinels.Sentinel  # untyped there
            addresses = [entry.rsplit(":", 1) for entry in settings["SENTINEL_LIST"].split(",")]
            password = {"password": settings["PASSWORD"]} if "PASSWORD" in settings else {}
            group = group_of(
                [(host, int(port)) for host, port in addresses],
                sentinel_kwargs={**eager, **password, "socket_timeout": 1.0},
                **eager,
                **password,
            )
            self._client = group.master_for(settings["SENTINEL_MASTER"])
        else:
            self._client = redis.Redis.from_url(settings["URL"], **eager)

    def prepare(self) -> None:
        """Make the set, with a life of a day."""
        self._client.sadd(self._key, 0)
        self._client.expire(self._key, KEPT_S)

    def write(self, n: int) -> None:
        """Add a number to the set."""
        self._client.sadd(self._key, n)

    def count(self) -> int | None:
        """The size of the set, without the 0 that it was made with."""
        size: Any = self._client.scard(self._key)
        return int(size) - 1

    def survivors(self) -> frozenset[int] | None:
        """The members of the set."""
        members: Any = self._client.smembers(self._key)
        return frozenset(int(member) for member in members)

    def clean_up(self) -> None:
        """Delete the set."""
        self._client.unlink(self._key)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


class PostgresClient:
    """Inserts one row per transaction into a table of its own; a connection that broke is opened anew, at once."""

    def __init__(self, settings: Mapping[str, str], place: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            hint = "Install it: pip install 'everup[servers]'"
            raise Refused("a drill of PostgreSQL needs psycopg", hint, code="drill.no_client") from error
        self.failures: tuple[type[Exception], ...] = (psycopg.Error, OSError)
        self._connect: Callable[[], Any] = lambda: psycopg.connect(
            settings["URL"], autocommit=True, connect_timeout=int(ANSWER_S), application_name="everup drill"
        )
        self._table = f"everup_drill_{place}"
        self._open: Any = None

    def prepare(self) -> None:
        """Make the table."""
        self._execute(f"create table if not exists {self._table} (n bigint primary key)")

    def write(self, n: int) -> None:
        """Insert and commit a number."""
        self._execute(f"insert into {self._table} values ({n:d})")

    def count(self) -> int | None:
        """The rows of the table."""
        return int(self._execute(f"select count(*) from {self._table}").fetchone()[0])

    def survivors(self) -> frozenset[int] | None:
        """The numbers in the table."""
        return frozenset(int(row[0]) for row in self._execute(f"select n from {self._table}").fetchall())

    def clean_up(self) -> None:
        """Drop the table."""
        self._execute(f"drop table if exists {self._table}")

    def close(self) -> None:
        """Let go of the connection."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _execute(self, statement: str) -> Any:
        try:
            if self._open is None:
                self._open = self._connect()
            return self._open.execute(statement)
        except self.failures:
            with contextlib.suppress(*self.failures):
                self.close()
            self._open = None
            raise


class HttpClient:
    """Sends requests over one kept-alive connection; an answer below 500, or `BELOW`, counts.

    In the path and the body, `{n}` is the number and `{run}` the name of the place.
    """

    def __init__(self, settings: Mapping[str, str], place: str) -> None:
        import httpx

        self.failures: tuple[type[Exception], ...] = (httpx.HTTPError, Unacknowledged)
        self._method, self._below = settings.get("METHOD", "GET"), int(settings.get("BELOW", 500))
        self._url = (settings["URL"] + settings["PATH"]).replace("{run}", place)
        self._body = settings.get("BODY", "").replace("{run}", place)
        kind = "application/json" if self._body.startswith(("{", "[")) else "application/x-www-form-urlencoded"
        self._http = httpx.Client(
            timeout=float(settings.get("TIMEOUT_S", ANSWER_S)),
            trust_env=False,
            headers={"Content-Type": kind} if self._body else {},
        )

    def prepare(self) -> None:
        """Nothing has to be made."""

    def write(self, n: int) -> None:
        """Send one request."""
        url, body = self._url.replace("{n}", str(n)), self._body.replace("{n}", str(n))
        answer = self._http.request(self._method, url, content=body or None)
        if answer.status_code >= self._below:
            raise Unacknowledged(f"HTTP {answer.status_code}")

    def count(self) -> int | None:
        """What became of a request is the app's own affair."""
        return None

    def survivors(self) -> frozenset[int] | None:
        """What became of a request is the app's own affair."""
        return None

    def clean_up(self) -> None:
        """Nothing was made."""

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()


CLIENTS: Mapping[str, Callable[[Mapping[str, str], str], Client]] = {
    "redis-sentinel": partial(RedisClient, sentinel=True),
    "redis-endpoint": partial(RedisClient, sentinel=False),
    "postgres": PostgresClient,
    "http": HttpClient,
}
"""Name in `ClientPath.program` -> how it is made from (settings, a name for its place: a-z, 0-9 and _)."""
