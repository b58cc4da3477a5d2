"""The geometry of a report's pictures: bars for writes, a band for the gap, flags for what happened."""

from dataclasses import dataclass

from everup.model.drill import Bars, Run

WIDTH, HEIGHT = 960.0, 150.0
"""Of the area for bars, in the units of the picture."""

ROW = 16.0
"""Height of one line of text below the bars."""

TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True)
class Bar:
    """Writes that ended in one span of time: `height` acknowledged ones, `errors` above them."""

    x: float
    width: float
    height: float
    errors: float


@dataclass(frozen=True)
class Flag:
    """One moment: a line at `x`, its words in row `y`, before the line where there is no room behind it."""

    x: float
    y: float
    words: str
    before: bool


@dataclass(frozen=True)
class Tick:
    """A label of the axis."""

    x: float
    words: str


@dataclass(frozen=True)
class Picture:
    """Everything that is drawn, from left to right; `gap` is (x, width) of the longest time without a write."""

    title: str
    bars: tuple[Bar, ...]
    flags: tuple[Flag, ...]
    ticks: tuple[Tick, ...]
    gap: tuple[float, float] | None
    height: float


def draw(run: Run, writes: Bars, title: str) -> Picture:
    """Lay out one picture of a run."""
    whole_s = writes.width_s * len(writes.acknowledged)

    def at(moment_s: float) -> float:
        return (moment_s - writes.begin_s) / whole_s * WIDTH

    most = max((good + bad for good, bad in zip(writes.acknowledged, writes.errors, strict=True)), default=0) or 1
    width = WIDTH / len(writes.acknowledged)
    bars = tuple(
        Bar(number * width, width, good / most * HEIGHT, bad / most * HEIGHT)
        for number, (good, bad) in enumerate(zip(writes.acknowledged, writes.errors, strict=True))
        if good or bad
    )
    shown = [moment for moment in run.moments if 0 <= at(moment.at_s) <= WIDTH]
    flags = tuple(
        Flag(at(one.at_s), HEIGHT + 34 + row * ROW, f"{label_of(one.at_s)}  {one.what}", at(one.at_s) > WIDTH / 2)
        for row, one in enumerate(shown)
    )
    longest = max(run.gaps, key=lambda pair: pair[1] - pair[0], default=None)
    gap = (at(longest[0]), at(longest[1]) - at(longest[0])) if longest else None
    return Picture(title, bars, flags, _ticks(writes.begin_s, whole_s, at(0.0)), gap, HEIGHT + 46 + len(shown) * ROW)


def label_of(moment_s: float) -> str:
    """A moment relative to the fault: `+41 ms`, `-1.50 s`."""
    return f"{moment_s * 1000:+.0f} ms" if abs(moment_s) < 1 else f"{moment_s:+.2f} s"


def _ticks(begin_s: float, whole_s: float, zero: float) -> tuple[Tick, ...]:
    step_s = next((step for step in TICKS if whole_s / step <= 12), TICKS[-1])
    first = int(begin_s // step_s) + 1
    last = int((begin_s + whole_s) // step_s)
    return tuple(
        Tick(zero + number * step_s / whole_s * WIDTH, label_of(number * step_s) if number else "fault")
        for number in range(first, last + 1)
    )
