"""Templates: every value is escaped, and one that is missing is an error."""

from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from everup.core.hosts import by_host, mark
from everup.core.words import duration, size_of
from everup.web.ports import BASE

SHAPES = {
    "healthy": "disc",
    "ready": "disc",
    "pass": "disc",
    "degraded": "triangle",
    "suspect": "triangle",
    "starting": "ring",
    "down": "cross",
    "hung": "bars",
    "fail": "cross",
    "drained": "triangle",
    "lost": "cross",
    "inconclusive": "diamond",
    "unknown": "diamond",
    "stopped": "square",
}
"""State -> the shape that says it without colour."""


@cache
def templates() -> Environment:
    """The templates of this package, with their filters."""
    environment = Environment(
        loader=PackageLoader("everup.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(base=BASE)
    environment.filters.update(duration=_duration, size=size_of, shape=_shape, moment=_moment)
    environment.filters.update(by_host=by_host, mark=mark)
    return environment


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)


def _shape(state: Any) -> str:
    return SHAPES.get(str(state), "diamond")


def _moment(iso: str) -> str:
    """A moment as `2026-11-23 14:03:22`, in UTC; the browser makes it local where it may run a script."""
    try:
        return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return iso
