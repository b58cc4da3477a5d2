"""Tells people what happened: listens, waits until there is something to tell, and delivers it, again if need be.

What is sent is carried by a process of its own; the control loop never waits for it.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence

from everup.core.check import check, meant_to_last
from everup.core.notices import Announcer, Story
from everup.model.errors import NotFound, Refused
from everup.model.events import Event
from everup.model.findings import Level
from everup.model.notices import Delivery, Destination, Notice, Tone, without_secrets
from everup.runtime.environments import Environments, Running
from everup.runtime.subprogram import ProgramFailed, told_by

LOOK_EVERY_S = 1.0
CHECK_EVERY_S = 15.0
"""How often it is checked whether any one node can be lost."""

DELIVER_S = 25.0
"""How long one attempt may take; whoever asks for a test waits for it, and their connection gives up after 30 s."""

RETRY_S = (2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0)
"""How long to wait after each attempt that failed: for more than an hour in all."""

WAITING = 100
"""So many messages may wait for one destination; the oldest are dropped."""

AT_ONCE = 2
"""So many deliveries may be under way."""


class Messenger:
    """Sends notices about all environments to all destinations that want them."""

    def __init__(self, environments: Environments, retry_s: Sequence[float] = RETRY_S) -> None:
        self._environments = environments
        self._announcer = Announcer(lambda events: events[0].name)
        self._retry_s = retry_s
        self._lines: dict[str, asyncio.Queue[Notice]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._checked_s = float("-inf")
        self.outcomes: Counter[str] = Counter(sent=0, failed=0, dropped=0)

    @property
    def waiting(self) -> int:
        """How many messages are not delivered yet."""
        return sum(line.qsize() for line in self._lines.values())

    def hear(self, event: Event) -> None:
        """Take in an event, as it is said."""
        self._announcer.take(event, time.monotonic())

    async def run(self, story: Story) -> None:
        """Tell what is to be told, until cancelled; `story` tells the events of an incident in one line."""
        self._announcer.story = story
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                try:
                    self._look(time.monotonic())
                except Exception as error:  # costs a message at most, and not those to come
                    print(f"a message was not sent: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            for task in self._tasks.values():
                task.cancel()

    def post(self, notice: Notice) -> None:
        """Have a notice delivered, in the background, to whoever wants it."""
        for destination in self.destinations():
            if not destination.wants(notice):
                continue
            line = self._lines.setdefault(destination.name, asyncio.Queue())
            if line.qsize() >= WAITING:
                line.get_nowait()
                self.outcomes["dropped"] += 1
            line.put_nowait(notice)
            task = self._tasks.get(destination.name)
            if task is None or task.done():
                work = self._deliver_all(destination.name, line)
                self._tasks[destination.name] = asyncio.create_task(work, name=f"notify {destination.name}")

    def destinations(self) -> tuple[Destination, ...]:
        """Where notices go."""
        return self._environments.store.destinations.all()

    async def add(self, destination: Destination) -> None:
        """Send notices there as well, from now on.

        Raises:
            Refused: there is one of that name, or nobody understands its URL.
        """
        tried = await _carry(destination, None)
        if not tried.sent:
            raise Refused(f"{destination.name} was not added: {tried.because}", code="refused.destination")
        await self._environments.store.destinations.add(destination)

    async def remove(self, name: str) -> None:
        """Send nothing there any more; what waits for it is dropped. `NotFound` where there is none."""
        await self._environments.store.destinations.remove(name)
        if task := self._tasks.pop(name, None):
            task.cancel()
        self._lines.pop(name, None)

    async def test(self, name: str | None) -> tuple[Delivery, ...]:
        """Send a message to one destination, or to all of them, once; what became of it.

        Raises:
            NotFound: there is none, or none of that name.
        """
        chosen = [one for one in self.destinations() if name in (None, one.name)]
        if not chosen:
            what = f"no destination {name}" if name else "no destination"
            raise NotFound(f"there is {what}", "Add one: everup notify add NAME", code="notify.nowhere")
        words = "If you can read this, Everup's notifications reach you here."
        notice = Notice("", "", frozenset(), Tone.INFO, "Everup: a test", words)
        return tuple(await asyncio.gather(*(self._carry(one, notice) for one in chosen)))

    def _look(self, now_s: float) -> None:
        if now_s - self._checked_s >= CHECK_EVERY_S and self.destinations():
            self._checked_s = now_s
            for name in self._environments.names():
                running = self._environments.get(name)
                self._announcer.retain(name, [one.label for one in running.controller.blueprints])
                self._announcer.bare(name, _bare(running), now_s)
        for notice in self._announcer.due(now_s):
            self.post(notice)

    async def _deliver_all(self, name: str, line: "asyncio.Queue[Notice]") -> None:
        """Deliver what waits for a destination, in order, until nothing does."""
        while not line.empty():
            notice = line.get_nowait()
            done = await self._deliver(name, notice)
            self.outcomes["sent" if done.sent else "failed"] += 1
            if not done.sent and notice.environment in self._environments.names():
                journal = self._environments.get(notice.environment).controller.journal
                journal.say("notice.failed", notice.service, destination=name, title=notice.title, because=done.because)

    async def _deliver(self, name: str, notice: Notice) -> Delivery:
        done = Delivery(name, False, "it was removed", lasting=True)
        for pause_s in (*self._retry_s, None):
            destination = next((one for one in self.destinations() if one.name == name), None)
            if destination is None:
                return done
            done = await self._carry(destination, notice)
            if done.sent or done.lasting or pause_s is None:
                break
            await asyncio.sleep(pause_s)
        return done

    async def _carry(self, destination: Destination, notice: Notice) -> Delivery:
        async with self._turn:
            return await _carry(destination, notice)


def _bare(running: Running) -> dict[str, str]:
    """The services of an environment that should survive the loss of a node now and would not, each with the reason."""
    if running.saved.stopped:
        return {}
    blueprints = running.controller.blueprints
    meant = {one.label for one in blueprints if meant_to_last(one)}
    found = check(blueprints, running.controller.observed())
    return {
        one.label: "; ".join(finding.because for finding in one.findings if finding.level == Level.NO)
        for one in found.services
        if one.label in meant and not one.survives_node
    }


async def _carry(destination: Destination, notice: Notice | None) -> Delivery:
    """One attempt; without a notice the URL is only looked over."""
    message = {"url": destination.url}
    if notice:
        message |= {"title": notice.title, "body": notice.body or notice.title, "type": notice.tone.value}
    try:
        told = await told_by("deliver", within_s=DELIVER_S, given=json.dumps(message))
    except (ProgramFailed, OSError) as error:
        return Delivery(destination.name, False, without_secrets(f"delivering it {error}", destination.url))
    return Delivery(destination.name, bool(told["sent"]), str(told["because"]), bool(told["lasting"]))
