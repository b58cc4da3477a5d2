"""Where the history of a former PostgreSQL primary parts from its successor's, and what it committed after that.

A promoted server begins a timeline, and writes down where in a file `0000000N.history`: the timelines it descends from,
each with the position in the WAL at which the next one began. What follows in the WAL of the former primary is what
only that one has; `pg_waldump` names its records.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

ENDLESS = 1 << 64

_RECORD = re.compile(
    r"rmgr: (?P<kind>\w+)\s+len \(rec/tot\):\s*\d+/\s*(?P<bytes>\d+), tx:\s*(?P<tx>\d+), "
    r"lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+), prev [0-9A-F]+/[0-9A-F]+, desc: (?P<what>.*)"
)
_OWN_MESSAGE = re.compile(r'MESSAGE transactional, prefix "everup"')


def position(lsn: str) -> int:
    """A position in the WAL, in bytes, from how PostgreSQL writes it (`16/B374D848`)."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_of(at: int) -> str:
    """The same the other way round."""
    return f"{at >> 32:X}/{at & 0xFFFFFFFF:X}"


@dataclass(frozen=True)
class Stretch:
    """A part of a server's history: a timeline, and from where to where in the WAL it was followed."""

    timeline: int
    begin: int
    end: int = ENDLESS


def history(timeline: int, text: str) -> tuple[Stretch, ...]:
    """The history of a server on `timeline`, oldest first; `text` is the history file of that one, "" for the first."""
    found: list[Stretch] = []
    begin = 0
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].isdigit() and "/" in words[1]:
            found.append(Stretch(int(words[0]), begin, position(words[1])))
            begin = found[-1].end
    return (*found, Stretch(timeline, begin))


def beyond(old: Sequence[Stretch], new: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """What of the history `old` is none of `new`: from the end of what both followed; all where they share nothing."""
    number = 0
    while number < min(len(old), len(new)) and old[number] == new[number]:
        number += 1
    rest = list(old[number:])
    if rest and number < len(new) and (rest[0].timeline, rest[0].begin) == (new[number].timeline, new[number].begin):
        fork = min(rest[0].end, new[number].end)
        rest[0] = Stretch(rest[0].timeline, fork, rest[0].end)
    return tuple(one for one in rest if one.begin < one.end)


@dataclass
class Tally:
    """What `pg_waldump` told of some WAL: the records are given to `add` line by line.

    `end` is the position behind the last record. A transaction that only carried one of Everup's own messages, by which
    it wakes what waits for a commit, counts for nothing.
    """

    begin: int = 0
    end: int = 0
    records: int = 0
    _committed: set[str] = field(default_factory=set)
    _wakers: set[str] = field(default_factory=set)
    _changing: set[str] = field(default_factory=set)

    def add(self, line: str) -> None:
        """Take in one line; what is no record says nothing."""
        found = _RECORD.match(line)
        if not found:
            return
        at, length = position(found["lsn"]), int(found["bytes"])
        self.begin = self.begin or at
        self.end = max(self.end, at + (length + 7) // 8 * 8)  # records begin at multiples of 8
        self.records += 1
        if found["kind"] == "Transaction":
            if found["what"].startswith("COMMIT"):
                self._committed.add(found["tx"])
        elif found["kind"] == "LogicalMessage" and _OWN_MESSAGE.match(found["what"]):
            self._wakers.add(found["tx"])
        else:
            self._changing.add(found["tx"])

    @property
    def transactions(self) -> int:
        """How many transactions of others were committed."""
        return len(self._committed - (self._wakers - self._changing))


def segments(names: Iterable[str], timeline: int, begin: int, end: int, size: int) -> list[str]:
    """Those of the WAL files `names` that hold the positions from `begin` to before `end`, in order.

    Args:
        size: of a file, in bytes (`wal_segment_size`).
    """
    found = []
    for name in sorted(names):
        if re.fullmatch(f"{timeline:08X}[0-9A-F]{{16}}", name):
            at = first_byte(name, size)
            if at + size > begin and at < end:
                found.append(name)
    return found


def first_byte(name: str, size: int) -> int:
    """The position in the WAL at which a file of `size` bytes begins."""
    return (int(name[8:16], 16) << 32) + int(name[16:24], 16) * size
