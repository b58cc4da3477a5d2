"""Every error a user can meet: what happened, where, why, and what to do about it.

`code` is a stable slug and part of the API; `api/` maps classes to HTTP status, `cli/` to exit codes.
"""

from dataclasses import dataclass
from typing import ClassVar


class EverupError(Exception):
    """An expected failure, told in the user's words.

    Args:
        message: what happened and why, one sentence.
        hint: what to do next, one sentence or a command; may be empty.
        code: a stable slug such as `refused.limit`; the class has a default.
        subject: what it is about, for example `label="web"`, `node="web-2"`.
    """

    default_code: ClassVar[str] = "failed"

    def __init__(self, message: str, hint: str = "", *, code: str = "", **subject: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code
        self.subject = subject


@dataclass(frozen=True)
class Flaw:
    """One thing wrong in a spec file. `line` and `column` count from 1; `accepted` lists what would be valid."""

    message: str
    line: int
    column: int
    hint: str = ""
    code: str = "spec.invalid"
    accepted: tuple[str, ...] = ()


class SpecError(EverupError):
    """The spec file is wrong; carries every flaw found, not only the first. Nothing was changed."""

    default_code = "spec.invalid"

    def __init__(self, file: str, flaws: tuple[Flaw, ...]) -> None:
        first = flaws[0]
        super().__init__(first.message, first.hint, code=first.code, file=file)
        self.file = file
        self.flaws = flaws


class NotFound(EverupError):
    """The named environment, service or node does not exist."""

    default_code = "not_found"


class NotPermitted(EverupError):
    """Whoever asked may not do this."""

    default_code = "not_permitted"


class Refused(EverupError):
    """Everup will not do this: it would cost a quorum, data, or a promise."""

    default_code = "refused"


class TooMany(EverupError):
    """Somebody asks too often; `retry_after_s` says when to try again."""

    default_code = "request.too_many"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message, f"Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class EngineError(EverupError):
    """The engine that runs the nodes did not do what it was asked."""

    default_code = "engine.failed"


class Unavailable(EngineError):
    """The engine does not answer; the loop tries again by itself."""

    default_code = "engine.unavailable"


class NodeFailed(EngineError):
    """A node could not be started, or ended at once: program, exit code and the last log lines are in the message."""

    default_code = "engine.node_failed"


class Inconclusive(EverupError):
    """A measurement that proves nothing; never reported as a pass."""

    default_code = "drill.inconclusive"
