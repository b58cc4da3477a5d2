"""What an agent says of the nodes on its host, in the form in which it goes over the wire. Pure."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from everup.model.errors import EngineError, Unavailable

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"
"""What may name an environment, a node, or a socket in a node's home."""

LONGEST_S = 3600
"""How long, at most, anything may go on that somebody asks for."""

_KILLED_FROM, _KILLED_TO = 129, 192
_UNKNOWN = 255
_UNAVAILABLE = 503


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sight(_Words):
    """One node as its host sees it now.

    Attributes:
        running: a container of it runs, or something that it started holds its volume.
        service, digest, files_digest: of the node it was started as.
        ticket: the largest number taken for a start, or barred.
        start: the number of the newest start that got to its program or failed on the way; 0 for none.
        pid: of its container's first process, on the host.
        exit_code: of its newest end, while nothing of it runs: as Popen says it, None where nobody knows.
        ended_age_s: how long ago that was; None where it never ran, or nobody knows.
        killed_at_bytes: the limit of memory at which the kernel killed it, or a process of it, as in `Confirmed`.
        last_line: the newest line of its output, once it has ended.
        failure, hint, code: why the start `start`, or a newer one, came to nothing.
    """

    running: bool
    service: str = ""
    digest: str = ""
    files_digest: str = ""
    ticket: int = 0
    start: int = 0
    pid: int | None = None
    since_utc: str | None = None
    exit_code: int | None = None
    killed_at_bytes: int | None = None
    ended_age_s: float | None = None
    last_line: str = ""
    has_data: bool = False
    generation: int | None = None
    restarts: int = 0
    free_bytes: int | None = None
    disk_bytes: int | None = None
    failure: str = ""
    hint: str = ""
    code: str = ""


class Ended(_Words):
    """The end of a node, the moment its host saw it: nothing of it runs any more.

    Attributes:
        start: the number of the start that ended.
        exit_code, age_s, last_line, killed_at_bytes: as in `Sight`.
    """

    node: str
    start: int
    exit_code: int | None
    age_s: float | None
    last_line: str
    killed_at_bytes: int | None = None


class End(_Words):
    """How a node ended that was asked to, as Popen says it; None where nobody knows."""

    exit_code: int | None


class Kept(_Words):
    """The volume to which a node's data were moved, "" where they were deleted, or there were none."""

    volume: str = ""


class Fence(_Words):
    """A wish: no start with a number up to `ticket` may ever run. None for a node that has no tickets."""

    ticket: int | None = Field(default=None, ge=0)


class Stopping(_Words):
    """A wish: ask it to end by `signal`, again every `repeat_s` seconds, and kill it after `grace_s`.

    Without a signal, all three are taken from what was noted at its start.
    """

    signal: str | None = Field(default=None, pattern=r"^SIG[A-Z0-9]{2,12}$")
    grace_s: float = Field(default=10.0, ge=0, le=LONGEST_S)
    repeat_s: float | None = Field(default=None, gt=0, le=LONGEST_S)


class Cut(_Words):
    """A wish: have the kernel drop what comes from these addresses and goes to them, for so many seconds.

    `killed`: the environment of which everything here is killed at the same moment, and held down; "" for none.
    """

    addresses: tuple[str, ...] = Field(max_length=1000)
    for_s: float = Field(gt=0, le=LONGEST_S)
    killed: str = Field(default="", pattern=rf"{NAME}|^$")


class Mark(_Words):
    """A wish: note that the node's data belong to this generation."""

    generation: int = Field(ge=0)


class Renewal(_Words):
    """A wish: rewrite these files, by name, and send the signal that makes the node read them."""

    files: dict[str, str]
    files_digest: str = Field(pattern=r"^[0-9a-f]{1,64}$")
    reload_signal: str = Field(pattern=r"^SIG[A-Z0-9]{2,12}$")


class Commands(_Words):
    """A wish: put these to a Unix socket in the node's home, one after the other."""

    socket: str = Field(pattern=NAME)
    commands: tuple[str, ...] = Field(max_length=1000)


class Answers(_Words):
    """What came back for each command."""

    answers: tuple[str, ...]


def popen_code(code: int) -> int | None:
    """What Docker says of an end, as Popen says it: 137 is -9, killed; 255 is what it says when it does not know."""
    if code == _UNKNOWN:
        return None
    return 128 - code if _KILLED_FROM <= code <= _KILLED_TO else code


def complaint(error: EngineError) -> dict[str, Any]:
    """An error as an agent answers it."""
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def error_from(answer: Any, status: int) -> EngineError:
    """The error that an agent answered, by its HTTP status; what is none becomes one."""
    kind = Unavailable if status == _UNAVAILABLE else EngineError
    said = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(said, dict):
        return kind(f"an agent answered with status {status}: {str(answer)[:300]}")
    return kind(str(said.get("message")), str(said.get("hint") or ""), code=str(said.get("code") or ""))
