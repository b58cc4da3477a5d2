"""`everup.yaml` from text to a spec, or to every flaw it has, before anything is touched."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from everup.core.meant import did_you_mean, nearest
from everup.model.contracts import Kind
from everup.model.errors import Flaw, SpecError
from everup.model.spec import LABEL_PATTERN, RESERVED, Environment, Service
from everup.specfile.fields import read_fields
from everup.specfile.rehearsal import layout_flaws
from everup.specfile.relations import Declared, relation_flaws
from everup.specfile.tree import Tree, read_tree
from everup.specfile.wording import Path, path_text, shown

ENGINES = ("local", "swarm")
MAX_SERVICES = 250


def parse(text: str, file: str, kinds: Mapping[str, Kind]) -> Environment:
    """Read a spec file.

    Args:
        text: its whole text.
        file: its name, for messages only.
        kinds: by name; `Kind.service` validates the services of that kind.

    Returns:
        The environment. Its `services` are in file order, each an instance of its kind's own model.

    Raises:
        SpecError: the file is wrong; carries every flaw, ordered by line and column.
    """
    kinds = {name: kind for name, kind in kinds.items() if kind.service.declarable}
    tree = read_tree(text)
    flaws = list(tree.flaws)
    if not isinstance(tree.value, dict):
        if not flaws:
            flaws.append(_not_a_mapping(tree))
        raise SpecError(file, tuple(flaws))
    head = _head(tree, flaws)
    services = _services(tree, kinds, flaws)
    if head is None or flaws:
        raise SpecError(file, _in_order(flaws))
    return head.model_copy(update={"services": services})


def _in_order(flaws: Iterable[Flaw]) -> tuple[Flaw, ...]:
    """Every flaw once, by place; what could not even be read has no second flaw for what was read instead."""
    ordered = sorted(flaws, key=lambda flaw: (flaw.line, flaw.column))
    unread = {(flaw.line, flaw.column) for flaw in ordered if flaw.code == "spec.yaml"}
    kept = [f for f in ordered if f.code == "spec.yaml" or (f.line, f.column) not in unread]
    return tuple(dict.fromkeys(kept))


def _not_a_mapping(tree: Tree) -> Flaw:
    hint = "Begin with: environment: NAME, then services: and one entry for each."
    if tree.value is None:
        return Flaw("the file declares nothing", 1, 1, hint, "spec.missing")
    message = f"the file is {shown(tree.value)}: must be a mapping of environment and services"
    return tree.flaw(tree.value_spot(()), message, hint)


def _head(tree: Tree, flaws: list[Flaw]) -> Environment | None:
    """All but the services; adds what is wrong with it to `flaws`."""
    value = {key: entry for key, entry in tree.value.items() if key != "services"}
    name = value.get("environment")
    if isinstance(name, str) and not re.fullmatch(LABEL_PATTERN, name):
        flaws.append(_bad_label(tree, ("environment",), name, key=False))
        value["environment"] = "x"  # has its flaw; the rest is still read
    engine = value.get("engine", ENGINES[0])
    if isinstance(engine, str) and engine not in ENGINES:
        message = f"engine is {shown(engine)}: no such engine"
        hint = did_you_mean(engine, ENGINES, "Engines")
        flaws.append(tree.flaw(tree.value_spot(("engine",)), message, hint, "spec.unknown_engine", *ENGINES))
    head = read_fields(Environment, value, (), tree, "the file")
    if isinstance(head, list):
        flaws += head
        return None
    return head


def _bad_label(tree: Tree, path: Path, label: str, *, key: bool) -> Flaw:
    """A label of the wrong form, and the nearest one that would do."""
    fitting = re.sub(r"[^a-z0-9_-]+", "-", label.lower()).strip("-_")[:63]
    fitting = re.sub(r"^[^a-z]+", "", fitting)
    hint = "a-z, 0-9, _ and -, starting with a letter, 63 characters at most."
    hint = f"Write {fitting}: {hint}" if fitting and fitting != label else f"A label is {hint}"
    message = f"{path_text(path)} is not a label" if key else f"{path_text(path)} is {shown(label)}: not a label"
    spot = tree.key_spot(path) if key else tree.value_spot(path)
    return tree.flaw(spot, message, hint)


def _services(tree: Tree, kinds: Mapping[str, Kind], flaws: list[Flaw]) -> dict[str, Service]:
    """The services that have no flaw of their own; adds what is wrong with any, or between them, to `flaws`."""
    raw = _raw_services(tree, flaws)
    known: dict[str, Kind] = {}
    valid: dict[str, Service] = {}
    for label, value in raw.items():
        path: Path = ("services", label)
        kind = _kind(tree, path, value, kinds)
        if isinstance(kind, Flaw):
            flaws.append(kind)
            continue
        service = read_fields(kind.service, _tame(value), path, tree, f"kind {kind.name}")
        if not re.fullmatch(LABEL_PATTERN, label):
            flaws.append(_bad_label(tree, path, label, key=True))
        elif label.startswith(RESERVED):
            message = f"{path_text(path)} is a label of Everup's own: such labels start with {RESERVED[0]}"
            flaws.append(tree.flaw(tree.key_spot(path), message, "Choose another label."))
        else:
            known[label] = kind
        if isinstance(service, list):
            flaws += service
        else:
            valid[label] = service
    flaws += relation_flaws(Declared(raw, known, tree), kinds)
    if not flaws:
        flaws += layout_flaws(valid, kinds, tree)
    return valid


def _raw_services(tree: Tree, flaws: list[Flaw]) -> dict[str, Any]:
    """What stands below `services`, by label; nothing, and a flaw, where that is no mapping."""
    raw = tree.value.get("services")
    spot = tree.value_spot(("services",))
    if raw is None and not any(nearest(key, ["services"]) for key in tree.value if key != "services"):
        what = "empty" if "services" in tree.value else "missing"
        hint = "Write services: and one entry for each, or services: {} for none."
        flaws.append(tree.flaw(spot, f"services is {what}: it says what runs", hint, "spec.missing"))
    elif not isinstance(raw, dict | None):
        message = f"services is {shown(raw)}: must be a mapping of labels"
        flaws.append(tree.flaw(spot, message, "Write LABEL: {kind: ...} for each service."))
    elif raw and len(raw) > MAX_SERVICES:
        flaws.append(tree.flaw(spot, f"services holds {len(raw)} services: at most {MAX_SERVICES} are possible"))
    else:
        return raw or {}
    return {}


def _tame(value: dict[str, Any]) -> dict[str, Any]:
    """The value with needs that are labels at least in form: those that are not are reported as unknown labels."""
    needs = value.get("needs")
    if not isinstance(needs, list):
        return value
    return {**value, "needs": ["x" if isinstance(n, str) and not re.fullmatch(LABEL_PATTERN, n) else n for n in needs]}


def _kind(tree: Tree, path: Path, value: Any, kinds: Mapping[str, Kind]) -> Kind | Flaw:
    """The kind that a service names, or what is wrong with that."""
    here = path_text(path)
    accepted = tuple(sorted(kinds))
    listed = f"Kinds: {', '.join(accepted)}."
    if not isinstance(value, dict):
        message = f"{here} is {shown(value)}: must be a mapping with a kind"
        hint = f"Write {path_text(path[-1:])}: {{kind: ...}}. {listed}"
        return tree.flaw(tree.value_spot(path), message, hint, "spec.invalid", *accepted)
    if "kind" not in value:
        typo = next((key for key in value if key != "kind" and nearest(key, ["kind"])), None)
        if typo:
            message = f"{path_text((*path, typo))} is not a key of a service"
            spot = tree.key_spot((*path, typo))
            return tree.flaw(spot, message, f"Did you mean kind? {listed}", "spec.unknown_key", "kind")
        message = f"{here}.kind is missing: it says what runs"
        return tree.flaw(tree.key_spot(path), message, listed, "spec.missing", *accepted)
    name = value["kind"]
    spot = tree.value_spot((*path, "kind"))
    if not isinstance(name, str):
        message = f"{here}.kind is {shown(name)}: must be the name of a kind"
        return tree.flaw(spot, message, listed, "spec.invalid", *accepted)
    if name not in kinds:
        message = f"{here}.kind is {shown(name)}: no such kind"
        return tree.flaw(spot, message, did_you_mean(name, accepted, "Kinds"), "spec.unknown_kind", *accepted)
    return kinds[name]
