"""Who may do what: roles, and who asks."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """What somebody may do; each may do all that those before it may."""

    VIEWER = "viewer"  # look
    DEVELOPER = "developer"  # up, deploy, restart, rollback, scale within limits, logs, variables
    OPERATOR = "operator"  # limits, ha, switchover, drills, down, tokens, secrets, audit


@dataclass(frozen=True)
class Caller:
    """Who asks: the name of a token or of the socket's owner, and where it may do what.

    Attributes:
        environments: those it may speak of; None: all.
    """

    name: str
    level: Level
    environments: frozenset[str] | None = None

    def may(self, level: Level, environment: str | None = None) -> bool:
        """Whether it may do what needs `level`, in that environment if it concerns one."""
        levels = list(Level)
        permitted = self.environments is None or environment in self.environments
        return permitted and levels.index(self.level) >= levels.index(level)


OWNER = Caller("owner", Level.OPERATOR)
"""Whoever can open the Unix socket owns the control plane."""
