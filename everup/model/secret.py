"""Secrets as everybody but the process that uses them sees them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Secret:
    """A secret that is kept, but for its value: its name, when it was set (ISO 8601), and by whom."""

    name: str
    set_at_utc: str
    set_by: str
    used_by: tuple[str, ...] = ()
