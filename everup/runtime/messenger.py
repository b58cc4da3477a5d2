"""Tells people what happened: listens, waits until there is something to tell, and has it delivered."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Sequence

from everup.core.check import check, meant_to_last
from everup.core.notices import Announcer, Story
from everup.model.errors import EverupError, NotFound, Refused
from everup.model.events import Event
from everup.model.findings import Level
from everup.model.notices import Delivery, Destination, Letter, Notice, Tone
from everup.runtime.courier import RETRY_S, Courier, carry
from everup.runtime.environments import Environments, Running

LOOK_EVERY_S = 1.0
CHECK_EVERY_S = 15.0
"""How often it is checked whether any one node can be lost."""


class Messenger:
    """Sends notices about all environments to all destinations that want them."""

    def __init__(self, environments: Environments, retry_s: Sequence[float] = RETRY_S) -> None:
        self._environments = environments
        self._announcer = Announcer(lambda events: events[0].name)
        self._checked_s = float("-inf")
        self.courier = Courier(environments.store, retry_s, self._given_up)

    def hear(self, event: Event) -> None:
        """Take in an event, as it is said."""
        self._announcer.take(event, time.monotonic())

    async def run(self, story: Story) -> None:
        """Tell what is to be told, until cancelled; `story` tells the events of an incident in one line."""
        self._announcer.story = story
        try:
            await self._told_on_failure(self.courier.resume())
            await self._seal()
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                await self._told_on_failure(self._look(time.monotonic()))
        finally:
            self.courier.stop()

    async def post(self, notice: Notice) -> None:
        """Have a notice delivered, in the background, to whoever wants it."""
        for destination in self.destinations():
            if destination.wants(notice):
                await self.courier.send(destination.name, notice)

    def destinations(self) -> tuple[Destination, ...]:
        """Where notices go."""
        return self._environments.store.destinations.all()

    async def add(self, destination: Destination, url: str) -> None:
        """Send notices there as well, from now on.

        Raises:
            Refused: there is one of that name, or nobody understands its URL.
        """
        tried = await carry(destination.name, url, None)
        if not tried.sent:
            raise Refused(f"{destination.name} was not added: {tried.because}", code="refused.destination")
        await self._environments.store.destinations.add(destination, url)

    async def remove(self, name: str) -> None:
        """Send nothing there any more; what waits for it is dropped. `NotFound` where there is none."""
        await self._environments.store.destinations.remove(name)
        self.courier.drop(name)

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
        return tuple(await asyncio.gather(*(self.courier.once(one.name, notice) for one in chosen)))

    async def _seal(self) -> None:
        try:
            await self._environments.store.destinations.seal()
        except EverupError as error:  # they work all the same
            print(f"the URLs of notifications are not encrypted yet: {error.message}", file=sys.stderr, flush=True)

    async def _told_on_failure(self, work: Awaitable[None]) -> None:
        """What goes wrong costs a message at most, and not those to come."""
        try:
            await work
        except Exception as error:
            print(f"a message was not sent: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def _given_up(self, letter: Letter, done: Delivery) -> None:
        notice = letter.notice
        if notice.environment in self._environments.names():
            journal = self._environments.get(notice.environment).controller.journal
            fields = {"destination": letter.destination, "title": notice.title, "because": done.because}
            journal.say("notice.failed", notice.service, **fields)

    async def _look(self, now_s: float) -> None:
        if now_s - self._checked_s >= CHECK_EVERY_S and self.destinations():
            self._checked_s = now_s
            for name in self._environments.names():
                running = self._environments.get(name)
                self._announcer.retain(name, [one.label for one in running.controller.blueprints])
                self._announcer.bare(name, _bare(running), now_s)
        for notice in self._announcer.due(now_s):
            await self.post(notice)


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
