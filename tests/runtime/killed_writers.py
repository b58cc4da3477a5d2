"""Children that write to a store until they are killed: what each acknowledged is in it afterwards.

python -m tests.runtime.killed_writers STORE KILLS
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from everup.model.errors import EverupError
from everup.model.events import Event
from everup.model.observed import Group
from everup.runtime.store import Store

EVENT = Event("node.ready", "shop", "2026-01-01T00:00:00Z", "web", "web-1", {"because": "x" * 200})


async def write(path: Path, begin: int, pipe: int, pages: int) -> None:
    """Write numbered records and say which are written; where the disk is full, say so and go on."""
    store = Store(path)
    if pages:
        await store._write(lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))
    for number in range(begin, begin + 100_000):
        try:
            await store.save_group("shop", f"group-{number % 50}", Group(f"node-{number}", number, number))
            await store.append([Event(**{**vars(EVENT), "seq": number})])
            os.write(pipe, b"%d\n" % number)
        except EverupError as error:
            assert error.code == "store.refused", error
            await asyncio.sleep(0.001)


def killed(path: Path, begin: int, full: bool) -> list[int]:
    """The numbers that a child acknowledged before it was killed, a random moment after its first one."""
    with closing(sqlite3.connect(path)) as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0] + random.randrange(4, 16) if full else 0
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        asyncio.run(write(path, begin, theirs, pages))
    os.close(theirs)
    with os.fdopen(ours, "rb") as said:
        first = said.readline()
        time.sleep(random.uniform(0, 0.15))
        os.kill(child, signal.SIGKILL)
        rest = said.read()
    os.waitpid(child, 0)
    return [int(line) for line in (first + rest).split(b"\n")[:-1]]


def main(path: Path, kills: int) -> None:
    """Kill that many children, half of them on a full disk, and look at the store after each."""
    acknowledged: list[int] = []
    Store(path).close()
    for turn in range(kills):
        acknowledged += killed(path, max(acknowledged, default=0) + 1000, full=turn % 2 == 1)
        with closing(Store(path)) as store:
            kept = {event.seq for event in store.events("shop", 0, limit=10**6)}
            assert set(acknowledged) <= kept, set(acknowledged) - kept
            for number in acknowledged[-50:]:
                group = store.groups("shop")[f"group-{number % 50}"]
                assert group.generation >= number
    print(len(acknowledged))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
