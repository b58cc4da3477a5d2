"""Making certain that nothing of a node can run any more."""

import signal
import time

from everup.engines.local import kernel
from everup.engines.local.process import Process
from everup.model.errors import EngineError

PATIENCE_S = 10.0
"""How long the kernel may take to end what was killed; only a process stuck inside the kernel needs longer."""


def sweep(trail: kernel.Trail, pid: int | None = None, start: str = "") -> None:
    """Kill everything of a node, stopped processes too, and return once all of it is gone. Blocks.

    Args:
        trail: what its processes are known by.
        pid: its main process, if it had one; everything in that process's session is killed.
        start: the start time of `pid`.

    Raises:
        EngineError: something cannot be ended, by the kernel or for want of permission.
    """
    end_s = time.monotonic() + PATIENCE_S
    while found := kernel.relatives(trail, pid, start):
        if time.monotonic() > end_s:
            pids = ", ".join(str(seen.pid) for seen in found)
            raise EngineError(
                f"{trail.marker.rpartition('/')[2]}: processes that were killed live on: {pids}",
                "They are stuck in the kernel or belong to another user; look at them with ps.",
                code="engine.not_fenced",
            )
        held = _signal(found, signal.SIGKILL)
        for process in held:
            process.wait(max(0.0, end_s - time.monotonic()))
            process.close()


def freeze(trail: kernel.Trail, pid: int, start: str) -> None:
    """Stop everything of a node where it stands (SIGSTOP); it stays alive and silent."""
    for process in _signal(kernel.relatives(trail, pid, start), signal.SIGSTOP):
        process.close()


def _signal(found: list[kernel.Seen], number: int) -> list[Process]:
    held: list[Process] = []
    for seen in found:
        process = Process.hold(seen.pid, seen.start)
        if process is None:
            continue
        try:
            process.signal(number)
        except PermissionError:  # it changed its user: whoever asked finds it alive and says so
            pass
        held.append(process)
    return held
