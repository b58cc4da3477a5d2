"""The groups that are measured side by side, each behind the same few methods."""

import os
import signal
import time
from pathlib import Path
from typing import Protocol

from redis import Redis

from benchmarks.stock import StockGroup
from tests.everup_cli import Everup

SPEC = """\
environment: bench
services:
  redis01: {kind: redis, ha: true}
"""


class Group(Protocol):
    """A Redis group that can be broken and read back."""

    def __enter__(self) -> "Group": ...
    def __exit__(self, *_: object) -> None: ...
    def variables(self) -> dict[str, str]: ...
    def inject(self, fault: str) -> float:
        """Break the primary (`kill`, `node-loss`, `hang`, `control-dead`); returns the moment, monotonic seconds."""
        ...

    def members(self, key: str) -> set[int]: ...
    def settle(self) -> float:
        """Wait until the group is whole again; returns the seconds that took."""
        ...


class EverupGroup:
    """Redis HA as `everup up` brings it up."""

    def __init__(self) -> None:
        self.everup = Everup(SPEC)

    def __enter__(self) -> "EverupGroup":
        try:
            self.everup("up")
        except BaseException:
            self.everup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.everup.close()

    def variables(self) -> dict[str, str]:
        return self.everup.variables("redis01")

    def inject(self, fault: str) -> float:
        primary = self.everup.primary("redis01")
        if fault == "node-loss":
            return self.everup.inject(primary["id"], fault, for_s=30)
        if fault == "control-dead":
            os.kill(self.everup.control_plane(), signal.SIGKILL)
            time.sleep(0.5)
        return self.everup.kill(primary, signal.SIGSTOP if fault == "hang" else signal.SIGKILL)

    def members(self, key: str) -> set[int]:
        with Redis.from_url(self.variables()["REDIS_URL"], socket_timeout=60) as client:
            return {int(number) for number in client.smembers(key)}

    def settle(self) -> float:
        started_s = time.monotonic()
        self.everup.wait_healthy(timeout_s=120)
        return time.monotonic() - started_s


class PlainGroup(StockGroup):
    """A stock group; nobody restarts its dead nodes, so a fresh one is made for every fault."""

    def inject(self, fault: str) -> float:
        _, now_s = self.signal_primary(signal.SIGSTOP if fault == "hang" else signal.SIGKILL)
        return now_s

    def settle(self) -> float:
        return 0.0


def make(name: str) -> Group:
    """The group called `everup`, `stock` (Sentinel's default timers) or `tuned` (down-after 1 s)."""
    if name == "everup":
        return EverupGroup()
    if name == "stock":
        return PlainGroup("127.60.1")
    return PlainGroup("127.60.2", down_after_ms=1000, failover_timeout_ms=3000)


def fill(url_or_host: str, bytes_total: int) -> None:
    """Put random values of 100 kB into a database until it holds `bytes_total`."""
    url = url_or_host if "://" in url_or_host else f"redis://{url_or_host}:6379"
    with Redis.from_url(url, socket_timeout=120) as client:
        for start in range(0, bytes_total // 100_000, 100):
            pipe = client.pipeline(transaction=False)
            for n in range(start, start + 100):
                pipe.set(f"filling:{n}", os.urandom(100_000))
            pipe.execute()


WRITER_FILES = Path(__file__).parent / "writers"
