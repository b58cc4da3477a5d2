"""The one sentence that matters of an environment, and what to do; purely, from its status and its verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from everup.core.hosts import mark
from everup.model.findings import Level, Topic

Json = dict[str, Any]


@dataclass(frozen=True)
class Headline:
    """What somebody must know at a glance.

    Attributes:
        tone: healthy | degraded | starting | down | stopped: decides colour and shape.
        sentence: the one that matters.
        rest: the reasons, one sentence each.
        next: commands or sentences that say what to do; empty where Everup does it, or nothing is to be done.
    """

    tone: str
    sentence: str
    rest: tuple[str, ...] = ()
    next: tuple[str, ...] = ()


def headline(status: Json, verdict: Json) -> Headline:
    """Sum up an environment: `status` and `verdict` as `everup status` and `everup check` print them as JSON."""
    found = _of_services(status, verdict)
    hosts = [host for host in status["hosts"] if mark(host, status["hosts"])]
    if status["stopped"] or not hosts:
        return found
    told = [one for one in verdict["findings"] if one["topic"] == Topic.PLACEMENT and one["level"] == Level.WARNING]
    steps = (*found.next, *(one["next"] for one in told))
    return replace(found, rest=(*found.rest, *(_sentence(one["because"]) for one in told)), next=steps)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _of_services(status: Json, verdict: Json) -> Headline:
    name, services = status["environment"], status["services"]
    if status["stopped"]:
        return Headline("stopped", f"{name} is stopped. Its data is kept.", next=("everup up",))
    if not services:
        return Headline("healthy", f"{name} declares no services.")
    for tone in ("down", "starting", "degraded"):
        if found := [one for one in services if one["health"] == tone]:
            return _troubled(tone, found, status, verdict)
    return _healthy(status, verdict)


def _troubled(tone: str, found: Sequence[Json], status: Json, verdict: Json) -> Headline:
    labels = _listed([one["label"] for one in found])
    is_are = "is" if len(found) == 1 else "are"
    sentence = {
        "down": f"{labels} {is_are} down.",
        "starting": f"{labels} {is_are} starting.",
        "degraded": f"{labels} {'works with less than it' if len(found) == 1 else 'work with less than they'} should.",
    }[tone]
    reasons = tuple(f"{one['label']}: {one['because']}" for one in found)
    if status["pending"] and tone != "starting":
        doing = _distinct(f"{one['action']} {one['node']}" for one in status["pending"])
        return Headline(tone, sentence, (*reasons, f"Everup is on it: {_listed(doing[:3])}"))
    waits = tuple(f"Everup waits: {one['because']}" for one in status["waiting"])[:2]
    steps = [step for one in verdict["services"] if one["label"] in labels for step in one["next"]]
    return Headline(tone, sentence, (*reasons, *waits), () if tone == "starting" else tuple(_distinct(steps)[:3]))


def _healthy(status: Json, verdict: Json) -> Headline:
    against = [one for one in verdict["services"] if not one["survives"]["node"]]
    if against:
        labels = _listed([one["label"] for one in against])
        sentence = f"All services are healthy, but {labels} would not survive the loss of a node."
        steps = tuple(_distinct(step for one in against for step in one["next"])[:3])
        return Headline("healthy", sentence, tuple(one["because"][0] for one in against if one["because"])[:3], steps)
    rest: tuple[str, ...] = ()
    what = "any one node"
    if verdict["survives"]["host"]:
        what = "any one node or host"
    elif len(verdict["hosts"]) < 2:
        rest = ("There is one machine only: its loss would take everything with it.",)
    if verdict["verdict"] != "yes":
        reasons = [one["because"] for one in verdict["findings"] if one["level"] == "no"]
        return Headline("degraded", "All services are healthy, but something around them is not.", tuple(reasons))
    if status["pending"]:
        rest = (f"{len(status['pending'])} changes are on their way.", *rest)
    return Headline("healthy", f"All services are healthy; {what} can be lost.", rest)


def _listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""


def _distinct(words: Any) -> list[str]:
    return list(dict.fromkeys(words))
