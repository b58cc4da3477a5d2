"""What pages show, gathered once for all who look at the same moment, and drawn on a thread of its own."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from everup.model.events import Event
from everup.web.headline import Headline, headline
from everup.web.looks import templates
from everup.web.ports import Desk, Json, Tongue
from everup.web.timeline import Row, rows

T = TypeVar("T")

FRESH_S = 0.15
"""So long one look serves everybody: many browsers that saw the same event cost as much as one."""

MOST = 200
"""Looks that are remembered."""

NEWEST = 600
"""Among so many events incidents are looked for."""


@dataclass(frozen=True)
class Scene:
    """One environment at one moment: `status` and `verdict` as the API has them, incidents the newest first."""

    status: Json
    verdict: Json
    headline: Headline
    incidents: list[Row]
    drills: list[Json]

    @property
    def newest(self) -> Row | None:
        """The newest incident; one that is not over comes first."""
        return next((one for one in self.incidents if not one.over), self.incidents[0] if self.incidents else None)

    def service(self, label: str) -> Json | None:
        """A service by its label."""
        return next((one for one in self.status["services"] if one["label"] == label), None)


class Sight:
    """Looks at the control plane and draws pages. The loop that watches nodes is not kept waiting for either."""

    def __init__(self, desk: Desk, tongue: Tongue) -> None:
        self._desk = desk
        self._tongue = tongue
        self._templates = templates()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dashboard")
        self._looks: dict[Hashable, tuple[float, asyncio.Future[Any]]] = {}

    async def scene(self, environment: str) -> Scene:
        """What there is to see of an environment. `NotFound` where there is none."""
        self._desk.picture(environment)
        return await self._shared(("scene", environment), lambda: self._look(environment))

    async def drawn(self, key: Hashable, template: str, **values: Any) -> str:
        """A template filled in; whoever asks for the same `key` at the same moment gets the same text."""
        return await self._shared(("drawn", key, template), lambda: self.draw(template, **values))

    async def draw(self, template: str, **values: Any) -> str:
        """A template filled in."""
        page = self._templates.get_template(template)
        return await self._aside(lambda: page.render(**values))

    async def _look(self, environment: str) -> Scene:
        picture = self._desk.picture(environment)
        events: list[Event] = [one async for one in self._desk.events(environment, after=-NEWEST, follow=False)]
        drills = self._desk.drills(environment)

        def read() -> Scene:
            status, verdict = self._tongue.status(picture), self._tongue.verdict(picture)
            return Scene(status, verdict, headline(status, verdict), rows(events, drills), drills)

        return await self._aside(read)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _shared(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        now_s = time.monotonic()
        made_s, look = self._looks.get(key, (0.0, None))
        if look is None or now_s - made_s > FRESH_S:
            look = asyncio.ensure_future(make())
            self._looks.pop(key, None)
            self._looks[key] = (now_s, look)
            while len(self._looks) > MOST:
                del self._looks[next(iter(self._looks))]
        found: T = await asyncio.shield(look)
        return found
