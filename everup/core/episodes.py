"""Incidents as they happen: what failed, when the service worked again, and when all was well again.

`core.incident` finds the newest incident in a list of events; this follows every one of them, event by event.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from everup.core.incident import BEGINNINGS
from everup.model.events import Event

REHEARSED_S = 120.0
"""An incident that begins no longer than this after a run of a drill was announced is that drill's."""

LONGEST = 200
"""So many events of one incident are remembered."""


@dataclass(frozen=True)
class Episode:
    """One incident of one service. Moments are monotonic seconds.

    Attributes:
        events: its events, oldest first; the first says what failed.
        failed_s: when it failed, by the word of whoever noticed.
        stopped: the service did not work, for a moment at least, or its primary was replaced.
        working_s: when it worked again after that; None until then, and where it never stopped.
        ended_s: when it was whole again; None while it is not.
        rehearsed: a drill caused it.
    """

    environment: str
    service: str
    events: tuple[Event, ...]
    failed_s: float
    stopped: bool = False
    working_s: float | None = None
    ended_s: float | None = None
    rehearsed: bool = False

    @property
    def cause(self) -> Event:
        """What failed first."""
        return self.events[0]

    @property
    def standstill_s(self) -> float | None:
        """How long the service did not work, as Everup saw it; None where it went on, or does not work yet."""
        return self.working_s - self.failed_s if self.stopped and self.working_s is not None else None


class Episodes:
    """Follows the incidents of any number of environments."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Episode] = {}
        self._rehearsals: dict[tuple[str, str], float] = {}

    @property
    def open(self) -> Mapping[tuple[str, str], Episode]:
        """Those that are not over, by environment and service."""
        return self._open

    def retain(self, environment: str, services: Collection[str]) -> None:
        """Forget the incidents of services that the environment has no longer: nobody will say that they are over."""
        gone = [key for key in self._open if key[0] == environment and key[1] not in services]
        for key in gone:
            del self._open[key]

    def rehearsing(self, key: tuple[str, str], now_s: float) -> bool:
        """Whether a drill of that environment's service is going on."""
        return now_s - self._rehearsals.get(key, float("-inf")) < REHEARSED_S

    def take(self, event: Event, now_s: float) -> Episode | None:
        """Take in one event, heard at `now_s`; the incident that it begins, continues or ends, if any."""
        if event.name == "environment.stopped":
            self._open = {key: one for key, one in self._open.items() if key[0] != event.environment}
        if event.service is None:
            return None
        key = (event.environment, event.service)
        if event.name == "drill.started":
            self._rehearsals[key] = now_s
        elif event.name == "drill.ended":
            self._rehearsals.pop(key, None)
        before = self._open.get(key) or self._begun(key, event, now_s)
        if before is None:
            return None
        after = _continued(before, event, now_s)
        self._open[key] = after
        if after.ended_s is not None:
            del self._open[key]
        return after

    def _begun(self, key: tuple[str, str], event: Event, now_s: float) -> Episode | None:
        if event.name not in BEGINNINGS or event.fields.get("stand_in"):
            return None
        return Episode(*key, (), now_s - _unnoticed_s(event), rehearsed=self.rehearsing(key, now_s))


def _unnoticed_s(event: Event) -> float:
    """How long ago it failed, by its own word."""
    silent_s, noticed_ms = event.fields.get("silent_s"), event.fields.get("noticed_ms")
    if isinstance(silent_s, int | float):
        return float(silent_s)
    return float(noticed_ms) / 1000 if isinstance(noticed_ms, int | float) else 0.0


def _continued(before: Episode, event: Event, now_s: float) -> Episode:
    after = replace(before, events=(*before.events, event)[:LONGEST])
    led = event.name == "operation.ended" and event.fields.get("operation") == "failover" and event.fields.get("done")
    if event.name in ("service.down", "primary.changed") or led:
        after = replace(after, stopped=True)
    if event.name == "service.down":
        after = replace(after, working_s=None)
    works = led or (event.name == "primary.changed" and not _failing_over(before))
    if after.stopped and after.working_s is None and (works or event.name in ("service.degraded", "service.healthy")):
        after = replace(after, working_s=now_s)
    return replace(after, ended_s=now_s) if event.name == "service.healthy" else after


def _failing_over(episode: Episode) -> bool:
    """A failover of Everup's is under way: the end of it tells when the service works again."""
    begun = [
        one.name
        for one in episode.events
        if one.name.startswith("operation.") and one.fields.get("operation") == "failover"
    ]
    return bool(begun) and begun[-1] == "operation.started"
