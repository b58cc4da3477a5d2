"""How often somebody may ask: a bucket of requests each, which fills again with time."""

import time
from collections.abc import Callable

REMEMBERED = 4096
"""Callers of whom the newest requests are counted; beyond, those whose buckets are full again are forgotten."""


class Meter:
    """Admits `rate` requests a second from each caller, and up to `burst` at once."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, who: str) -> float:
        """0.0 when one more request is admitted, which is counted; else after how many seconds the next one is."""
        if due_s := self.due_s(who):
            return due_s
        now_s = self._clock()
        if len(self._buckets) >= REMEMBERED and who not in self._buckets:
            self._forget(now_s)
        self._buckets[who] = (self._left(who, now_s) - 1, now_s)
        return 0.0

    def due_s(self, who: str) -> float:
        """As `wait_s`, and counts nothing."""
        left = self._left(who, self._clock())
        return 0.0 if left >= 1 else (1 - left) / self._rate

    def _left(self, who: str, now_s: float) -> float:
        left, at_s = self._buckets.get(who, (float(self._burst), now_s))
        return min(left + (now_s - at_s) * self._rate, float(self._burst))

    def _forget(self, now_s: float) -> None:
        """Those with full buckets, or, where a flood leaves none of them, everybody."""
        kept = {who: one for who, one in self._buckets.items() if self._left(who, now_s) < self._burst}
        self._buckets = kept if len(kept) < REMEMBERED else {}
