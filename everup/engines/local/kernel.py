"""What the kernel says of processes: who exists, since when, in which session, with which marker.

Linux answers from /proc. Elsewhere `ps` does, which knows no markers: a child that left its process group is not found.
"""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARKER = "EVERUP_NODE"
"""Environment variable that every process of a node inherits: `<home hash>/<node id>`."""

_LINUX = sys.platform == "linux"
_PS_S = 5.0
_CHUNK = 65_536


@dataclass(frozen=True)
class Trail:
    """What the processes of a node are known by: the marker they inherit, and the home (absolute) they work in.

    The home finds those that have wiped their environment, as the backends of PostgreSQL do to make room for a title.
    """

    marker: str
    home: str = ""


@dataclass(frozen=True)
class Seen:
    """A living process. `start` never changes while it lives; with `pid` it is an identity within one boot."""

    pid: int
    start: str
    session: int
    parent: int


@functools.cache
def boot_id() -> str:
    """Names this boot of the machine: process numbers of another one mean nothing."""
    if _LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return _output(["sysctl", "-n", "kern.boottime"]).strip()


def look(pid: int) -> Seen | None:
    """The process with that number, unless there is none or it is dead (a zombie is dead)."""
    if not _LINUX:
        return next((seen for seen in _ps(["-p", str(pid)])), None)
    stat = _read(f"/proc/{pid}/stat")
    # The name in parentheses may hold anything, spaces and parentheses included.
    fields = stat.rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    state, threads = fields[0], int(fields[17])
    if state in b"XZ" and threads <= 1:  # a leader whose threads live on is not dead
        return None
    return Seen(pid=pid, start=fields[19].decode(), session=int(fields[3]), parent=int(fields[1]))


def everyone() -> Iterator[Seen]:
    """Every living process, kernel threads left out, in no order."""
    if not _LINUX:
        yield from _ps(["-A"])
        return
    for name in os.listdir("/proc"):  # noqa: PTH208 (this runs for every process of the machine)
        if name.isdigit():
            seen = look(int(name))
            if seen and seen.parent != 2:
                yield seen


def relatives(trail: Trail, pid: int | None = None, start: str = "") -> list[Seen]:
    """Everything of a node that lives: its main process (`pid`, `start`), its session, and what left its trail.

    The trail also finds children that made a session of their own. The caller itself is never among them.
    """
    leader = look(pid) if pid else None
    session = pid if pid and (leader is None or leader.start == start) else None  # else the number was given anew
    mine, home = f"{MARKER}={trail.marker}".encode(), os.path.realpath(trail.home) if trail.home else ""
    found = [seen for seen in everyone() if seen.session == session or _belongs(seen, mine, home, start)]
    return [seen for seen in found if seen.pid != os.getpid()]


def marked(prefix: str) -> dict[int, str]:
    """Living processes whose marker starts with `prefix`, by number, with their markers."""
    found: dict[int, str] = {}
    for seen in everyone() if _LINUX else ():
        for word in _read(f"/proc/{seen.pid}/environ").split(b"\0"):
            if word.startswith(f"{MARKER}={prefix}".encode()) and seen.pid != os.getpid():
                found[seen.pid] = word.decode(errors="replace").partition("=")[2]
    return found


def command_line(pid: int) -> bytes:
    """The words the process was started with, separated by NUL; empty when it is gone or the platform does not say."""
    return _read(f"/proc/{pid}/cmdline") if _LINUX else b""


def catches(pid: int, number: int, proc: str = "/proc") -> bool:
    """The process has a handler for that signal; also said where nobody can know. `proc`: where its kernel tells."""
    for line in _read(f"{proc}/{pid}/status").splitlines() if _LINUX else ():
        if line.startswith(b"SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return True


def _belongs(seen: Seen, mine: bytes, home: str, since: str) -> bool:
    if not _LINUX or (since and int(seen.start) < int(since)):  # older than the node itself: cannot descend from it
        return False
    environ = _read(f"/proc/{seen.pid}/environ")
    if environ.strip(b"\0"):  # whoever has an environment says there whose it is; a person's shell is nobody's
        return mine in environ.split(b"\0")
    return bool(home) and _works_in(seen.pid, home)


def _works_in(pid: int, home: str) -> bool:
    try:
        return f"{os.readlink(f'/proc/{pid}/cwd')}/".startswith(f"{home}/")  # noqa: PTH115 (for speed)
    except OSError:
        return False


def _read(path: str) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or another user's
        return b""
    try:
        found = os.read(handle, _CHUNK)
        while found and len(found) % _CHUNK == 0 and (more := os.read(handle, _CHUNK)):
            found += more
        return found
    except OSError:
        return b""
    finally:
        os.close(handle)


def _ps(which: list[str]) -> Iterator[Seen]:
    for line in _output(["ps", *which, "-o", "pid=,pgid=,ppid=,stat=,lstart="]).splitlines():
        pid, group, parent, state, start = line.split(None, 4)
        if not state.startswith("Z"):
            yield Seen(pid=int(pid), start=start.strip(), session=int(group), parent=int(parent))


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=_PS_S, check=False).stdout
