"""What somebody asked of the control plane and what came of it, as the audit log records it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Deed:
    """One request. What changes something is recorded twice: before it is done, and before its answer goes out.

    Attributes:
        at_utc: ISO 8601.
        who: the caller's name, and `level` what it may do; both "" where nobody was recognised.
        what: method and route, such as `POST /v1/environments/{environment}/services/{label}/scale`.
        where: what the route is about: `environment`, `label`, `node`, `name`.
        given: the arguments that matter; never a secret.
        origin: `socket` for the Unix socket, else the address it came from.
        asked: the number of the entry that was written before it was done; None in that entry itself, and where nothing
            was going to be done.
        status: the HTTP status of the answer; None before there is one.
        code: the slug of the error it was answered with, else "".
    """

    at_utc: str
    who: str
    level: str
    what: str
    where: Mapping[str, str]
    given: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""
    asked: int | None = None
    status: int | None = None
    code: str = ""

    def entry(self, number: int) -> dict[str, Any]:
        """The entry of the log with that number (from 1), still without its hash: values of JSON, no floats."""
        return {
            "seq": number,
            "at": self.at_utc,
            "who": self.who,
            "level": self.level,
            "what": self.what,
            "where": dict(self.where),
            "given": dict(self.given),
            "from": self.origin,
            "asked": self.asked,
            "status": self.status,
            "code": self.code,
        }
