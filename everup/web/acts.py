"""What can be done from the dashboard: one table of who may do it, to which service, what it means, and how."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from everup.model.access import Caller, Level
from everup.model.errors import Refused
from everup.web.ports import Acting, Json


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
        do: does it with what the form said; what was done, in words.
    """

    name: str
    title: Callable[[Json], str]
    level: Level
    fits: Callable[[Json], bool]
    meaning: Callable[[Json], str]
    field: Callable[[Json], Field | None]
    do: Callable[[Acting, str, Json, str], Awaitable[str]]


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


async def _scale(desk: Acting, environment: str, service: Json, said: str) -> str:
    count = _count(said)
    await desk.scale(environment, service["label"], count)
    return f"{service['label']} is to run {count} instances."


async def _limit(desk: Acting, environment: str, service: Json, said: str) -> str:
    count = _count(said)
    await desk.limit(environment, service["label"], count)
    return f"{service['label']} may run up to {count} instances now."


async def _restart(desk: Acting, environment: str, service: Json, said: str) -> str:
    await desk.restart(environment, service["label"])
    return f"{service['label']} is being restarted."


async def _switchover(desk: Acting, environment: str, service: Json, said: str) -> str:
    because = await desk.switchover(environment, service["label"], said or None)
    return f"{service['label']} was handed over: {because}."


async def _ha(desk: Acting, environment: str, service: Json, said: str) -> str:
    change, _ = await desk.ha(environment, service["label"], not service["ha"])
    return f"{service['label']}: {change.because}."


_ALL: Sequence[Act] = (
    Act(
        "scale",
        lambda service: "Scale",
        Level.DEVELOPER,
        lambda service: service["limit"] is not None,
        lambda service: f"{service['label']} runs {service['scale']} of the {service['limit']} instances it may run.",
        lambda service: Field("said", "Instances", str(service["scale"]), 0, service["limit"]),
        _scale,
    ),
    Act(
        "restart",
        lambda service: "Restart",
        Level.DEVELOPER,
        lambda service: not service["platform"],
        _restarting,
        lambda service: None,
        _restart,
    ),
    Act(
        "switchover",
        lambda service: "Switch over",
        Level.OPERATOR,
        lambda service: bool(service["primary"] and _replicas(service)),
        lambda service: f"{service['primary']} hands its role to another node. Writers wait for a moment.",
        _successors,
        _switchover,
    ),
    Act(
        "limit",
        lambda service: "Change the limit",
        Level.OPERATOR,
        lambda service: service["limit"] is not None,
        lambda service: f"{service['label']} may run up to {service['limit']} instances.",
        lambda service: Field("said", "Limit", str(service["limit"]), 1, 10_000),
        _limit,
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
        _ha,
    ),
)

ACTS: Mapping[str, Act] = {one.name: one for one in _ALL}
"""Name -> what can be done."""
