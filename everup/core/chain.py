"""The hash chain of the audit log: each entry's hash covers the one before, so nothing in between can change unseen."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ORIGIN = "0" * 64
"""Stands for the hash before the first entry."""


def canonical(entry: Mapping[str, Any]) -> str:
    """The one text of an entry that its hash covers: JSON in ASCII, keys sorted, no spaces, `hash` left out.

    `jq -acS 'del(.hash)'` writes the same.
    """
    bare = {key: value for key, value in entry.items() if key != "hash"}
    return json.dumps(bare, sort_keys=True, separators=(",", ":"))


def seal(former: str, entry: Mapping[str, Any]) -> str:
    """The hash of an entry that follows one with the hash `former`: SHA-256 over both, hexadecimal."""
    return hashlib.sha256(f"{former}\n{canonical(entry)}".encode()).hexdigest()


@dataclass(frozen=True)
class Chain:
    """What was found: so many `entries` in order, `head` the hash of the last of them.

    `broken` is the number of the first entry that is not as it was written, with the reason; None where all are.
    """

    entries: int
    head: str
    broken: int | None = None
    because: str = ""


def verify(entries: Iterable[Mapping[str, Any]], kept: str = "") -> Chain:
    """Follow a chain from its first entry.

    Args:
        entries: all of them, oldest first, each with its `hash`.
        kept: a hash that was once its head; without one nobody can tell whether entries are missing at the end.
    """
    former, count, met = ORIGIN, 0, not kept
    for entry in entries:
        number = count + 1
        if entry.get("seq") != number:
            return Chain(count, former, number, f"entry {number} is missing: {entry.get('seq')} follows {count}")
        if entry.get("hash") != seal(former, entry):
            return Chain(count, former, number, f"entry {number} was changed, or put there by somebody else")
        former, count = str(entry["hash"]), number
        met = met or former == kept
    if not met:
        return Chain(count, former, count + 1, "no entry has the hash that was kept: the end was cut off or rewritten")
    return Chain(count, former)
