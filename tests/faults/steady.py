"""Writers to a Redis group as threads: one number after the other into a set, one write in flight."""

from typing import Any

import redis
from redis.sentinel import Sentinel

from tests.faults.truth import Truth
from tests.journal import lost
from tests.repeated import Repeated


class Steady(Repeated):
    """Writes into the set `key` until stopped. After an error the next number is written, none twice."""

    def __init__(self, client: "redis.Redis[Any]", key: str) -> None:
        super().__init__(lambda n: client.sadd(key, n))
        self.key = key

    @classmethod
    def by_url(cls, truth: Truth, key: str) -> "Steady":
        """A writer that knows REDIS_URL only."""
        return cls(redis.Redis.from_url(truth.variables["REDIS_URL"], socket_timeout=5, retry=None), key)

    @classmethod
    def by_sentinels(cls, truth: Truth, key: str) -> "Steady":
        """A writer that asks the published Sentinels for the primary."""
        entries = [entry.rsplit(":", 1) for entry in truth.variables["REDIS_SENTINEL_LIST"].split(",")]
        addresses = [(host, int(port)) for host, port in entries]
        words = {"password": truth.password} if truth.password else {}
        sentinel = Sentinel(addresses, socket_timeout=1, sentinel_kwargs={**words, "socket_timeout": 1})
        return cls(sentinel.master_for(truth.label, socket_timeout=5, **words), key)

    def __enter__(self) -> "Steady":
        super().__enter__()
        return self

    def lost(self, truth: Truth) -> list[int]:
        """Acknowledged writes that the primary does not hold."""
        return lost(self.writes, truth.numbers(self.key))
