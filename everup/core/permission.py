"""What of a change only an operator may do: purely, from what is declared and what is to be."""

from collections.abc import Iterable, Iterator, Mapping

from everup.model.access import Caller, Level
from everup.model.errors import NotFound, NotPermitted
from everup.model.spec import Environment, Service

PROMISES: Mapping[str, object] = {"rpo": 0, "durability": "safe"}
"""Key of a service -> the value by which it loses less; to give that up takes an operator."""


def check(caller: Caller, before: Environment | None, after: Environment) -> None:
    """Make sure that the caller may declare `after` where `before` is in force; None: a new environment.

    Raises:
        NotFound: the environment is none of the caller's; nobody learns whether it exists.
        NotPermitted: it takes an operator; says what does.
    """
    name = after.environment
    if not caller.may(Level.VIEWER, name):
        raise unknown(name, caller.environments or ())
    if not caller.may(Level.DEVELOPER, name):
        raise forbidden(caller, Level.DEVELOPER)
    reasons = () if caller.may(Level.OPERATOR, name) else beyond_developers(before, after)
    if reasons:
        raise NotPermitted(
            f"{'; '.join(reasons)}: {'these take' if len(reasons) > 1 else 'that takes'} an operator",
            "Leave it as it is, or have an operator apply it.",
            environment=name,
        )


def unknown(name: str, known: Iterable[str]) -> NotFound:
    """The error for an environment that is not there, or that the caller may know nothing of: the same for both."""
    names = ", ".join(sorted(known)) or "none"
    return NotFound(f"there is no environment {name} here", f"Known: {names}.", environment=name)


def forbidden(caller: Caller, level: Level) -> NotPermitted:
    """The error for a caller whose level is too low."""
    return NotPermitted(
        f"{caller.name} is a {caller.level.value}, and this takes {'an' if level == Level.OPERATOR else 'a'} "
        f"{level.value}",
        "An operator makes tokens: everup token create NAME --level " + level.value,
    )


def beyond_developers(before: Environment | None, after: Environment) -> tuple[str, ...]:
    """What developers may not declare, a few words each; empty when they may declare all of it."""
    found: list[str] = []
    former = before.services if before else {}
    several_hosts = before is not None and before.engine != "local"
    if after.drills == "allowed" and (before is None or before.drills != "allowed"):
        found.append("it allows drills")
    for label, service in after.services.items():
        old = former.get(label)
        found += _limit(label, old, service)
        found += _given_up(label, old, service, several_hosts) if old else ()
    gone = [label for label, old in former.items() if label not in after.services and _holds(old)]
    found += [f"it removes {label}, which holds data" for label in gone]
    return tuple(found)


def _limit(label: str, old: Service | None, new: Service) -> Iterator[str]:
    """A raised limit; that of a new service may be what it would be anyway."""
    field = type(new).model_fields.get("limit")
    if field is None:
        return
    most: int = getattr(old, "limit", field.default)
    wanted: int = getattr(new, "limit", 0)
    if wanted > most:
        yield f"it raises the limit of {label} from {most} to {wanted}"


def _given_up(label: str, old: Service, new: Service, several_hosts: bool) -> Iterator[str]:
    """Redundancy, and promises; one that was left open was kept on several hosts, where keeping it is the default."""
    if getattr(old, "ha", False) and not getattr(new, "ha", False):
        yield f"it takes the redundancy of {label} away (ha)"
    for key, kept in PROMISES.items():
        if not (hasattr(old, key) and hasattr(new, key)):
            continue
        had, wants = (
            kept if several_hosts and said is None else said for said in (getattr(old, key), getattr(new, key))
        )
        if had == kept and had != wants:
            yield f"it sets {key} of {label} from {had} to {'its default' if wants is None else wants}"


def _holds(service: Service) -> bool:
    """Services that can be redundant hold data; apps and workers hold none."""
    return hasattr(service, "ha")
