"""The events of one environment: said once, stored soon, streamed at once."""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from everup.model.errors import EverupError
from everup.model.events import CATALOGUE, Event
from everup.runtime.store import Store

Hear = Callable[[Event], None]
"""Told each event as it is said, and quick about it."""

FLUSH_S = 0.05
RECENT = 2000


class Journal:
    """Takes events from the loop without making it wait; keeps the newest in memory for those who listen."""

    def __init__(self, environment: str, store: Store, hearers: Sequence[Hear] = ()) -> None:
        self.environment = environment
        self._hearers = hearers
        self._store = store
        self._recent: deque[Event] = deque(store.events(environment, -RECENT), maxlen=RECENT)
        self._unsaved: list[Event] = []
        self._news = asyncio.Event()

    def say(self, name: str, service: str | None = None, node: str | None = None, **fields: object) -> Event:
        """Note that something happened; `name` is in the catalogue of events."""
        assert name in CATALOGUE, name
        at_utc = datetime.now(UTC).isoformat(timespec="milliseconds")
        event = Event(name, self.environment, at_utc, service, node, fields, self._store.number())
        self._recent.append(event)
        self._unsaved.append(event)
        for hear in self._hearers:
            try:
                hear(event)
            except Exception as error:  # whoever counts or tells must never break who decides
                print(f"{name} was not heard: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        self._news.set()
        self._news = asyncio.Event()
        return event

    async def keep(self) -> None:
        """Store what was said, some milliseconds after, for ever; while the disk is full the newest events wait."""
        while True:
            if not self._unsaved:
                await self._news.wait()
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Store what was said and is not stored yet."""
        batch = self._unsaved[:]
        if not batch:
            return
        with suppress(EverupError):
            await self._store.append(batch)
            self._unsaved = [event for event in self._unsaved if event.seq > batch[-1].seq]
        del self._unsaved[:-RECENT]

    def recent(self) -> list[Event]:
        """The newest events, oldest first."""
        return list(self._recent)

    async def follow(self, after: int, *, forever: bool) -> AsyncIterator[Event]:
        """Events numbered above `after` (negative: the newest `-after`), then, with `forever`, each as it is said."""
        await self.flush()
        while after < 0 or not self._recent or after < self._recent[0].seq - 1:
            page = self._store.events(self.environment, after)
            for event in page:
                after = event.seq
                yield event
            if not page or after < 0:
                break
        after = max(after, 0)
        while True:
            news = self._news
            for event in [event for event in self._recent if event.seq > after]:
                after = event.seq
                yield event
            if not forever:
                return
            if news is self._news:
                await news.wait()
