"""What a Redis server is told where its memory is limited: it refuses writes before the kernel would have to kill it.

A server that is killed for its data starts with the same data, and is killed again. So those may take half of the
limit: while an append-only file is rewritten, or a replica copies everything, every page that is written to exists
twice. A limit reserves nothing, so a larger one costs nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from everup.kinds._redis_reading import parse_info
from everup.model.desired import Blueprint, Command, Node
from everup.model.findings import Finding, Level, Topic
from everup.model.observed import Reading, View
from everup.model.resources import MEBIBYTE, size_text

LEAST_BYTES = 64 * MEBIBYTE
"""Below this, too little is left for data."""

BACKLOG_BYTES = 64 * MEBIBYTE
"""What a primary keeps of its newest changes for replicas that were away for a moment, where nothing limits it."""

FULL, CROWDED = 0.99, 0.9
"""Shares of what its data may take: from the first on it refuses writes, or will at any moment; the second is told."""

Read = Callable[[tuple[Any, ...]], Reading]


@dataclass(frozen=True)
class Filled:
    """How full a server is, by its own word; bytes.

    `data_bytes` are its data and what its clients are sent; `counted_bytes` is all that counts against `most_bytes`,
    beyond which it refuses writes; 0 where it has no such limit.
    """

    data_bytes: int
    counted_bytes: int
    most_bytes: int


def for_data(limit_bytes: int) -> int:
    """How much of a server's limit its data and its clients' buffers may take; beyond that it refuses writes."""
    return limit_bytes // 2


def memory_lines(limit_bytes: int) -> list[str]:
    """Further lines of `redis.conf`, of which the last of a name counts.

    What waits for a replica that does not keep up grows outside of what `maxmemory` counts: that replica is let go
    sooner than the server is killed. A replica never holds the old data beside the new.
    """
    behind = limit_bytes // 8
    return [
        f"maxmemory {for_data(limit_bytes)}",
        "maxmemory-policy noeviction",
        f"repl-backlog-size {min(BACKLOG_BYTES, limit_bytes // 16)}",
        f"client-output-buffer-limit replica {behind} {behind} 0",
        "repl-diskless-load on-empty-db",
    ]


def how_full(read: Read, question: tuple[Command, ...]) -> tuple[Read, tuple[Command, ...]]:
    """A question and its reading that ask for memory as well, and find a `Filled` among the facts."""

    def both(replies: tuple[Any, ...]) -> Reading:
        reading = read(replies[:-1])
        said = parse_info(replies[-1]) if replies else {}
        if "used_memory" not in said:
            return reading
        used, apart, backlog, most = (
            int(said.get(name, "0"))
            for name in ("used_memory", "mem_not_counted_for_evict", "mem_replication_backlog", "maxmemory")
        )
        filled = Filled(used - apart - backlog, used - apart, most)
        return replace(reading, facts={**reading.facts, "memory": filled})

    return both, (*question, ("INFO", "memory"))


def too_small(node: Node, view: View) -> str:
    """Why a server that is well must not be started anew with the limit it is declared with; "" where it may be.

    Where its data take more than that leaves for them it would refuse every write, or be killed before it is ready.
    """
    limit_bytes = node.resources.memory_bytes if node.resources else None
    if limit_bytes is None or not view.status(node.id).ready:
        return ""
    filled = _filled(node, view)
    if filled is None:
        return "it is due for replacement, once it has said how much memory its data take"
    if filled.data_bytes <= for_data(limit_bytes):
        return ""
    taken, left = size_text(filled.data_bytes), size_text(for_data(limit_bytes))
    return f"its data take {taken}, and memory of {size_text(limit_bytes)} leaves {left} for them: declare more"


def crowded(blueprint: Blueprint, view: View) -> Iterator[Finding]:
    """That the primary refuses writes for want of memory, or is about to."""
    node = blueprint.node(view.group.primary or "")
    filled = _filled(node, view) if node else None
    if node is None or filled is None or filled.counted_bytes < CROWDED * filled.most_bytes or not filled.most_bytes:
        return
    share = filled.counted_bytes / filled.most_bytes
    level = Level.NO if share >= FULL else Level.WARNING
    does = "refuses writes" if share >= FULL else "will refuse writes once it is full"
    room = f"{100 * min(share, 1.0):.0f} % of the {size_text(filled.most_bytes)} that it has for data"
    because = f"{node.id} {does}: it has filled {room}"
    yield Finding(level, Topic.RESOURCES, because, node.id, f"declare more memory for {blueprint.label}")


def refuses_writes(blueprint: Blueprint, view: View) -> str:
    """That the primary has no memory left for data, in words; "" while it has."""
    return next((one.because for one in crowded(blueprint, view) if one.level == Level.NO), "")


def _filled(node: Node, view: View) -> Filled | None:
    status = view.status(node.id)
    found = status.reading.facts.get("memory") if status.reading and status.state.running else None
    return found if isinstance(found, Filled) else None
