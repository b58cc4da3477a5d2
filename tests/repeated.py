"""A client as a thread: one request after the other until stopped, every attempt journalled."""

import itertools
import threading
import time
from collections.abc import Callable

from tests.journal import Write, acknowledged, longest_gap_s


class Repeated:
    """Calls `write` with 1, 2, 3, ...; what it raises is journalled, and no number is tried twice.

    `pause_s` is how long the client thinks between two requests, seconds; after an error at most 5 ms.
    """

    def __init__(self, write: Callable[[int], object], pause_s: float = 0.005) -> None:
        self._write, self._pause_s = write, pause_s
        self._writes: list[Write] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Repeated":
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
            assert time.monotonic() < give_up_s, f"no {count} writes; newest {self._writes[-2:]}"
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

    def _run(self) -> None:
        for n in itertools.count(1):
            if self._over.is_set():
                return
            sent_s, error = time.monotonic(), None
            try:
                self._write(n)
            except Exception as caught:
                error = f"{type(caught).__name__}: {caught}"
            self._writes.append(Write(n, sent_s, time.monotonic(), error))
            self._over.wait(min(self._pause_s, 0.005) if error else self._pause_s)
