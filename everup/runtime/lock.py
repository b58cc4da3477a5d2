"""The lock of a home: one control plane looks after it at a time, or whoever replaces what that stands on."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from everup.model.errors import Refused

STANDBY = "EVERUP_STANDBY"
"""Where this is set, a control plane waits while there is another, and takes over the moment that ends."""


def take_lock(path: Path, *, wait: bool = False) -> int:
    """Hold the home's lock for the life of this process; returns its descriptor. With `wait`, once it is free.

    Raises:
        Refused: another control plane holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise Refused(
            f"another control plane{f' (pid {holder})' if holder else ''} looks after {path.parent}",
            "Use it, end it, or set EVERUP_HOME to another directory.",
            code="refused.second_control_plane",
        ) from error
    with suppress(OSError):  # the disk is full: it holds the lock all the same, and nobody can read its name
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    return descriptor
