"""What services say about each other: who needs whom, and whose names would clash."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from everup.core.bindings import variable_prefix
from everup.core.meant import did_you_mean
from everup.model.contracts import Kind
from everup.model.errors import Flaw
from everup.specfile.tree import Tree
from everup.specfile.wording import Path, path_text, shown


@dataclass(frozen=True)
class Declared:
    """All services as the file has them, valid or not, in file order.

    Attributes:
        raw: label -> what stands there.
        kinds: label -> its kind; without labels or kinds that are wrong themselves.
    """

    raw: Mapping[str, Any]
    kinds: Mapping[str, Kind]
    tree: Tree

    def needs(self, label: str) -> Iterator[tuple[Path, str]]:
        """The labels that a service needs, with their paths."""
        service = self.raw[label]
        needed = service.get("needs") if isinstance(service, dict) else None
        for index, other in enumerate(needed if isinstance(needed, list) else []):
            if isinstance(other, str):
                yield ("services", label, "needs", index), other


def relation_flaws(declared: Declared, kinds: Mapping[str, Kind]) -> Iterator[Flaw]:
    """Every flaw between services; `kinds` are all there are, since their prefixes are taken."""
    yield from _wrong_needs(declared)
    yield from _cycles(declared)
    yield from _label_clashes(declared, kinds)


def _wrong_needs(declared: Declared) -> Iterator[Flaw]:
    tree = declared.tree
    for label in declared.raw:
        others = tuple(other for other in declared.raw if other != label)
        for path, needed in declared.needs(label):
            if needed == label:
                message = f"{path_text(path)} is {label}: a service cannot need itself"
                yield tree.flaw(tree.value_spot(path), message, "Remove it.", "spec.cycle")
            elif needed not in declared.raw:
                message = f"{path_text(path)} is {shown(needed)}: no service has this label"
                hint = did_you_mean(needed, others, "Labels")
                yield tree.flaw(tree.value_spot(path), message, hint, "spec.unknown_label", *others)


def _cycles(declared: Declared) -> Iterator[Flaw]:
    """One flaw per cycle, at the need of its first service in the file that leads on around it."""
    graph = {
        label: {needed: path for path, needed in declared.needs(label) if needed in declared.raw and needed != label}
        for label in declared.raw
    }
    while graph := _tangled(graph):
        walk = [next(iter(graph))]
        while (following := next(n for n in graph[walk[-1]] if n in graph)) not in walk:
            walk.append(following)
        cycle = walk[walk.index(following) :]
        order = list(graph)
        first = min(range(len(cycle)), key=lambda i: order.index(cycle[i]))
        cycle = cycle[first:] + cycle[:first]
        path = graph[cycle[0]][cycle[1]]
        circle = " -> ".join([*cycle, cycle[0]])
        message = f"{path_text(path[:-1])} closes a circle: {circle}; none of them could start first"
        yield declared.tree.flaw(declared.tree.value_spot(path), message, "Remove one of these needs.", "spec.cycle")
        for label in cycle:
            del graph[label]


def _tangled(graph: dict[str, dict[str, Path]]) -> dict[str, dict[str, Path]]:
    """What is left of a graph of needs after every service that could start has been taken away, again and again."""
    left = dict(graph)
    while free := [label for label, needs in left.items() if not any(needed in left for needed in needs)]:
        for label in free:
            del left[label]
    return left


def _label_clashes(declared: Declared, kinds: Mapping[str, Kind]) -> Iterator[Flaw]:
    """Labels whose variables would be named like those of another, or like those of the first service of a kind."""
    tree = declared.tree
    prefixes = {kind.prefix: kind.name for kind in kinds.values() if kind.prefix}
    owners: dict[str, str] = {}
    firsts: dict[str, str] = {}
    for label, kind in declared.kinds.items():
        firsts.setdefault(kind.name, label)
    for label, kind in declared.kinds.items():
        start = variable_prefix(label)
        owner = owners.setdefault(start, label)
        meant = prefixes.get(start)
        if owner != label:
            message = f"names its variables {start}_..., as {owner} does"
        elif meant and kind.name != meant:
            message = f"names its variables {start}_..., as the first service of kind {meant} does"
        elif meant and firsts[meant] != label:
            message = (
                f"names its variables {start}_..., as the first service of kind {meant} does, which is {firsts[meant]}"
            )
        else:
            continue
        path: Path = ("services", label)
        hint = "Choose another label, or declare it first." if meant == kind.name else "Choose another label."
        yield tree.flaw(tree.key_spot(path), f"{path_text(path)} {message}", hint, "spec.collision")
