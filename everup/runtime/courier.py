"""Delivers notices, each in a process of its own: kept in the store until then, in order, again if need be."""

import asyncio
import json
import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from everup.model.errors import EverupError, NotFound
from everup.model.notices import Delivery, Letter, Notice, without_secrets
from everup.runtime.store import Store
from everup.runtime.subprogram import ProgramFailed, told_by

DELIVER_S = 25.0
"""How long one attempt may take; whoever asks for a test waits for it, and their connection gives up after 30 s."""

RETRY_S = (2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0)
"""How long to wait after each attempt that failed: for more than an hour in all."""

WAITING = 100
"""So many messages may wait for one destination; the oldest are dropped."""

AT_ONCE = 2
"""So many deliveries may be under way."""

KEPT_S = 2 * 3600.0
"""A message that could not be delivered for so long is given up: nobody is helped by yesterday's."""

LATE_S = 60.0
"""A message that is delivered so long after it was written says when that was."""


class Courier:
    """Has a line of letters for each destination; each is delivered at least once, by this control plane or the next.

    Args:
        failed: is told of each letter that was given up.
    """

    def __init__(self, store: Store, retry_s: Sequence[float], failed: Callable[[Letter, Delivery], None]) -> None:
        self._store = store
        self._retry_s = retry_s
        self._failed = failed
        self._lines: dict[str, deque[Letter]] = {}  # the first of each is under way
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)
        self.outcomes: Counter[str] = Counter(sent=0, failed=0, dropped=0)

    @property
    def waiting(self) -> int:
        """How many letters are not delivered yet."""
        return sum(map(len, self._lines.values()))

    async def resume(self) -> None:
        """Take up what a former control plane could not deliver."""
        known = {one.name for one in self._store.destinations.all()}
        for letter in self._store.outbox.all():
            if letter.destination in known:
                await self._line_up(letter)

    async def send(self, name: str, notice: Notice) -> None:
        """Have a notice delivered, in the background.

        It is on the disk before it is under way, where the disk takes it. One that says what the last one says that
        waits there about the same service is left out.
        """
        about = [one.notice for one in self._lines.get(name, ()) if _subject(one.notice) == _subject(notice)]
        if notice in about[-1:]:
            return
        letter = Letter(name, notice, datetime.now(UTC).isoformat(timespec="seconds"))
        try:
            letter = await self._store.outbox.put(letter)
        except EverupError as error:
            print(f"a message waits in memory only: {error.message}", file=sys.stderr, flush=True)
        await self._line_up(letter)

    def drop(self, name: str) -> None:
        """Deliver nothing more of what waits for a destination that is gone."""
        if task := self._tasks.pop(name, None):
            task.cancel()
        self._lines.pop(name, None)

    def stop(self) -> None:
        """Deliver nothing more; what waits stays in the store."""
        for task in self._tasks.values():
            task.cancel()

    async def once(self, name: str, notice: Notice) -> Delivery:
        """One attempt, at once."""
        async with self._turn:
            try:
                url = await asyncio.to_thread(self._store.destinations.url, name)
            except NotFound:
                return Delivery(name, False, "it was removed", lasting=True)
            except EverupError as error:  # its key may come back
                return Delivery(name, False, error.message)
            return await carry(name, url, notice)

    async def _line_up(self, letter: Letter) -> None:
        name = letter.destination
        line = self._lines.setdefault(name, deque())
        line.append(letter)
        if len(line) > WAITING:
            oldest = line[1]
            del line[1]
            self.outcomes["dropped"] += 1
            await self._done_with(oldest)
        task = self._tasks.get(name)
        if task is None or task.done():
            self._tasks[name] = asyncio.create_task(self._deliver_all(line), name=f"notify {name}")

    async def _deliver_all(self, line: deque[Letter]) -> None:
        """Deliver what waits for a destination, in order, until nothing does."""
        while line:
            letter = line[0]
            done = await self._deliver(letter)
            self.outcomes["sent" if done.sent else "failed"] += 1
            await self._done_with(letter)
            line.popleft()
            if not done.sent:
                self._failed(letter, done)

    async def _done_with(self, letter: Letter) -> None:
        with suppress(EverupError):  # it stays, and is delivered once more by the next control plane
            await self._store.outbox.take([letter])

    async def _deliver(self, letter: Letter) -> Delivery:
        name = letter.destination
        done = Delivery(name, False, f"it waited for more than {KEPT_S / 3600:.0f} h", lasting=True)
        for pause_s in (*self._retry_s, None):
            age_s = (datetime.now(UTC) - datetime.fromisoformat(letter.at_utc)).total_seconds()
            if age_s > KEPT_S:
                break
            done = await self.once(name, letter.notice if age_s < LATE_S else _late(letter))
            if done.sent or done.lasting or pause_s is None:
                break
            await asyncio.sleep(pause_s)
        return done


def _subject(notice: Notice) -> tuple[str, str]:
    return notice.environment, notice.service


def _late(letter: Letter) -> Notice:
    """What is sent long after it was written."""
    when = letter.at_utc[:19].replace("T", " ")
    return replace(
        letter.notice, body=f"{letter.notice.body}\nThis was at {when} UTC; it could not be told then.".strip()
    )


async def carry(name: str, url: str, notice: Notice | None) -> Delivery:
    """One attempt; without a notice the URL is only looked over."""
    message = {"url": url}
    if notice:
        message |= {"title": notice.title, "body": notice.body or notice.title, "type": notice.tone.value}
    try:
        told = await told_by("deliver", within_s=DELIVER_S, given=json.dumps(message))
    except (ProgramFailed, OSError) as error:
        return Delivery(name, False, without_secrets(f"delivering it {error}", url))
    return Delivery(name, bool(told["sent"]), str(told["because"]), bool(told["lasting"]))
