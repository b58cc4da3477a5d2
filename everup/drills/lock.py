"""One drill at a time in a home: two would measure each other."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from everup.model.errors import Refused


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold the home's drill lock while the block lasts; the kernel frees it should this process die.

    Raises:
        Refused: another drill holds it.
    """
    descriptor = os.open(home / "drills.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            hint = "Wait for its end: everup events -f tells it."
            raise Refused("another drill is going on here", hint, code="refused.second_drill") from error
        yield
    finally:
        os.close(descriptor)
