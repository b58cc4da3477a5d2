"""What is counted while the control plane runs: events, incidents, drills, times. Whoever listens says the time."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from everup.core.episodes import Episode, Episodes
from everup.model.events import Event

QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Bounds for what takes milliseconds: a turn of the loop."""

RTO_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
"""Bounds for how long a service did not work: from a failover at once to a restart that a person began."""

WHOLE_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Bounds for how long a service was not redundant."""


class Histogram:
    """How many values fell below each of some bounds, and what they add up to."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.total = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one more."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self._counts)

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """(bound, how many were at most that), the last bound being infinite."""
        return zip((*self.bounds, float("inf")), accumulate(self._counts), strict=True)


@dataclass
class Meter:
    """What one controller counts: how long its turns take (seconds), and by node the probes without an answer."""

    reconcile: Histogram = field(default_factory=lambda: Histogram(QUICK_S))
    misses: Counter[str] = field(default_factory=Counter)


class Tally:
    """Counts what is heard. Keys begin with environment and service.

    Attributes:
        events: (environment, name) -> how many.
        role_changes: how often another node became primary than was recorded before.
        incidents: (..., exited | hung, whether a drill caused it) -> how many began.
        drills: (..., fault, verdict) -> how many ended so.
        rto: (..., incident | drill) -> for how long writes, or the service, stood still, in seconds.
        whole: from what failed until the service was redundant again, in seconds; drills' incidents left out.
    """

    def __init__(self) -> None:
        self.episodes = Episodes()
        self.events: Counter[tuple[str, str]] = Counter()
        self.role_changes: Counter[tuple[str, str]] = Counter()
        self.incidents: Counter[tuple[str, str, str, bool]] = Counter()
        self.drills: Counter[tuple[str, str, str, str]] = Counter()
        self.rto: defaultdict[tuple[str, str, str], Histogram] = defaultdict(lambda: Histogram(RTO_S))
        self.whole: defaultdict[tuple[str, str], Histogram] = defaultdict(lambda: Histogram(WHOLE_S))

    def take(self, event: Event, now_s: float) -> None:
        """Count one event, heard at `now_s` (monotonic seconds)."""
        self.events[event.environment, event.name] += 1
        key = (event.environment, event.service or "")
        generation = event.fields.get("generation")
        if event.name == "primary.changed" and isinstance(generation, int) and generation > 1:
            self.role_changes[key] += 1
        if event.name == "drill.ended":
            self._drilled(key, event.fields)
        if episode := self.episodes.take(event, now_s):
            self._happened(key, episode)

    def _drilled(self, key: tuple[str, str], fields: Mapping[str, object]) -> None:
        self.drills[*key, str(fields.get("fault")), str(fields.get("verdict"))] += 1
        measured = fields.get("runs_rto_s")
        for rto_s in measured if isinstance(measured, list | tuple) else ():
            if isinstance(rto_s, int | float):
                self.rto[*key, "drill"].observe(rto_s)

    def _happened(self, key: tuple[str, str], episode: Episode) -> None:
        if len(episode.events) == 1:
            self.incidents[*key, episode.cause.name.removeprefix("node."), episode.rehearsed] += 1
        if episode.ended_s is None or episode.rehearsed:
            return
        self.whole[key].observe(episode.ended_s - episode.failed_s)
        if episode.standstill_s is not None:
            self.rto[*key, "incident"].observe(episode.standstill_s)


@dataclass(frozen=True)
class Certified:
    """The certificate that the API shows: when it expires, in seconds since 1970 (None: nobody can tell), and why what
    its files hold now is not taken; "" where it is."""

    expires_s: float | None
    refused: str = ""


@dataclass(frozen=True)
class Vitals:
    """Everything that is counted, as it stands: what happened, each environment's loop, and the control plane itself.

    `lag` tells how late the event loop was (seconds), `store_bytes` how much room the store takes, `notices` how many
    notifications were sent, failed or dropped, `waiting` how many are on their way; `certificate` is None where the API
    shows none.
    """

    tally: Tally
    meters: Mapping[str, Meter]
    lag: Histogram
    store_bytes: int
    since_utc: str
    notices: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0
    certificate: Certified | None = None
