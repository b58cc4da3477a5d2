"""Where the history of a former Redis primary parts from its successor's, read off their append-only files.

Both files hold the same commands, byte for byte and in the same order, up to the last one that the successor received:
a replica writes down what it is sent. Replication offsets do not lead there: the stream carries PINGs and PUBLISHes
that no file has, and a file begins anew with a SELECT after each rewrite. So the place is found by the bytes before it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

SIZES = (1 << 20, 1 << 16, 1 << 12, 1 << 9, 1 << 8, 1 << 6)
"""So many bytes before the parting are looked for, the most that is found: the longer, the surer the place."""

SURE_BYTES = 1 << 9
"""So many prove a place by themselves, where their last half stands nowhere else."""

SELECT = re.compile(rb"\*2\r\n\$6\r\n(?i:SELECT)\r\n\$\d+\r\n(\d+)\r\n")
_BEGINNING = re.compile(rb"\*\d+\r\n\$\d+\r\n")

UNWRITTEN = "its file ends before what its successor received: what it had neither written down nor sent is gone"

_WRAPPERS = frozenset({b"SELECT", b"MULTI", b"EXEC"})
"""Commands that change nothing themselves."""


@dataclass(frozen=True)
class Command:
    """One complete command of an append-only file: its words, and its first and last byte + 1."""

    begin: int
    end: int
    words: tuple[bytes, ...]

    @property
    def writes(self) -> bool:
        """It changes something itself."""
        return self.words[0].upper() not in _WRAPPERS


@dataclass(frozen=True)
class Parting:
    """Where a former primary's own history begins in its file, and how well that is known.

    `exact`: what follows is what the successor lacks, no more and no less. Otherwise `because` says what is not known.
    """

    at: int
    exact: bool
    because: str = ""


def commands(text: bytes, at: int = 0) -> Iterator[Command]:
    """The complete commands from `at` on, where one must begin; ends before one that is torn or damaged."""
    while (found := _command(text, at)) is not None:
        at = found.end
        if found.words:
            yield found


def _command(text: bytes, at: int) -> Command | None:
    """The command that begins at `at`, without words for a remark; None when it is not complete."""
    head, line_end = text[at : at + 1], text.find(b"\r\n", at)
    if line_end < 0 or head not in (b"*", b"#"):
        return None
    if head == b"#":
        return Command(at, line_end + 2, ())
    try:
        words, place = [], line_end + 2
        for _ in range(int(text[at + 1 : line_end])):
            line_end = text.find(b"\r\n", place)
            if line_end < 0 or text[place : place + 1] != b"$":
                return None
            length = int(text[place + 1 : line_end])
            words.append(text[line_end + 2 : line_end + 2 + length])
            place = line_end + 2 + length + 2
    except ValueError:
        return None
    whole = bool(words) and place <= len(text) and text[place - 2 : place] == b"\r\n"
    return Command(at, place, tuple(words)) if whole else None


def from_a_beginning(text: bytes, at: int) -> int:
    """The first place from `at` on where commands begin, one after the other; the end where none does."""
    while found := _BEGINNING.search(text, at):
        first = _command(text, found.start())
        if first and (first.end == len(text) or _command(text, first.end) or text[first.end : first.end + 1] == b"*"):
            return found.start()
        at = found.start() + 1
    return len(text)


def database_at(text: bytes, at: int) -> int:
    """The number of the database that a command at `at` is for."""
    number = 0
    for found in SELECT.finditer(text, 0, at):
        number = int(found[1])
    return number


def parting(old: bytes, new: bytes, own: int | None, common: int | None, *, complete: bool = False) -> Parting:
    """Where `old`, the newest part of a former primary's file, holds what `new`, its successor's, does not.

    Args:
        old: it ends with what was written last; the beginning may be missing.
        new: the same of the successor, with what it wrote itself since.
        own: where in `new` its own history began; None when nobody noted it.
        common: a place in `old` that the successor is known to have reached; None when there is none.
        complete: `old` holds all that was ever written.
    """
    begin = from_a_beginning(old, 0)
    whole = _last_end(old, begin)
    if own is None:
        found = _by_comparing(old[:whole], new, begin)
    else:
        found = _by_the_end(old, new[:own], common, complete=complete) or _held(old, new[:own], begin, whole)
    if found:
        return found
    if common is not None:
        done = common >= whole
        return Parting(common, done, "" if done else "the last place that both are known to have had is some way back")
    if begin == whole:
        return Parting(whole, False, "its file holds nothing since it was last rewritten")
    return Parting(begin, False, "where they part was not found, so all of its file since it was rewritten is kept")


def _last_end(text: bytes, at: int) -> int:
    """Where the last complete command ends. Only the end of a long text is read, from the first beginning there."""
    far = from_a_beginning(text, max(at, len(text) - SIZES[0]))
    return max((one.end for one in commands(text, at if far == len(text) else far)), default=at)


def _after_select(text: bytes, at: int = 0) -> int:
    """Behind the SELECT that begins a file, if one does."""
    found = SELECT.match(text, at)
    return found.end() if found else at


def _by_the_end(old: bytes, shared: bytes, common: int | None, *, complete: bool) -> Parting | None:
    """Look for the last bytes that both have. Found more than once, the first place counts: more is kept then.

    Found once, they prove the place where they must all be in `old`, or where they are such as stand nowhere else.
    """
    first = _after_select(shared)
    for size in SIZES:
        needle = shared[max(first, len(shared) - size) :]
        since = (common or 0) - len(needle)
        place = old.find(needle, max(0, since)) if needle else -1
        if place < 0 or not (complete or since >= 0 or _sure(needle, shared)):
            continue
        if old.find(needle, place + 1) < 0:
            return Parting(place + len(needle), exact=True)
        return Parting(place + len(needle), False, "its commands repeat, so it may be fewer")
    return None


def _sure(needle: bytes, text: bytes) -> bool:
    """It is long enough, and its last half stands once in `text`, so it proves a place."""
    last = needle[-SURE_BYTES // 2 :]
    return len(needle) >= SURE_BYTES and text.find(last) == text.rfind(last)


def _held(old: bytes, shared: bytes, begin: int, whole: int) -> Parting | None:
    """Whether the successor received all, and more: the file of the former primary ends before its history does."""
    needle = old[max(begin, whole - SURE_BYTES) : whole]
    return Parting(whole, False, UNWRITTEN) if needle in shared and _sure(needle, shared) else None


def _by_comparing(old: bytes, new: bytes, begin: int) -> Parting | None:
    """Find a place that both have, and compare from there on until they differ; a SELECT in one alone is none."""
    places = _aligned(old, new, _after_select(old, begin))
    if places is None:
        return None
    here, there = places
    while True:
        same = _equal(old, new, here, there)
        ended = _last_end(old[: here + same], here)
        here, there = ended, there + ended - here
        further = _after_select(old, here), _after_select(new, there)
        if further == (here, there):
            return Parting(here, False, "nobody noted where its successor took over; it was found by comparing both")
        here, there = further


def _aligned(old: bytes, new: bytes, begin: int) -> tuple[int, int] | None:
    """A place in each before which, and at which, both have the same."""
    first = _after_select(new)
    for size in SIZES[2:]:
        if len(new) - first >= size and (place := old.find(new[first : first + size])) >= 0:
            return place, first
        if len(old) - begin >= size and (place := new.find(old[begin : begin + size])) >= 0:
            return begin, place
    return None


def _equal(old: bytes, new: bytes, here: int, there: int) -> int:
    """How many bytes from two places on are the same."""
    low, high = 0, min(len(old) - here, len(new) - there)
    while low < high:
        middle = (low + high + 1) // 2
        if old[here + low : here + middle] == new[there + low : there + middle]:
            low = middle
        else:
            high = middle - 1
    return low
