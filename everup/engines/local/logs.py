"""The output of one node: a file it appends to by itself, rotated under it without losing a line.

`out.log` is live; `out.log.1` is the newest archive, `out.log.2` the one before. Together they are one stream of bytes,
and a position in it keeps its meaning across a rotation, so a reader neither misses nor repeats anything.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from everup.engines.local.rotation import copy_head, cut_head

LIVE = "out.log"
LIMIT_BYTES = 10_000_000
KEEP = 3
_FRESH = "out.log.next"
_CHUNK = 65_536
_LONGEST_LINE = 65_536
_LOOK_EVERY_S = 0.1


class Journal:
    """The stream of one node's output, in the directory `home`. Its methods may be called from any thread."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.RLock()
        self._turn = threading.Lock()  # one rotation at a time
        self._base: int | None = None  # position in the stream of the first byte of out.log

    @property
    def live(self) -> Path:
        """The file that the node appends to."""
        return self._home / LIVE

    def span(self) -> tuple[int, int]:
        """First and last position that can be read, in bytes."""
        with self._lock:
            base = self._find_base()
            return base - sum(map(_size, self._archives())), base + _size(self.live)

    def read(self, start: int, limit: int = _CHUNK) -> bytes:
        """At most `limit` bytes from position `start` on; empty at the end. `start` lies within `span()`."""
        with self._lock:
            end = self._find_base()
            if start >= end:
                return _read(self.live, start - end, limit)
            for archive in self._archives():
                end -= _size(archive)
                if start >= end:
                    return _read(archive, start - end, limit)
            return b""

    def tail(self, lines: int) -> tuple[list[str], int]:
        """The newest `lines` whole lines, and the position after the last of them."""
        with self._lock:
            first, end = self.span()
            start, pieces, ends = end, list[bytes](), 0
            while start > first and ends <= lines:
                step = max(first, start - _CHUNK)
                pieces.append(self._between(step, start))
                ends += pieces[-1].count(b"\n")
                start = step
        whole, newline, rest = b"".join(reversed(pieces)).rpartition(b"\n")
        found = whole.split(b"\n") if newline else []
        return [_decode(line) for line in found[max(0, len(found) - lines) :]], end - len(rest)

    def last_line(self) -> str:
        """The newest line that says something, finished or not; at most 300 characters."""
        first, end = self.span()
        text = self._between(max(first, end - 4096), end)
        lines = [line for line in _decode(text).splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else ""

    async def lines(self, lines: int, follow: bool) -> AsyncIterator[str]:
        """The newest `lines`, oldest first; then, with `follow`, what comes, until the home is deleted."""
        found, position = self.tail(lines)
        for line in found:
            yield line
        rest: bytes = b""
        while True:
            first, end = self.span()
            if position < first or position > end:  # dropped before it was read, or begun anew
                position, rest = first, b""
            chunk = self.read(position)
            position += len(chunk)
            *whole, rest = (rest + chunk).split(b"\n")
            for piece in whole:
                yield _decode(piece)
            if not chunk or len(rest) > _LONGEST_LINE:
                if rest and (not follow or len(rest) > _LONGEST_LINE):
                    yield _decode(rest)
                    rest = b""
                if not chunk and not (follow and self._home.exists()):
                    return
            if not chunk:
                await asyncio.sleep(_LOOK_EVERY_S)

    def exceeds(self, limit_bytes: int = LIMIT_BYTES) -> bool:
        """It is time to rotate."""
        return _size(self.live) > limit_bytes

    def rotate(self, limit_bytes: int = LIMIT_BYTES, keep: int = KEEP) -> bool:
        """Move what is in `out.log` to an archive once it exceeds `limit_bytes`; keep `keep` times that in all. Blocks.

        Returns whether it did. Where the file system cannot cut off the head of a file, lines written during the
        copy may be lost.

        Raises:
            OSError: the archive cannot be written; `out.log` is as it was.
        """
        with self._turn:
            if not self.exceeds(limit_bytes):
                return False
            with self._lock:
                base = self._find_base()
            budget, fresh = limit_bytes * max(1, keep - 1), self._home / _FRESH
            head = copy_head(self.live, fresh, newest=budget)  # the long part; readers go on meanwhile
            if not head:
                return False
            with self._lock:
                self._base = base + cut_head(self.live, fresh, head, newest=budget)
                self._shelve(fresh, budget)
            return True

    def _between(self, start: int, end: int) -> bytes:
        found = b""
        while start + len(found) < end and (piece := self.read(start + len(found), end - start - len(found))):
            found += piece
        return found

    def _shelve(self, fresh: Path, budget: int) -> None:
        archives = self._archives()
        for archive in reversed(archives):
            number = int(archive.suffix[1:])
            archive.rename(self._home / f"{LIVE}.{number + 1}")
        fresh.rename(self._home / f"{LIVE}.1")
        total = 0
        for archive in self._archives():
            total += _size(archive)
            if total > budget:
                archive.unlink()

    def _find_base(self) -> int:
        if self._base is None:
            self._finish()
            self._base = sum(map(_size, self._archives()))
        return self._base

    def _finish(self) -> None:
        """Finish or undo a rotation in which a control plane was killed."""
        fresh = self._home / _FRESH
        if not fresh.exists():
            return
        size = _size(fresh)
        if size and _read(self.live, 0, size) != _read(fresh, 0, size):  # the head was cut off already
            self._shelve(fresh, LIMIT_BYTES * KEEP)
        else:
            fresh.unlink()

    def _archives(self) -> list[Path]:
        """Newest first."""
        found = [path for path in self._home.glob(f"{LIVE}.*") if path.suffix[1:].isdigit()]
        return sorted(found, key=lambda path: int(path.suffix[1:]))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path, offset: int, limit: int) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return os.pread(file.fileno(), limit, offset)
    return b""


def _decode(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\r")
