"""From an environment's spec to its blueprints: grants are issued, needs are followed, and clashes refused."""

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from everup.core.bindings import given_to, order_by_needs, variables
from everup.model.contracts import Grant, Kind
from everup.model.desired import Blueprint, Node, Part, Tcp
from everup.model.errors import NotFound, Refused
from everup.model.resources import Resources
from everup.model.spec import Environment, Service
from everup.runtime.grants import AddressBook, issue
from everup.runtime.store import Saved


class Layout:
    """Draws blueprints with the kinds there are. Stores nothing: the same input gives the same blueprints.

    Args:
        kinds: by name.
        books: where addresses come from, by engine.
    """

    def __init__(self, kinds: Mapping[str, Kind], books: Mapping[str, AddressBook]) -> None:
        self._kinds = kinds
        self._books = books

    def spread(self, engine: str) -> bool:
        """What that engine runs, it runs on several hosts, in containers."""
        return self._books[engine].spread

    def draw(
        self, environment: Environment, saved: Saved, granted: Mapping[str, Any], forsaken: Set[Tcp] = frozenset()
    ) -> tuple[tuple[Blueprint, ...], dict[str, Any]]:
        """Blueprints in file order, the implied ones last, and `granted` completed by what they need.

        `forsaken` is as in `granted`.

        Raises:
            Refused: two services would have a node of the same name.
        """
        implied = _implied(environment.services)
        services = {**environment.services, **implied}
        complete, book = self.granted(environment, granted, forsaken), self._books[environment.engine]
        made: dict[str, Blueprint] = {}
        former = _former(services, granted)
        everything = {**services, **former}
        for label in (*implied, *former, *order_by_needs(environment.services)):
            needed = (*everything[label].stands_on, *everything[label].needs)
            given = given_to(needed, self._offered(everything, made))
            grant = _granted(label, given, complete, saved, book.spread)
            made[label] = self._kinds[everything[label].kind].blueprint(everything[label], grant)
        patience = _patience(environment.services, implied)
        blueprints = tuple(
            _allowed(
                replace(
                    _with_programs(made[label], environment.programs),
                    platform=label in implied,
                    replaces_after_s=patience[label],
                ),
                service.resources,
                kept=book.spread,
            )
            for label, service in services.items()
        )
        _refuse_twins(blueprints)
        return blueprints, complete

    def granted(
        self, environment: Environment, granted: Mapping[str, Any], forsaken: Set[Tcp] = frozenset()
    ) -> dict[str, Any]:
        """`granted`, completed by what the services claim, and without what may not stay as it is.

        `forsaken` are addresses on lost hosts that are not waited for any longer.
        """
        services = {**environment.services, **_implied(environment.services)}
        claims = {label: self._kinds[service.kind].claims(label, service) for label, service in services.items()}
        return issue(environment.environment, claims, granted, self._books[environment.engine], forsaken)

    def variables(self, environment: Environment, blueprints: tuple[Blueprint, ...]) -> dict[str, dict[str, str]]:
        """Declared label -> variables: what it is given by those it needs, what it offers, its own environment."""
        declared = {one.label: one for one in blueprints if one.label in environment.services}
        offered = self._offered(environment.services, declared)
        return {
            label: {**given_to(one.needs, offered), **offered[label], **one.environment}
            for label, one in declared.items()
        }

    def _offered(self, services: Mapping[str, Service], made: Mapping[str, Blueprint]) -> dict[str, dict[str, str]]:
        """Variables of the services in `made`; who is first of its kind goes by file order, drawn already or not."""
        prefixes = {name: kind.prefix for name, kind in self._kinds.items()}
        first = {service.kind: label for label, service in reversed(list(services.items()))}
        offered: dict[str, dict[str, str]] = {}
        for label, blueprint in made.items():
            offered |= variables([blueprint], prefixes if first[blueprint.kind] == label else {})
        return offered


def _granted(label: str, given: Mapping[str, str], granted: Mapping[str, Any], saved: Saved, spread: bool) -> Grant:
    """What the service `label` was granted, and what it is `given` by those it needs."""
    own = {key.removeprefix(f"{label}/"): value for key, value in granted.items() if key.startswith(f"{label}/")}
    return Grant(
        label=label,
        listeners={key: value for key, value in own.items() if not isinstance(value, str)},
        secrets={key: value for key, value in own.items() if isinstance(value, str)},
        variables=given,
        directory=saved.source.directory,
        path=saved.source.path,
        revision=saved.revisions.get(label, 0),
        spread=spread,
    )


def _implied(services: Mapping[str, Service]) -> dict[str, Service]:
    """What services stand on and nobody declares, those that stand on nothing first."""
    found: dict[str, Service] = {}
    for service in services.values():
        for label, other in service.implies().items():
            found = {**_implied({label: other}), **found, label: other}
    return found


