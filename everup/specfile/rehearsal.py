"""Lays services out with pretended addresses, to find what only a layout shows: clashing names, unknown variables."""

import re
from collections.abc import Iterator, Mapping

from everup.core.bindings import given_to, order_by_needs, variable_prefix, variables
from everup.model.contracts import Grant, Kind
from everup.model.desired import Blueprint, Tcp
from everup.model.errors import EverupError, Flaw
from everup.model.spec import Service
from everup.specfile.tree import Tree
from everup.specfile.wording import Path, path_text, shown


def layout_flaws(services: Mapping[str, Service], kinds: Mapping[str, Kind], tree: Tree) -> Iterator[Flaw]:
    """What is wrong with services that are right one by one; at most one flaw per label.

    Args:
        services: in file order, none with a flaw of its own, none in a cycle.
    """
    prefixes = {kind.name: kind.prefix for kind in kinds.values()}
    laid: dict[str, Blueprint] = {}
    flaws: dict[str, Flaw] = {}
    for label in order_by_needs(services):
        service = services[label]
        in_order = [laid.get(name) or Blueprint(name, services[name].kind, False, ()) for name in services]
        given = given_to(service.needs, variables(in_order, prefixes))
        try:
            laid[label] = kinds[service.kind].blueprint(service, _pretend(label, service, kinds[service.kind], given))
        except (EverupError, ValueError) as refusal:
            flaws[label] = _refused(label, refusal, tree)
    in_order = [laid[label] for label in services if label in laid]
    for accused, message in [*_same_variables(variables(in_order, prefixes)), *_same_nodes(in_order)]:
        path: Path = ("services", accused)
        hint = "Choose another label: nodes and variables are named by it."
        flaw = tree.flaw(tree.key_spot(path), f"{path_text(path)} {message}", hint, "spec.collision")
        flaws.setdefault(accused, flaw)
    yield from flaws.values()


def _pretend(label: str, service: Service, kind: Kind, given: Mapping[str, str]) -> Grant:
    """A grant of everything the service claims, with addresses and passwords that nobody has."""
    claims = kind.claims(label, service)
    listeners = {
        claim.key: {name: Tcp("127.0.0.1", port) for name, port in claim.ports.items()}
        for claim in claims
        if claim.ports
    }
    return Grant(label, listeners, {claim.key: "pretended" for claim in claims if not claim.ports}, given)


def _refused(label: str, refusal: Exception, tree: Tree) -> Flaw:
    """A layout that its kind refuses, at the first key of the service that the refusal names."""
    if isinstance(refusal, EverupError):
        message, hint = refusal.message, refusal.hint
    else:
        message, hint = [*[str(arg) for arg in refusal.args], "", ""][:2]
    path: Path = ("services", label)
    value = tree.value["services"][label]
    key = next((word for word in re.findall(r"\w+", message) if word in value and word != "kind"), None)
    if key is None:
        return tree.flaw(tree.key_spot(path), f"{path_text(path)}: {message}", hint)
    path = (*path, key)
    what = path_text(path) if isinstance(value[key], dict | list) else f"{path_text(path)} is {shown(value[key])}"
    return tree.flaw(tree.value_spot(path), f"{what}: {message}", hint)


def _same_variables(named: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """Labels that set a variable which another sets too, and what to say of them."""
    owners: dict[str, str] = {}
    for label, own in named.items():
        for name in own:
            other = owners.setdefault(name, label)
            if other == label:
                continue
            by_label = name.startswith(
                f"{variable_prefix(label)}_"
            )  # else by the prefix of its kind, which is its right
            accused, owner = (label, other) if by_label else (other, label)
            yield accused, f"would set {name}, as {owner} does"


def _same_nodes(blueprints: list[Blueprint]) -> Iterator[tuple[str, str]]:
    """Labels with a node that another has too, and what to say of them."""
    owners: dict[str, str] = {}
    for blueprint in blueprints:
        for node in blueprint.nodes:
            owner = owners.setdefault(node.id, blueprint.label)
            if owner != blueprint.label:
                accused = max(owner, blueprint.label, key=len)  # the longer label holds the shorter one
                other = min(owner, blueprint.label, key=len)
                yield accused, f"would have a node named {node.id}, as {other} has"
