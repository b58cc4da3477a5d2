"""Keeps the WAL that only a former PostgreSQL primary has: from where its successor's timeline began to its end.

What it is told and prints is in `everup.programs.keeping`. `records.txt` is what `pg_waldump` says of that WAL; the WAL
itself lies beside it, in files that `pg_waldump` reads.
"""

import io
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from everup.programs.keeping import Found, keeping, main, spare
from everup.programs.postgres_parting import ENDLESS, Stretch, Tally, beyond, first_byte, history, lsn_of, segments

KEPT_FILES = 64
"""At most so many files of WAL are kept (1 GB), the oldest; how many more there were is said."""

TOLD_CHARACTERS = 16 << 20
"""At most so much of what `pg_waldump` says is kept."""

_PIECE = 1 << 16


def history_of(home: Path) -> tuple[Stretch, ...]:
    """The history of the server in `home`, by the newest history file that it has."""
    newest = max((home / "data" / "pg_wal").glob("????????.history"), default=None)
    return history(int(newest.stem, 16), newest.read_text()) if newest else history(1, "")


def look(home: Path, successor: Path, folder: Path, known: Mapping[str, int]) -> Found:
    """Find what only the server in `home` committed, and keep the WAL of it in `folder`."""
    own = beyond(history_of(home), history_of(successor))
    wal = home / "data" / "pg_wal"
    program = Path(json.loads((home / "patroni.json").read_text())["postgresql"]["bin_dir"]) / "pg_waldump"
    tally, found, told = Tally(), Found(), io.StringIO()
    for line in (line for stretch in own for line in _records(program, wal, stretch)):
        tally.add(line)
        if told.tell() < TOLD_CHARACTERS:
            told.write(line)
    found.writes = tally.transactions
    if found.writes:
        found.begin, found.end, found.size_bytes = lsn_of(own[0].begin), lsn_of(tally.end), tally.end - own[0].begin
        with keeping(found):
            (folder / "records.txt").write_text(told.getvalue(), encoding="utf-8")
            found.because = _copy(wal, folder, own, tally.end)
    return found


def _records(program: Path, wal: Path, stretch: Stretch) -> Iterator[str]:
    """The records of a stretch, one a line. The program complains where the WAL ends, which is no error here."""
    words = [str(program), "-p", str(wal), "-t", str(stretch.timeline), "-s", lsn_of(stretch.begin)]
    words += ["-e", lsn_of(stretch.end)] if stretch.end < ENDLESS else []
    environ = {**os.environ, "LC_ALL": "C"}
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(words, stdout=pipe, stderr=nowhere, text=True, errors="replace", env=environ) as process:
        assert process.stdout is not None
        yield from process.stdout


def _copy(wal: Path, folder: Path, own: Sequence[Stretch], end: int) -> str:
    """Copy the files of WAL that hold it; in words what was left out."""
    everything = [file.name for file in wal.iterdir()]
    size = next((wal / name).stat().st_size for name in everything if len(name) == 24)
    names = [name for one in own for name in segments(everything, one.timeline, one.begin, min(one.end, end), size)]
    spare(folder, len(names[:KEPT_FILES]) * size)
    for name in names[:KEPT_FILES]:
        _copy_until(wal / name, folder / name, end - first_byte(name, size), size)
    left = len(names) - KEPT_FILES
    return f"{left} more files of WAL were not kept" if left > 0 else ""


def _copy_until(source: Path, target: Path, valid: int, size: int) -> None:
    """Copy the first `valid` bytes; what follows in a file of WAL is left from earlier use, and becomes a hole."""
    with source.open("rb") as old, target.open("wb") as new:
        while (at := old.tell()) < min(valid, size):
            piece = old.read(min(_PIECE, valid - at))
            if not piece:
                break
            if piece.strip(b"\0"):
                new.seek(at)
                new.write(piece)
        new.truncate(size)


if __name__ == "__main__":
    main(look)
