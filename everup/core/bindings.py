"""Connection variables: the full names of what each service offers, and what a service is given by those it needs."""

from collections.abc import Iterable, Mapping, Sequence

from everup.model.desired import Blueprint
from everup.model.spec import Service


def variable_prefix(label: str) -> str:
    """The start of the variables of `label`: upper case, `-` becomes `_` (`cache-1` gives `CACHE_1`)."""
    return label.upper().replace("-", "_")


def variables(blueprints: Sequence[Blueprint], prefixes: Mapping[str, str | None]) -> dict[str, dict[str, str]]:
    """Name what every service offers: label -> variable -> value.

    Each gets its bindings by label (`REDIS01_URL`); the first service of a kind that has a prefix gets them by that
    prefix too (`REDIS_URL`). Both depend on grants alone, so no value changes on a failover.

    Args:
        blueprints: in file order, which decides who is first of its kind.
        prefixes: kind -> `Kind.prefix`; a kind that is absent has none.

    Returns:
        One entry per blueprint, in the same order; empty for a service that offers nothing.
    """
    named: dict[str, dict[str, str]] = {}
    kinds_seen: set[str] = set()
    for blueprint in blueprints:
        starts = [variable_prefix(blueprint.label)]
        prefix = prefixes.get(blueprint.kind)
        if prefix and blueprint.kind not in kinds_seen:
            starts.insert(0, prefix)
        kinds_seen.add(blueprint.kind)
        offered = blueprint.bindings.items()
        named[blueprint.label] = {f"{start}_{suffix}": value for start in starts for suffix, value in offered}
    return named


def given_to(needs: Iterable[str], all_variables: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The variables of the services in `needs`, merged; a label that offers nothing adds nothing."""
    given: dict[str, str] = {}
    for label in needs:
        given.update(all_variables.get(label, {}))
    return given


def order_by_needs(services: Mapping[str, Service]) -> tuple[str, ...]:
    """Every label once, providers before those that need them, else in file order.

    A label in `needs` that is not declared is ignored. A cycle, which no parsed spec has, is broken
    at the first service that is left.
    """
    remaining = list(services)
    placed: set[str] = set()
    ordered: list[str] = []
    while remaining:
        chosen = next((label for label in remaining if _is_free(services[label], placed, services)), remaining[0])
        remaining.remove(chosen)
        placed.add(chosen)
        ordered.append(chosen)
    return tuple(ordered)


def _is_free(service: Service, placed: set[str], services: Mapping[str, Service]) -> bool:
    return all(label in placed or label not in services for label in service.needs)


def users_of_secrets(services: Mapping[str, Service]) -> dict[str, tuple[str, ...]]:
    """Name of a secret -> labels of the services that use it."""
    found: dict[str, tuple[str, ...]] = {}
    for label, service in services.items():
        for name in sorted(set(service.secrets.values())):
            found[name] = (*found.get(name, ()), label)
    return found
