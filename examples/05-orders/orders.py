"""Orders: `POST /orders` stores one in PostgreSQL, `GET /orders/{key}` reads it, by way of Redis. `/` is for people.

What makes it survive failovers is in database.py and cache.py; here an order only has a key of the client's choice, so
that one which arrives twice, because somebody did not hear the answer, is stored once.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cache import keep, recall
from database import Connection, Database, prepare
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse
from psycopg import OperationalError
from pydantic import BaseModel, Field

DATABASE = Database()
COLUMNS = "key, item, placed::text, packed::text"
PAGE = Path(__file__).with_name("page.html")


class Order(BaseModel):
    """What a client sends."""

    key: str = Field(min_length=1, max_length=100)
    item: str = Field(min_length=1, max_length=100)


@asynccontextmanager
async def life(_: FastAPI) -> AsyncIterator[None]:
    """From start to stop of one instance."""
    async with DATABASE:
        await DATABASE.transact(prepare)
        yield


app = FastAPI(title="orders", lifespan=life)


@app.exception_handler(OperationalError)
async def no_database(*_: object) -> JSONResponse:
    """No primary for longer than anybody should wait: say so, and let the client decide."""
    return JSONResponse({"detail": "the database does not answer; try again with the same key"}, 503)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """This process works. It asks no database: a failover there is no reason to take the instance out of service."""
    return {"status": "ok"}


@app.post("/orders", status_code=201)
async def place(order: Order) -> dict[str, Any]:
    """Store an order. A key that is known already leads to the order that has it."""

    async def insert(connection: Connection) -> dict[str, Any]:
        await connection.execute(
            "insert into orders (key, item) values (%s, %s) on conflict (key) do nothing", (order.key, order.item)
        )
        return await find(connection, order.key) or {}

    return await DATABASE.transact(insert)


@app.get("/orders/{key}")
async def read(key: str) -> dict[str, Any]:
    """One order; `source` tells who knew it."""
    if kept := await recall(f"order:{key}"):
        return {**json.loads(kept), "source": "redis"}
    found = await DATABASE.transact(lambda connection: find(connection, key))
    if found is None:
        raise HTTPException(404, f"there is no order {key}")
    await keep(f"order:{key}", json.dumps(found))
    return {**found, "source": "postgres"}


@app.get("/orders")
async def newest() -> dict[str, Any]:
    """The newest orders, at most a second old, and the instance that answers."""
    told = {"answered_by": f"{os.environ['HOST']}:{os.environ['PORT']}"}
    if kept := await recall("orders:newest"):
        return {**json.loads(kept), **told, "source": "redis"}

    async def select(connection: Connection) -> dict[str, Any]:
        rows = await connection.execute(f"select {COLUMNS} from orders order by placed desc limit 10")
        listed = [as_order(row) for row in await rows.fetchall()]
        counted = await (await connection.execute("select count(*), count(packed) from orders")).fetchone()
        return {"orders": listed, "placed": counted[0] if counted else 0, "packed": counted[1] if counted else 0}

    found = await DATABASE.transact(select)
    await keep("orders:newest", json.dumps(found), for_s=1)
    return {**found, **told, "source": "postgres"}


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page for people; it asks for `/orders` again and again."""
    return FileResponse(PAGE)


async def find(connection: Connection, key: str) -> dict[str, Any] | None:
    """The order with this key."""
    row = await (await connection.execute(f"select {COLUMNS} from orders where key = %s", (key,))).fetchone()
    return as_order(row) if row else None


def as_order(row: tuple[Any, ...]) -> dict[str, Any]:
    """A row of `COLUMNS` by name."""
    return dict(zip(("key", "item", "placed", "packed"), row, strict=True))
