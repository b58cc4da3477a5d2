"""What a node's volume remembers beside the node's data: which start came last, and whether it still lives.

Start program and agent meet here, each in a container of its own on one host: files and locks are all they share.

- `ticket`: the largest number that a start had, or that no start may have any more (fencing). Written durably, under a
  lock, before anything else happens: two containers of one start are not both let through, nor one that was fenced.
- `alive`: a lock that the node's program holds for as long as it runs. It is inherited through `exec`, so the kernel
  itself lets go of it at the end, whoever was killed on the way. Children may have closed it, and end with the program:
  it is the first process of their container, or that process's only child.
- `record.json`: the newest start that got as far as its program, or why it did not.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everup.engines.local.statefile import replace_text
from everup.model.errors import EngineError

HOMES = "/var/lib/everup/nodes"
"""The directory of the nodes' homes in their containers."""

FOLDER = ".everup"

AGENT_VOLUME, AGENT_FOLDER = "everup-agent", "/var/lib/everup/agent"
"""The volume in which the agent of a host notes what concerns all of its nodes, and where containers find it."""

REFUSED, FAILED = 86, 78
"""How a container ends whose start was superseded or fenced, and one whose node cannot be started."""

_TICKET, _TURN, _ALIVE, _RECORD = "ticket", "turn", "alive", "record.json"
_BARRED = "barred"
_HEARD = "keeping"
_TURN_S = 10.0
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True)
class Record:
    """The newest start of a node.

    Attributes:
        ticket: its number.
        task: Swarm's id of the task, which its container bears as a label.
        paths: what stands in its texts -> the path in the container.
        stop_signal, stop_grace_s, stop_repeat_s: as in `Stop`.
        started_utc: ISO 8601.
        starts: how often its program was started since its volume was made.
        failure, hint, code: why it came to nothing, as in `EverupError`, or "".
    """

    ticket: int
    task: str
    service: str
    digest: str
    files_digest: str
    started_utc: str
    starts: int
    keeps: tuple[str, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "SIGTERM"
    stop_grace_s: float = 10.0
    stop_repeat_s: float | None = None
    failure: str = ""
    hint: str = ""
    code: str = ""


class Volume:
    """The volume of a node, mounted at `path`. All methods block, for milliseconds where nothing else is said.

    A node's own program may write here too: links that it leaves are not followed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path / FOLDER

    def ticket(self) -> int:
        """The largest ticket taken; 0 when none ever was.

        Raises:
            EngineError: what is there is no number.
        """
        return self._read_ticket()[0]

    def barred(self) -> int:
        """The largest ticket that was barred, if no larger one was taken since; else 0.

        Raises:
            EngineError: what is there is no number.
        """
        ticket, is_barred = self._read_ticket()
        return ticket if is_barred else 0

    def take(self, ticket: int, *, again: bool = False) -> bool:
        """Take a ticket for a start, durably; False when one as large was taken before: then nothing may start.

        `again` leaves it for others of the same number, which only a fence ends: copies that Swarm restarts by itself.

        Raises:
            OSError: it cannot be written, and does not count as taken.
        """
        with self._turn():
            taken = self.ticket()
            if ticket <= taken:
                return False
            if not again:
                self._write_ticket(f"{ticket}")
            elif taken < ticket - 1:
                self._write_ticket(f"{ticket - 1}")
            return True

    def bar(self, ticket: int) -> int:
        """Take every ticket up to this one, durably: no start with one of them gets any further. The largest taken."""
        with self._turn():
            with contextlib.suppress(EngineError):  # what is no number is written anew
                ticket = max(ticket, self.ticket())
            self._write_ticket(f"{ticket} {_BARRED}")
            return ticket

    def hold(self, patience_s: float) -> int | None:
        """Hold the lock of the living from now on, through `exec` too; its descriptor.

        None when a predecessor still holds it after `patience_s` seconds.
        """
        handle = self._open(_ALIVE)
        if not _lock(handle, patience_s):
            os.close(handle)
            return None
        os.set_inheritable(handle, True)
        return handle

    def alive(self) -> bool:
        """Something of the node lives: it holds the lock.

        Raises:
            EngineError: not even the place of all volumes can be seen, so nobody knows (code `engine.volume_unseen`).
        """
        try:
            handle = os.open(self._inside(_ALIVE), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            if not self.path.parent.parent.is_dir():
                raise _unseen(self.path) from None
            return False
        try:
            return not _lock(handle, 0.0, fcntl.LOCK_SH)  # shared: two who look do not take each other for it
        finally:
            os.close(handle)

    def holder(self, locks: Path) -> int | None:
        """The process that took the lock of the living, by the kernel's list of locks; None where it does not say."""
        try:
            found = self._inside(_ALIVE).stat()
            listed = [line.split() for line in locks.read_text().splitlines()]
        except OSError:
            return None
        where = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        held = (words[-4] for words in listed if words[-3] == where and "FLOCK" in words)
        return next((int(pid) for pid in held), None)

    def record(self) -> Record | None:
        """The newest start; None when there never was one, or what is there cannot be understood (`garbled`)."""
        try:
            kept: dict[str, Any] = json.loads(self._inside(_RECORD).read_text())
            fields = {one.name: kept[one.name] for one in dataclasses.fields(Record) if one.name in kept}
            return Record(**{**fields, "keeps": tuple(fields["keeps"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def garbled(self) -> bool:
        """There was a start, and what was noted of it cannot be understood: that says nothing of the node's data."""
        return self.record() is None and self._inside(_RECORD).exists()

    def save(self, record: Record) -> None:
        """Write the record, whole or not at all.

        Raises:
            OSError: the disk is full, or the like; what was there before still is.
        """
        self._make()
        replace_text(self._inside(_RECORD), json.dumps(dataclasses.asdict(record)) + "\n")

    def _read_ticket(self) -> tuple[int, bool]:
        try:
            number, *said = self._inside(_TICKET).read_text().split()
            return int(number), said == [_BARRED]
        except FileNotFoundError:
            return 0, False
        except ValueError as error:
            raise EngineError(f"{self._folder / _TICKET} holds no number") from error

    def _write_ticket(self, text: str) -> None:
        replace_text(self._inside(_TICKET), f"{text}\n")

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One at a time reads and writes the ticket."""
        handle = self._open(_TURN)
        try:
            if not _lock(handle, _TURN_S):
                raise EngineError(f"another process has held {self._folder / _TURN} for {_TURN_S:g} s")
            yield
        finally:
            os.close(handle)

    def _open(self, name: str) -> int:
        self._make()
        return os.open(self._inside(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def _make(self) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _inside(self, name: str) -> Path:
        if self._folder.is_symlink() or (self._folder / name).is_symlink():
            raise EngineError(
                f"{self._folder / name} is a link, which Everup did not make", code="engine.volume_spoilt"
            )
        return self._folder / name


def _unseen(place: Path) -> EngineError:
    """The error for a volume that is not where this host's Docker says it is: it is not empty, it is out of sight."""
    return EngineError(
        f"Docker keeps its volume in {place}, which Everup's agent on this host does not see",
        "All hosts' Docker must keep their volumes in the same place: docker info, Docker Root Dir.",
        code="engine.volume_unseen",
    )


def move_all(place: Path, to: Path) -> None:
    """Move all that is in one volume to another on the same disk, what it remembers of its starts last. Blocks.

    Raises:
        OSError: it cannot be; what was moved by then stays there, and the rest can be moved later.
    """
    found = place.stat()
    os.chown(to, found.st_uid, found.st_gid)
    to.chmod(found.st_mode & 0o7777)
    for one in sorted(place.iterdir(), key=lambda one: one.name == FOLDER):
        one.rename(to / one.name)


def heard(folder: Path) -> int:
    """The largest number of a control plane that the agent of this host has noted; 0 for none. Blocks."""
    with contextlib.suppress(OSError, ValueError):
        return int((folder / _HEARD).read_text())
    return 0


def hear(folder: Path, number: int) -> None:
    """Note that number, durably. Blocks.

    Raises:
        OSError: the disk is full, or the like; what was noted before still is.
    """
    replace_text(folder / _HEARD, f"{number}\n")


def _lock(handle: int, patience_s: float, how: int = fcntl.LOCK_EX) -> bool:
    end_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end_s:
                return False
            time.sleep(_LOOK_EVERY_S)
