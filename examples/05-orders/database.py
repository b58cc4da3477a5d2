"""PostgreSQL as a client that lives through failovers uses it. Three rules, and each needs only a few lines:

1. when one connection of the pool breaks, look at all of them: a failover cuts them all, on purpose;
2. open new connections with patience, and in short steps: a failover takes some tenths of a second;
3. do a transaction again whose end was not heard of. It may have been committed, so twice must be as good as once.

The pool's own `check=` looks at each connection before each use, but it rests 1, 2, 4 seconds between dead ones: with
four of them, seven seconds. Looking at all when one breaks costs nothing while all is well, and milliseconds when not.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from psycopg import AsyncConnection, InterfaceError, OperationalError
from psycopg.errors import ReadOnlySqlTransaction
from psycopg_pool import AsyncConnectionPool

PATIENCE_S = 20.0
"""How long a request may wait for a primary; an hour would only pile requests up."""

PAUSE_S = 0.05

BROKEN = (OperationalError, InterfaceError, ReadOnlySqlTransaction)
"""The connection was cut or cannot be opened, or it leads to a server that is no primary any more."""

Connection = AsyncConnection[tuple[Any, ...]]
Result = TypeVar("Result")


class PatientConnection(Connection):
    """Rule 2. The pool by itself rests 1, 2, 4 seconds between its tries, which is longer than most failovers."""

    @classmethod
    async def connect(cls, conninfo: str = "", **words: Any) -> "PatientConnection":
        """Connect, and try again for a while.

        Raises:
            OperationalError: nobody answered for `PATIENCE_S`.
        """
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await super().connect(conninfo, **words)
            except OperationalError:
                if time.monotonic() > give_up_s:
                    raise
                await asyncio.sleep(PAUSE_S)


class Database:
    """A pool of connections to `DATABASE_URL`, whose address never changes; use it as `async with`."""

    def __init__(self, size: int = 4) -> None:
        self._pool: AsyncConnectionPool[PatientConnection] = AsyncConnectionPool(
            os.environ["DATABASE_URL"],
            connection_class=PatientConnection,
            kwargs={"connect_timeout": 5},
            min_size=size,
            max_size=size,
            timeout=PATIENCE_S,
            open=False,
        )

    async def __aenter__(self) -> "Database":
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def transact(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Rule 3: do `work` in a transaction, and all of it again when the connection breaks before its end is known.

        Raises:
            OperationalError: there was no primary for `PATIENCE_S`.
        """
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                async with self._pool.connection() as connection:  # commits at the end of the block
                    return await work(connection)
            except BROKEN:
                if time.monotonic() > give_up_s:
                    raise
                await self._pool.check()  # rule 1: replaces those that are dead
                await asyncio.sleep(PAUSE_S)


async def prepare(connection: Connection) -> None:
    """Make the table. Every instance does so when it starts; the lock lets one at a time, for else they collide."""
    await connection.execute("select pg_advisory_xact_lock(20151)")
    await connection.execute(
        "create table if not exists orders ("
        " key text primary key, item text not null, placed timestamptz not null default now(), packed timestamptz)"
    )
    await connection.execute("create index if not exists orders_newest on orders (placed)")
    await connection.execute("create index if not exists orders_unpacked on orders (placed) where packed is null")
