"""Keeps the commands that only a former Redis primary has, in a file that `redis-cli --pipe` could write again.

What it is told and prints is in `everup.programs.keeping`; how it finds the place in `everup.programs.redis_parting`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from everup.programs.keeping import Found, keeping, main, spare
from everup.programs.redis_parting import UNWRITTEN, Command, Parting, commands, database_at, parting

LOOKS_BYTES = (4 << 20, 64 << 20)
"""So much of the end of each append-only file is looked at, more where less proves nothing; the most that is kept."""

NAMED_KEYS = 100

_LINE = re.compile(r"file (?P<name>\S+) seq (?P<seq>\d+) type (?P<type>[bhi])")


@dataclass(frozen=True)
class Written:
    """The newest part of an append-only file in several files: `text` begins at byte `start` of all of it.

    `rewritten`: byte at which what was written since the last rewrite begins. `complete`: there was none, and `text` is
    all that was ever written.
    """

    text: bytes
    start: int
    rewritten: int
    complete: bool

    @classmethod
    def below(cls, home: Path, left: int) -> "Written":
        """What the server in `home` has written, at most the last `left` bytes."""
        folder = home / "data" / "appendonlydir"
        (manifest,) = folder.glob("*.manifest")
        listed = [found for line in manifest.read_text().splitlines() if (found := _LINE.match(line))]
        sizes = [(folder / one["name"]).stat().st_size for one in listed if one["type"] == "b"]
        increments = sorted((one for one in listed if one["type"] == "i"), key=lambda one: int(one["seq"]))
        parts: list[bytes] = []
        total = 0
        for place in reversed([folder / one["name"] for one in increments]):
            with place.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - left))
                parts.insert(0, file.read(left))
            left -= len(parts[0])
            total += size
        text = b"".join(parts)
        complete = total == len(text) and [one["seq"] for one in increments][:1] == ["1"]
        return cls(text, sum(sizes) + total - len(text), sum(sizes), complete)

    def place(self, known: Mapping[str, int], whose: str) -> int | None:
        """Where in `text` the server had come when it was looked at; None where that is not known, or cannot be."""
        if f"{whose}written" not in known:
            return None
        here = known[f"{whose}written"] - self.start + (0 if known[f"{whose}rewritten"] else self.rewritten)
        if not 0 <= here <= len(self.text):
            return None
        after = here == 0 or self.text[here - 2 : here] == b"\r\n"
        before = here == len(self.text) or self.text[here : here + 1] in (b"*", b"#")
        return here if after and before else None


def look(home: Path, successor: Path, folder: Path, known: Mapping[str, int]) -> Found:
    """Find what only the server in `home` has, and keep it in `folder` as `commands.aof`."""
    reached = known.get("former_offset", 0) <= known.get("offset", -1)
    for limit in LOOKS_BYTES:
        old, new = Written.below(home, limit), Written.below(successor, limit)
        common = old.place(known, "former_") if reached else None
        at = parting(old.text, new.text, new.place(known, ""), common, complete=old.complete)
        if at.exact:
            break
    found, own_commands = _tell(old, at, known)
    if found.writes:
        select = str(database_at(old.text, own_commands[0].begin)).encode()
        text = old.text[own_commands[0].begin : own_commands[-1].end]
        with keeping(found):
            spare(folder, len(text))
            with (folder / "commands.aof").open("wb") as file:
                file.write(b"*2\r\n$6\r\nSELECT\r\n$%d\r\n%s\r\n" % (len(select), select))
                file.write(text)
    return found


def _tell(old: Written, at: Parting, known: Mapping[str, int]) -> tuple[Found, list[Command]]:
    own = list(commands(old.text, at.at))
    found = Found(writes=sum(one.writes for one in own), exact=at.exact, because=at.because)
    if not found.writes:
        found.unkept = UNWRITTEN if at.because == UNWRITTEN else ""
        return found, own
    found.size_bytes = own[-1].end - own[0].begin
    if at.exact and "offset" in known:
        found.begin, found.end = str(known["offset"] + 1), str(known["offset"] + found.size_bytes)
    keys = dict.fromkeys(one.words[1].decode(errors="replace") for one in own if one.writes and len(one.words) > 1)
    found.keys = list(keys)[:NAMED_KEYS]
    return found, own


if __name__ == "__main__":
    main(look)
