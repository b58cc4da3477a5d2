"""Packs what was ordered, oldest first, and goes on after every failover. Several packers may run side by side."""

import asyncio

from cache import forget
from database import Connection, Database, prepare
from psycopg import OperationalError

BATCH = 50
IDLE_S = 0.5


async def pack(connection: Connection) -> list[str]:
    """Mark the oldest orders as packed. `skip locked` leaves those alone that another packer has in hand."""
    packed = await connection.execute(
        "update orders set packed = now() where key in"
        " (select key from orders where packed is null order by placed limit %s for update skip locked)"
        " returning key",
        (BATCH,),
    )
    return [key for (key,) in await packed.fetchall()]


async def main() -> None:
    """Pack for ever."""
    async with Database(size=1) as database:
        await database.transact(prepare)
        print("waiting for orders", flush=True)
        while True:
            try:
                keys = await database.transact(pack)
            except OperationalError as error:  # for longer than the database's patience; a packer has all day
                print(f"trying again: {error}", flush=True)
                continue
            if keys:
                await forget(*(f"order:{key}" for key in keys))
                print(f"packed {len(keys)}", flush=True)
            else:
                await asyncio.sleep(IDLE_S)


asyncio.run(main())
