"""What a Redis server is told where its memory is limited: it refuses writes before the kernel would have to kill it.

A server that is killed for its data starts with the same data, and is killed again. So those may take half of the
limit: while an append-only file is rewritten, or a replica copies everything, every page that is written to exists
twice. A limit reserves nothing, so a larger one costs nothing.
"""

from everup.model.resources import MEBIBYTE

LEAST_BYTES = 64 * MEBIBYTE
"""Below this, too little is left for data."""

BACKLOG_BYTES = 64 * MEBIBYTE
"""What a primary keeps of its newest changes for replicas that were away for a moment, where nothing limits it."""


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
