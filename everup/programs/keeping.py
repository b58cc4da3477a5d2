"""What the programs that look for lost writes have in common: what they are told, and what they print.

    python -m everup.programs.PROGRAM HOME_OF_THE_FORMER_PRIMARY HOME_OF_ITS_SUCCESSOR FOLDER KNOWN

`KNOWN` is a JSON object with what was noted of where their histories part. What only the former primary has is written
into FOLDER, and one JSON object is printed: writes, bytes, from, to, exact, because, keys, and `unkept`, which says why
nothing could be written, "" when it was. Both homes are only read.
"""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SPARED_BYTES = 256 << 20
"""What is kept leaves so much of the disk free: those who serve need it more."""

MODEST = 10
"""How much such a program stands back behind others (nice(2))."""


@dataclass
class Found:
    """What only a former primary has; the fields are those of `everup.model.ledger.Kept`."""

    writes: int = 0
    size_bytes: int = 0
    begin: str = ""
    end: str = ""
    exact: bool = True
    because: str = ""
    keys: Iterable[str] = field(default_factory=tuple)
    unkept: str = ""


@contextmanager
def keeping(found: Found) -> Iterator[None]:
    """Write what was found; a full disk, or the like, is noted and ends nothing."""
    try:
        yield
    except OSError as error:
        found.unkept = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)


def spare(folder: Path, size_bytes: int) -> None:
    """See that `size_bytes` can be written to `folder` without taking the room that others need.

    Raises:
        OSError: they cannot.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < size_bytes + SPARED_BYTES:
        because = f"it takes {size_bytes / 1e6:.0f} MB, and the disk has only {free_bytes / 1e6:.0f} MB left"
        raise OSError(errno.ENOSPC, because)


def main(look: Callable[[Path, Path, Path, Mapping[str, int]], Found]) -> None:
    """Look, and print what was found."""
    os.nice(MODEST)
    os.umask(0o077)
    old, new, folder, known = sys.argv[1:]
    found = look(Path(old), Path(new), Path(folder), json.loads(known))
    told = {
        "writes": found.writes,
        "bytes": found.size_bytes,
        "from": found.begin,
        "to": found.end,
        "exact": found.exact,
        "because": found.because,
        "keys": list(found.keys),
        "unkept": found.unkept,
    }
    print(json.dumps(told))
