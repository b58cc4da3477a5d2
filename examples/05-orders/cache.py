"""Redis as a cache: nothing is lost with it, so nobody waits for it. Away, it is a slower answer, never an error."""

import os

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ReadOnlyError, RedisError, TimeoutError

KEPT_S = 10
"""How long a copy is kept, and so how old an answer can be when the word that it has changed got lost."""

REDIS = Redis.from_url(
    os.environ["REDIS_URL"],
    decode_responses=True,
    socket_timeout=0.5,
    socket_connect_timeout=0.5,
    # One more try, at once: a failover has cut the idle connections, and the next one leads to the new primary.
    retry=Retry(NoBackoff(), retries=1),
    retry_on_error=[ConnectionError, TimeoutError, ReadOnlyError],
)


async def recall(key: str) -> str | None:
    """What is kept under `key`; None when there is nothing, or no Redis."""
    try:
        kept: str | None = await REDIS.get(key)
    except RedisError:
        return None
    return kept


async def keep(key: str, text: str, for_s: int = KEPT_S) -> None:
    """Keep a copy, where that is possible."""
    try:
        await REDIS.set(key, text, ex=for_s)
    except RedisError:
        pass


async def forget(*keys: str) -> None:
    """Drop copies of what has changed."""
    try:
        await REDIS.delete(*keys)
    except RedisError:
        pass
