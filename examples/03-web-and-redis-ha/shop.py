"""A shop that takes orders: `PUT /orders/7` stores number 7, `GET /orders` lists what is stored.

All that makes it survive a failover is in `STORE`: a client that tries again for a few seconds. An order may
arrive twice that way, and storing it twice changes nothing.
"""

import os

from fastapi import FastAPI
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError

STORE = Redis.from_url(
    os.environ["REDIS_URL"],
    decode_responses=True,
    socket_timeout=2,
    retry=Retry(ExponentialBackoff(cap=0.2, base=0.01), retries=50),
    retry_on_error=[ConnectionError, TimeoutError, ReadOnlyError],
)

app = FastAPI(title="shop")


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """This process works. It does not ask Redis: a failover there is no reason to take the shop out of service."""
    return {"status": "ok"}


@app.put("/orders/{number}")
async def put_order(number: int) -> dict[str, int]:
    """Store an order."""
    await STORE.sadd("orders", number)
    return {"stored": number}


@app.get("/orders")
async def orders() -> dict[str, object]:
    """Every stored order, and the process that answers."""
    numbers = await STORE.smembers("orders")
    return {"orders": sorted(int(number) for number in numbers), "answered_by": os.getpid()}
