"""What can be done from the dashboard: one table of who may do it, to which service, what it means, and how."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from everup.model.access import Caller, Level
from everup.model.errors import Refused
from everup.web.ports import Json


@dataclass(frozen=True)
class Field:
    """What a form asks for: a number from `low` to `high`, or one of `choices` (value, words); `value` is filled in."""

    name: str
    words: str
    value: str
    low: int = 0
    high: int = 0
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Act:
    """One thing to do.

    Attributes:
        name: in addresses.
        title: on buttons.
        level: who may.
        fits: whether it makes sense for a service, as `everup status --json` has it.
        meaning: what will happen, in words.
        field: what the form asks for; None for nothing but a confirmation.
        body: what the API is asked, by what the form said; its route is called `name`.
        done: what was done, in words, by what the API was asked and answered.
    """

    name: str
    title: Callable[[Json], str]
    level: Level
    fits: Callable[[Json], bool]
    meaning: Callable[[Json], str]
    field: Callable[[Json], Field | None]
    body: Callable[[Json, str], Json]
    done: Callable[[Json, Json], str]


def possible(service: Json, caller: Caller, environment: str) -> list[Act]:
    """What the caller may do with the service now."""
    return [one for one in ACTS.values() if one.fits(service) and caller.may(one.level, environment)]


def _count(said: str) -> int:
    """The number that a form carries.

    Raises:
        Refused: it is none.
    """
    if not said.isascii() or not said.isdigit() or len(said) > 5:
        raise Refused(f"{said or 'nothing'} is not a number of instances", "Enter a whole number.")
    return int(said)


def _replicas(service: Json) -> list[Json]:
    return [one for one in service["nodes"] if one["role"] == "replica" and one["health"] == "ready"]


def _holds_data(service: Json) -> bool:
    return any(one["part"] == "data" for one in service["nodes"])


def _successors(service: Json) -> Field:
    choices = [(one["id"], one["id"]) for one in _replicas(service)]
    return Field("said", "New primary", "", choices=(("", "the best one"), *choices))


def _restarting(service: Json) -> str:
    if service["limit"] is not None:
        return f"Every instance of {service['label']} is replaced, one at a time, after a stand-in is ready."
    if _holds_data(service) and not service["ha"]:
        return f"{service['label']} is one server: it is away while it starts again."
    return f"Every node of {service['label']} is restarted, one at a time; the primary hands over first."


_ALL: Sequence[Act] = (
    Act(
        "scale",
        lambda service: "Scale",
        Level.DEVELOPER,
        lambda service: service["limit"] is not None,
        lambda service: f"{service['label']} runs {service['scale']} of the {service['limit']} instances it may run.",
        lambda service: Field("said", "Instances", str(service["scale"]), 0, service["limit"]),
        lambda service, said: {"count": _count(said)},
        lambda service, told: f"{service['label']} is to run {told['count']} instances.",
    ),
    Act(
        "restart",
        lambda service: "Restart",
        Level.DEVELOPER,
        lambda service: not service["platform"],
        _restarting,
        lambda service: None,
        lambda service, said: {},
        lambda service, told: f"{service['label']} is being restarted.",
    ),
    Act(
        "switchover",
        lambda service: "Switch over",
        Level.OPERATOR,
        lambda service: bool(service["primary"] and _replicas(service)),
        lambda service: f"{service['primary']} hands its role to another node. Writers wait for a moment.",
        _successors,
        lambda service, said: {"to": said or None},
        lambda service, told: f"{service['label']} was handed over: {told['because']}.",
    ),
    Act(
        "limit",
        lambda service: "Change the limit",
        Level.OPERATOR,
        lambda service: service["limit"] is not None,
        lambda service: f"{service['label']} may run up to {service['limit']} instances.",
        lambda service: Field("said", "Limit", str(service["limit"]), 1, 10_000),
        lambda service, said: {"count": _count(said)},
        lambda service, told: f"{service['label']} may run up to {told['count']} instances now.",
    ),
    Act(
        "ha",
        lambda service: "Make it one server" if service["ha"] else "Make it highly available",
        Level.OPERATOR,
        lambda service: _holds_data(service) and not service["platform"],
        lambda service: (
            f"{service['label']} becomes one server: the loss of that one will be felt."
            if service["ha"]
            else f"{service['label']} gets further nodes, and survives the loss of any one of them."
        ),
        lambda service: None,
        lambda service, said: {"enabled": not service["ha"]},
        lambda service, told: f"{service['label']}: {told['because']}.",
    ),
)

ACTS: Mapping[str, Act] = {one.name: one for one in _ALL}
"""Name -> what can be done."""
