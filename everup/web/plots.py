"""The history of drills as a plot for each service: how long writes stood still, run by run, against the target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from everup.core.words import duration

Json = dict[str, Any]

WIDTH, HEIGHT = 640.0, 180.0
"""Of the area for dots, in the units of the picture."""

TICKS_S = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)

MOST_RUNS = 60


@dataclass(frozen=True)
class Dot:
    """One run; its shape and colour come from `verdict`."""

    x: float
    y: float
    verdict: str
    words: str


@dataclass(frozen=True)
class Tick:
    """A line across, with its label."""

    y: float
    words: str


@dataclass(frozen=True)
class Band:
    """The runs of one drill: a stripe from `x` on, every other one shaded."""

    x: float
    width: float
    shaded: bool


@dataclass(frozen=True)
class Plot:
    """All runs of a service's drills, oldest first; `target` is the newest target, if there is one."""

    service: str
    dots: tuple[Dot, ...]
    bands: tuple[Band, ...]
    ticks: tuple[Tick, ...]
    target: Tick | None
    runs: int
    median_s: float | None
    worst_s: float | None


def plots(drills: Sequence[Json]) -> list[Plot]:
    """One plot for each service, in order of its newest drill; `drills` oldest first, as the API lists them."""
    services = dict.fromkeys(drill["service"] for drill in reversed(drills))
    return [_plot(name, [drill for drill in drills if drill["service"] == name]) for name in services]


def _plot(service: str, drills: Sequence[Json]) -> Plot:
    runs = [(number, drill, run) for number, drill in enumerate(drills) for run in drill["runs"]][-MOST_RUNS:]
    times = sorted(run["rto_s"] for _, _, run in runs if run["rto_s"] is not None)
    target_s = drills[-1]["summary"]["targets"]["rto_s"]
    shown = [*times, *([target_s] if target_s else [])] or [1.0]
    low_s = max((tick for tick in TICKS_S if tick <= min(shown)), default=TICKS_S[0])
    high_s = min((tick for tick in TICKS_S if tick >= max(shown) * 1.05), default=TICKS_S[-1])

    def height(value_s: float) -> float:
        bounded = min(max(value_s, low_s), high_s)
        return round(HEIGHT * (1 - math.log(bounded / low_s) / math.log(high_s / low_s)), 1)

    step = min(WIDTH / max(len(runs), 1), 64.0)
    dots, bands = [], []
    for place, (number, drill, run) in enumerate(runs):
        if place == 0 or runs[place - 1][0] != number:
            bands.append(Band(place * step, 0.0, number % 2 == 1))
        bands[-1] = Band(bands[-1].x, bands[-1].width + step, bands[-1].shaded)
        took = "no write came back" if run["rto_s"] is None else duration(run["rto_s"])
        words = f"{drill['at_utc'][:16].replace('T', ' ')} {drill['fault']}: {took}, {run['because']}"
        y = 0.0 if run["rto_s"] is None else height(run["rto_s"])
        dots.append(Dot(round((place + 0.5) * step, 1), y, run["verdict"], words))
    ticks = tuple(Tick(height(tick), duration(tick)) for tick in TICKS_S if low_s <= tick <= high_s)
    target = Tick(height(target_s), f"target {duration(target_s)}") if target_s else None
    median_s = times[len(times) // 2] if times else None
    return Plot(service, tuple(dots), tuple(bands), ticks, target, len(runs), median_s, times[-1] if times else None)
