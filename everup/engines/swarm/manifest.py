"""What a label on the Swarm says: who looks after it, and which configs hold what is known. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from everup.model.errors import EngineError

LABEL = "everup.state"
"""On the Swarm: the manifest, JSON. On a config: it is a part of a piece."""


@dataclass(frozen=True)
class Manifest:
    """What counts in a Swarm.

    Attributes:
        number: one larger each time.
        keeper: who may change it; empty: nobody acts.
        address: of the keeper's host.
        pieces: name -> the configs that hold it, by name, in order.
        keeping: the number under which the newest keeper acts, larger than that of any before it.
    """

    number: int = 0
    keeper: str = ""
    address: str = ""
    pieces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keeping: int = 0


def manifest_in(spec: Mapping[str, Any]) -> Manifest:
    """The manifest in a Swarm's spec; an empty one where there is none.

    Raises:
        EngineError: somebody else wrote it.
    """
    label = (spec.get("Labels") or {}).get(LABEL)
    if not label:
        return Manifest()
    try:
        found = json.loads(label)
        pieces = {str(name): tuple(map(str, parts)) for name, parts in found["pieces"].items()}
        numbers = int(found["number"]), int(found.get("keeping", 0))
        return Manifest(numbers[0], str(found["keeper"]), str(found["address"]), pieces, numbers[1])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"the label {LABEL} of the Swarm is not what Everup wrote there: {error}") from error


def with_manifest(spec: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """The Swarm's spec with that manifest."""
    label = json.dumps(asdict(manifest), separators=(",", ":"))
    return {**spec, "Labels": {**(spec.get("Labels") or {}), LABEL: label}}


def without_manifest(spec: dict[str, Any]) -> dict[str, Any]:
    """The Swarm's spec without any: nothing is kept there, and no keeper may change that."""
    return {**spec, "Labels": {name: text for name, text in (spec.get("Labels") or {}).items() if name != LABEL}}
