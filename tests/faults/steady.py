"""Writers as threads: one number after the other into a set, one write in flight, every attempt journalled."""

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.sentinel import Sentinel

from tests.faults.truth import Truth
from tests.journal import Write, acknowledged, longest_gap_s, lost

Connect = Callable[[], "redis.Redis[Any]"]


class Steady:
    """Writes until stopped. `connect` gives the client; after an error the next number is written, none twice."""

    def __init__(self, connect: Connect, key: str, pause_s: float = 0.005) -> None:
        self.key, self._connect, self._pause_s = key, connect, pause_s
        self._writes: list[Write] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @classmethod
    def by_url(cls, truth: Truth, key: str) -> "Steady":
        """A writer that knows REDIS_URL only."""
        url = truth.variables["REDIS_URL"]
        return cls(lambda: redis.Redis.from_url(url, socket_timeout=5, retry=None), key)

    @classmethod
    def by_sentinels(cls, truth: Truth, key: str) -> "Steady":
        """A writer that asks the published Sentinels for the primary."""
        entries = [entry.rsplit(":", 1) for entry in truth.variables["REDIS_SENTINEL_LIST"].split(",")]
        addresses = [(host, int(port)) for host, port in entries]
        words = {"password": truth.password} if truth.password else {}
        sentinel = Sentinel(addresses, socket_timeout=1, sentinel_kwargs={**words, "socket_timeout": 1})
        return cls(lambda: sentinel.master_for(truth.label, socket_timeout=5, **words), key)

    def __enter__(self) -> "Steady":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def writes(self) -> list[Write]:
        """Every attempt so far."""
        return list(self._writes)

    def wait(self, count: int, after_s: float = 0.0, within_s: float = 120.0) -> None:
        """Wait until `count` writes sent after `after_s` (monotonic seconds) were acknowledged."""
        give_up_s = time.monotonic() + within_s
        while sum(1 for write in acknowledged(self.writes) if write.sent_s > after_s) < count:
            assert time.monotonic() < give_up_s, f"{self.key}: no {count} writes; newest {self._writes[-2:]}"
            time.sleep(0.02)

    def stop(self) -> list[Write]:
        """End it; returns every attempt."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(60)
        return self.writes

    def errors(self) -> list[str]:
        """What it was refused."""
        return [write.error for write in self.writes if write.error]

    def gap_s(self, fault_s: float) -> float:
        """How long writing stood still around a fault, seconds."""
        return longest_gap_s(self.writes, fault_s)

    def lost(self, truth: Truth) -> list[int]:
        """Acknowledged writes that the primary does not hold."""
        return lost(self.writes, truth.numbers(self.key))

    def _run(self) -> None:
        client = self._connect()
        for n in itertools.count(1):
            if self._over.is_set():
                return
            sent_s, error = time.monotonic(), None
            try:
                client.sadd(self.key, n)
            except (redis.RedisError, OSError) as caught:
                error = f"{type(caught).__name__}: {caught}"
            self._writes.append(Write(n, sent_s, time.monotonic(), error))
            self._over.wait(self._pause_s)