def _patience(services: Mapping[str, Service], implied: Mapping[str, Service]) -> dict[str, float | None]:
    """How long members of each service wait for a lost host.

    What others stand on waits as long as the least patient of them: without it, what that has rebuilt could not elect.
    """
    own = {label: service.replaces_after_s for label, service in services.items()}
    for label in implied:
        above = [one.replaces_after_s for one in services.values() if label in one.implies()]
        own[label] = min((one for one in above if one is not None), default=None)
    return own


def _former(services: Mapping[str, Service], granted: Mapping[str, Any]) -> dict[str, Service]:
    """What services stood on and do no longer: not laid out, but still known to those that take their leave of it."""
    possible = {label: other for service in services.values() for label, other in service.stands_on.items()}
    known = {key.partition("/")[0] for key in granted}
    return {label: other for label, other in possible.items() if label in known and label not in services}


def _with_programs(blueprint: Blueprint, programs: Mapping[str, str]) -> Blueprint:
    """Let a node's digest know which programs the spec sets for it, so that another one replaces it."""

    def told(node: Node) -> Node:
        chosen = [programs[name] for name in (node.program, *node.uses) if name in programs]
        return replace(node, env={**node.env, "EVERUP_PROGRAM": ":".join(chosen)}) if chosen else node

    nodes, stand_ins = tuple(map(told, blueprint.nodes)), tuple(map(told, blueprint.stand_ins))
    return replace(blueprint, nodes=nodes, stand_ins=stand_ins)


def _allowed(blueprint: Blueprint, resources: Resources | None, *, kept: bool) -> Blueprint:
    """The blueprint with what its servers or instances may use, no other node; `kept`: the engine sees to it."""
    if resources is None:
        return blueprint

    def told(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(
            replace(one, resources=resources) if one.part in (Part.DATA, Part.INSTANCE) else one for one in nodes
        )

    if not kept:
        return replace(blueprint, resources=resources)
    return replace(
        blueprint,
        resources=resources,
        nodes=told(blueprint.nodes),
        stand_ins=told(blueprint.stand_ins),
        retiring=told(blueprint.retiring),
    )


def overridden(environment: Environment, overrides: Mapping[str, Mapping[str, Any]]) -> Environment:
    """The environment with what commands such as `scale` set since it was applied.

    Raises:
        Refused: a service cannot be like that.
    """
    services = {
        label: _changed(label, service, overrides[label]) if label in overrides else service
        for label, service in environment.services.items()
    }
    return environment.model_copy(update={"services": services})


def _changed(label: str, service: Service, values: Mapping[str, Any]) -> Service:
    try:
        return type(service).model_validate({**service.model_dump(), **values})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise Refused(f"{label} cannot run like that: {reason}", code="refused.override", label=label) from error


def declared_anew(environment: str, label: str, service: Service, spec: Environment) -> dict[str, Any]:
    """What `spec` says of a service otherwise than is in force, but for what commands of their own change.

    Raises:
        NotFound: `spec` does not declare that service of that environment.
        Refused: it changes what a deploy does not.
    """
    wanted = spec.services.get(label)
    if spec.environment != environment or wanted is None:
        raise NotFound(f"the spec file declares no service {label} of {environment}", code="spec.missing", label=label)
    if (wanted.kind, wanted.needs) != (service.kind, service.needs):
        raise Refused(
            f"the spec file changes the kind or the needs of {label}, which a deploy does not",
            "Apply the whole file: everup up",
            code="refused.deploy",
            label=label,
        )
    return {key: value for key, value in wanted.model_dump().items() if key not in ("kind", "needs", "scale", "limit")}


def refuse_unsettling(before: Environment, after: Environment) -> None:
    """Refuse a change of what cannot change while a service exists.

    Raises:
        Refused: says what, and how to do it all the same.
    """
    if before.engine != after.engine:
        raise Refused(
            f"{before.environment} runs on the engine {before.engine} and cannot move to {after.engine} in place",
            "Give it another name there, or delete all of it here first: everup down --destroy",
            code="refused.settled",
        )
    for label, service in after.services.items():
        old = before.services.get(label)
        for key in sorted(service.settled) if old else ():
            had, wants = getattr(old, key, None), getattr(service, key)
            if had != wants:
                raise Refused(
                    f"{key} of {label} cannot change from {had} to {wants} in place",
                    "Declare it under another label, or delete all first: everup down --destroy",
                    code="refused.settled",
                    label=label,
                )


def _refuse_twins(blueprints: tuple[Blueprint, ...]) -> None:
    owners: dict[str, str] = {}
    for blueprint in blueprints:
        for node in blueprint.nodes:
            if owners.setdefault(node.id, blueprint.label) != blueprint.label:
                raise Refused(
                    f"{owners[node.id]} and {blueprint.label} would both have a node {node.id}",
                    f"Give {blueprint.label} another label.",
                    code="refused.label",
                    label=blueprint.label,
                )
