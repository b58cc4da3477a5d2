"""The cgroups of a rig: every process that a rig starts is in them, so that none is forgotten and no other is hit."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
POLL_S = 0.05


def hierarchies() -> list[Path]:
    """Where cgroups may be made: one place with cgroup v2, one for each controller with v1."""
    if (ROOT / "cgroup.procs").exists():
        return [ROOT]
    return [path for path in sorted(ROOT.iterdir()) if (path / "cgroup.procs").exists() and not path.is_symlink()]


def put(pid: int, group: str) -> None:
    """Move a process into `group`, such as `everup-rig-x/node1/boot`: in one hierarchy, which is enough to find it."""
    found = hierarchies()
    where = next((path for path in found if path.name == "pids"), found[0]) / group
    where.mkdir(parents=True, exist_ok=True)
    (where / "cgroup.procs").write_text(str(pid))


def members(group: str) -> set[int]:
    """The processes in `group` and in all below it; numbers as seen from the machine."""
    pids = set()
    for folder in folders(group):
        with contextlib.suppress(OSError):  # it was removed meanwhile
            pids |= {int(line) for line in (folder / "cgroup.procs").read_text().split()}
    return pids


def folders(group: str) -> Iterator[Path]:
    """The folders of `group` in every hierarchy, those inside before those around them."""
    for root in hierarchies():
        for folder, _, _ in os.walk(root / group, topdown=False):
            yield Path(folder)


def clear(group: str, timeout_s: float) -> bool:
    """Kill what is in `group` and remove it; says whether nothing of it is left.

    Args:
        timeout_s: how long the kernel may take to bury what was killed.
    """
    end_s = time.monotonic() + timeout_s
    while list(folders(group)):
        for pid in members(group):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for folder in folders(group):
            with contextlib.suppress(OSError):  # somebody in it is still dying
                folder.rmdir()
        if time.monotonic() > end_s:
            return False
        time.sleep(POLL_S)
    return True
