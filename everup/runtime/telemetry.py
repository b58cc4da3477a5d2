"""Listening to what happens and to the event loop, so that it can be counted."""

import asyncio
import time

from everup.core.tally import QUICK_S, Certified, Histogram, Tally
from everup.model.events import Event
from everup.runtime.store import Store

BEAT_EVERY_S = 1.0
"""How often it is looked how late the event loop is."""


class Telemetry:
    """What one control plane has counted since it started."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.lag = Histogram(QUICK_S)
        self.certificate: Certified | None = None

    def hear(self, event: Event) -> None:
        """Count an event, as it is said."""
        self.tally.take(event, time.monotonic())

    async def watch_loop(self) -> None:
        """Measure how late the event loop wakes, for ever."""
        while True:
            due_s = time.monotonic() + BEAT_EVERY_S
            await asyncio.sleep(BEAT_EVERY_S)
            self.lag.observe(max(time.monotonic() - due_s, 0.0))


def store_bytes(store: Store) -> int:
    """How much room the store takes on the disk, its log of writes included."""
    files = (store.path, store.path.with_name(f"{store.path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
