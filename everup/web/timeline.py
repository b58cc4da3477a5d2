"""Incidents as rows of a timeline: what failed, when that was noticed, who took over, when writes could go on. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from everup.core.incident import incidents
from everup.core.words import duration
from everup.core.words import incident as in_words
from everup.model.events import Event

Json = dict[str, Any]

STEPS = {
    "failover.voted": "voted",
    "failover.released": "claim removed",
    "failover.promoted": "promoted",
    "failover.pointed": "endpoint leads on",
    "service.healthy": "redundant again",
}
"""Event -> what it means for the one who reads."""

NEAR_S = 5.0
"""A run of a drill caused the incident that began this close to it."""

SHORTEST_S, LONGEST_S = 0.001, 600.0
"""What the bar of an incident spans; it is logarithmic."""


@dataclass(frozen=True)
class Step:
    """Something that was reached, `after_s` seconds since the failure."""

    what: str
    after_s: float


@dataclass(frozen=True)
class Segment:
    """A part of the bar, in thousandths of its width: unnoticed, away or redundant-less."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True)
class Row:
    """One incident: `text` tells it in one line; `drill` names the fault where a drill caused it."""

    at_utc: str
    service: str
    text: str
    steps: tuple[Step, ...]
    segments: tuple[Segment, ...]
    over: bool
    drill: str | None = None


def rows(events: Sequence[Event], drills: Iterable[Json]) -> list[Row]:
    """Every incident of `events` (oldest first), the newest first; `drills` as the API lists them."""
    runs = [(drill, run) for drill in drills for run in drill["runs"] if run["at_utc"]]
    return [_row(one, runs) for one in reversed(incidents(events))]


def _row(incident: Sequence[Event], runs: Sequence[tuple[Json, Json]]) -> Row:
    cause = incident[0]
    begun = failed_at(cause)
    steps = _steps(incident, begun)
    drill, run = _cause(cause, begun, runs)
    return Row(
        cause.at_utc,
        cause.service or "",
        _told(incident, steps, run),
        steps,
        _segments(steps),
        incident[-1].name == "service.healthy",
        drill["fault"] if drill else None,
    )


def _told(incident: Sequence[Event], steps: Sequence[Step], run: Json | None) -> str:
    """The incident in one line, with what clients of a drill measured, or, without one, when writes could go on."""
    told = in_words(incident)
    parts: list[str] = told["text"].split(" · ") if told else []
    place = next((number for number, part in enumerate(parts, 1) if "took over" in part or "back after" in part), 1)
    if run and run["rto_s"] is not None:
        parts.insert(place, f"writes stood still for {duration(run['rto_s'])}")
    elif (served_s := _served(steps)) is not None and "took over" in parts[place - 1]:
        parts.insert(place, f"writes could go on after {duration(served_s)}")
    if run and run["lost"] is not None:
        parts = [part for part in parts if part != "no lost writes found"]
        parts.insert(place + 1, f"{run['lost']:,} of {run['acknowledged']:,} lost")
    return " · ".join(parts)


def failed_at(cause: Event) -> datetime:
    """When it failed: a little before that was noticed."""
    late_s = _number(cause.fields.get("noticed_ms")) / 1000 + _number(cause.fields.get("silent_s"))
    return datetime.fromisoformat(cause.at_utc) - timedelta(seconds=late_s)


def _steps(incident: Sequence[Event], begun: datetime) -> tuple[Step, ...]:
    found: dict[str, float] = {}

    def reach(what: str, event: Event) -> None:
        found.setdefault(what, max(0.0, (datetime.fromisoformat(event.at_utc) - begun).total_seconds()))

    reach("noticed", incident[0])
    changed = any(event.name == "primary.changed" for event in incident)
    for event in incident[1:]:
        if event.name in STEPS:
            reach(STEPS[event.name], event)
        elif event.name == "primary.changed":
            reach("promoted", event)
        elif event.name == "operation.ended" and event.fields.get("operation") == "failover":
            if event.fields.get("done"):
                reach("endpoint leads on", event)
        elif event.name == "node.ready" and event.node == incident[0].node and not changed:
            reach("back", event)
    return tuple(Step(what, after_s) for what, after_s in sorted(found.items(), key=lambda pair: pair[1]))


def _segments(steps: Sequence[Step]) -> tuple[Segment, ...]:
    reached = {step.what: step.after_s for step in steps}
    marks = [("unnoticed", reached.get("noticed")), ("away", _served(steps)), ("thin", reached.get("redundant again"))]
    segments, x = [], 0.0
    for kind, until_s in marks:
        if until_s is not None and (end := _along(until_s)) > x:
            segments.append(Segment(kind, round(x, 1), round(end - x, 1)))
            x = end
    return tuple(segments)


def _served(steps: Sequence[Step]) -> float | None:
    reached = {step.what: step.after_s for step in steps}
    return reached.get("endpoint leads on", reached.get("promoted", reached.get("back")))


def _along(after_s: float) -> float:
    """The place of a moment on the bar, in thousandths of its width."""
    bounded = min(max(after_s, SHORTEST_S), LONGEST_S)
    return 30 + 970 * math.log(bounded / SHORTEST_S) / math.log(LONGEST_S / SHORTEST_S)


def _cause(cause: Event, begun: datetime, runs: Sequence[tuple[Json, Json]]) -> tuple[Json | None, Json | None]:
    for drill, run in runs:
        apart_s = abs((datetime.fromisoformat(run["at_utc"]) - begun).total_seconds())
        if apart_s < NEAR_S and (cause.service == drill["service"] or cause.node == run["subject"]):
            return drill, run
    return None, None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
