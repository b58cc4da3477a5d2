"""Revisions of an app or a worker: what its instances ran, and how each of them went."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

LATER = ("image", "memory", "cpus")
"""Of `KEYS` those that revisions of an earlier Everup do not know; None is what they mean then."""

KEYS = ("run", "env", "cwd", *LATER)
"""The keys of a service that make a revision: what its instances run, with what, where, from which image, and how much
they may use."""


class Trial(StrEnum):
    """How a revision stands."""

    ROLLING = "rolling"  # instances are being replaced by it
    GOOD = "good"  # every instance ran it, and was ready
    FAILED = "failed"  # it did not become ready in time, or ended again and again


@dataclass(frozen=True)
class Revision:
    """One revision of one service.

    `number` counts from 1 and is never used again. `declared` holds the service's `KEYS`, `cwd` as an absolute path.
    `serial` is the number of the last restart that was asked for, 0 when there was none: a restart is a revision too.
    `at_utc` (ISO 8601) is when it was first declared; `because` says why it failed.
    """

    number: int
    declared: Mapping[str, object] = field(repr=False)
    serial: int
    at_utc: str
    trial: Trial = Trial.ROLLING
    because: str = ""

    @cached_property
    def digest(self) -> str:
        """The same exactly for revisions that run the same; hexadecimal, 16 characters."""
        declared = {key: value for key, value in self.declared.items() if key not in LATER or value is not None}
        return hashlib.sha256(json.dumps([declared, self.serial], sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class History:
    """The revisions of one service, oldest first; `current` is the number of the one that is declared now."""

    revisions: tuple[Revision, ...] = ()
    current: int = 0

    def find(self, number: int) -> Revision | None:
        """The revision with that number, if it is still known."""
        return next((one for one in self.revisions if one.number == number), None)

    @property
    def now(self) -> Revision | None:
        """The revision that is declared now."""
        return self.find(self.current)

    @property
    def former(self) -> Revision | None:
        """The newest other revision that was good: where a rollback leads."""
        good = [one for one in self.revisions if one.trial == Trial.GOOD and one.number != self.current]
        return good[-1] if good else None
