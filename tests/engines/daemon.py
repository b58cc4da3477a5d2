"""A control plane in miniature: keeps twelve nodes running through a real engine until it is killed.

Usage: daemon.py HOME MODE. It prints one JSON line per step. `churn` changes the declaration all the time, so that a
kill lands in the middle of stops, starts and writes; `keep` declares it once. `before-record` and `after-record` kill
it at its first start, just before and just after that start is on the disk.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
from pathlib import Path

from everup.engines.local import statefile
from everup.engines.local.engine import LocalEngine
from everup.engines.local.programs import Programs
from everup.model.desired import Node, Part, Probe, Protocol, Stop
from everup.model.observed import Reading

IDS = tuple(f"web-{number}" for number in range(1, 13))


def a_node(node_id: str, turn: int) -> Node:
    """It notes its number when it runs, so that a test can count who runs at once; it has one child."""
    return Node(
        id=node_id,
        service="web",
        part=Part.INSTANCE,
        program="sh",
        args=("-c", "echo $$ >> pids; sleep 600 & exec sleep 600"),
        probe=Probe(Protocol.NONE, None, lambda replies: Reading(ready=True)),
        env={"TURN": str(turn)},
        stop=Stop(grace_s=1.0),
    )


def die_at_record(after: bool) -> None:
    """From now on, writing a record kills this process."""
    save = statefile.save

    def save_and_die(home: Path, record: statefile.Record, *, durable: bool = True) -> None:
        if after:
            save(home, record, durable=durable)
        os.kill(os.getpid(), signal.SIGKILL)

    statefile.save = save_and_die


async def main(home: Path, mode: str) -> None:
    if mode.endswith("-record"):
        die_at_record(after=mode.startswith("after"))
    engine = LocalEngine(home, Programs({}, os.environ))
    states = await engine.observe()
    running = {node_id: state.pid for node_id, state in states.items() if state.running}
    print(json.dumps({"adopted": running}), flush=True)
    for turn in itertools.count():
        for node_id in IDS:
            await engine.ensure(a_node(node_id, turn if mode == "churn" else 0))
        print(json.dumps({"turn": turn}), flush=True)
        if mode == "keep":
            await asyncio.sleep(600)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
