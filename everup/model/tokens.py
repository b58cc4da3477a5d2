"""Tokens: what is known of one, its secret left out."""

from dataclasses import dataclass

from everup.model.access import Caller, Level


@dataclass(frozen=True)
class Token:
    """What a program shows to say who it is.

    Attributes:
        environments: those it is for, sorted; None: all.
        created_utc, expires_utc, used_utc: ISO 8601; never expires, or was never used, where None.
    """

    name: str
    level: Level
    environments: tuple[str, ...] | None
    created_utc: str
    expires_utc: str | None
    used_utc: str | None = None

    @property
    def caller(self) -> Caller:
        """Who shows it."""
        environments = None if self.environments is None else frozenset(self.environments)
        return Caller(self.name, self.level, environments)
