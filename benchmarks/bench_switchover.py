"""Planned switchovers under the clients that apps have, through the endpoints: how long each waits, what each is told.

Four writers at full speed have runs of their own, each in its own process. Errors are requests that failed, attempts to
connect included; `worst` is the connection that had most of them in one run; `failed yet done` are those of which only
the answer was lost.
"""

import argparse
import math
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from benchmarks.groups import WRITER_FILES
from benchmarks.table import Results, progress, publish
from tests.app_clients import REDIS_CLIENTS, SQL_CLIENTS, AppClient, members
from tests.everup_cli import Everup
from tests.journal import Write, acknowledged, longest_gap_s, lost
from tests.repeated import Repeated
from tests.sql_writers import SqlWriters
from tests.writers import CLIENTS, SEED, Writer, missing, node_packages

HEAD = "environment: bench\nservices:\n"
LABELS = {"redis": "redis01", "postgres": "db01"}
SERVICES = {kind: f"  {label}: {{kind: {kind}, ha: true}}\n" for kind, label in LABELS.items()}
URLS = {"redis": "REDIS_URL", "postgres": "DATABASE_URL"}
PARTS = ("redis", "redis-full-speed", "postgres", "postgres-full-speed")
IOREDIS_BY_URL = "var Redis = require('ioredis');\nvar redisClient = new Redis(process.env.REDIS_URL);\n"
"""The client as its documentation has it."""

FULL_SPEED_S = 2.0
"""How long writers at full speed write before."""

QUIET_S = 1.5
"""How long clients go on after the switchover, so that what comes late is seen."""


def hand_over(everup: Everup, label: str) -> float:
    """Switch over; returns the moment before (monotonic seconds)."""
    now_s = time.monotonic()
    everup("switchover", label)
    return now_s


def take(results: Results, key: tuple[str, ...], writes: list[Write], fault_s: float, survivors: set[int]) -> None:
    """Note what one client saw: it waited for as long as it was not acknowledged, less the time that it thinks."""
    errors = [write.error for write in writes if write.error]
    in_doubt = [write.n for write in writes if write.error and write.n in survivors]
    thought_s = min(later.sent_s - earlier.ended_s for earlier, later in pairwise(writes) if not earlier.error)
    results.add(key, (longest_gap_s(writes, fault_s) - thought_s) * 1000)
    results.count(key, acknowledged=len(acknowledged(writes)), lost=len(lost(writes, survivors)))
    results.count(key, errors=len(errors), failed_yet_done=len(in_doubt))
    for error in errors[:2]:
        progress(f"    {' · '.join(key)}: {error[:110]}")


def app_clients(everup: Everup, kind: str, url: str, results: Results) -> None:
    """One switchover under all clients of a kind at the same time."""
    stamp = time.monotonic_ns()
    with ExitStack() as stack:
        clients: dict[str, AppClient] = {}
        for name, sort in (REDIS_CLIENTS if kind == "redis" else SQL_CLIENTS).items():
            clients[name] = sort(url, f"{stamp} {name}")
            stack.callback(clients[name].close)
        script = ioredis(url, stack) if kind == "redis" and not missing(CLIENTS["ioredis"]) else None
        loops = {name: stack.enter_context(Repeated(one.write, one.pause_s)) for name, one in clients.items()}
        wanted = {name: max(2, round(0.3 / one.pause_s)) for name, one in clients.items()}
        for name, loop in loops.items():
            loop.wait(wanted[name])
        if script:
            script.wait_for_acks(30)
        fault_s = hand_over(everup, LABELS[kind])
        time.sleep(QUIET_S)
        for name, loop in loops.items():
            loop.wait(wanted[name], after_s=fault_s)
            writes = loop.stop()
            take(results, (kind, name), writes, fault_s, clients[name].survivors())
            results.worst((kind, name), worst=math.ceil(len(loop.errors()) / clients[name].connections))
        if script:
            writes = script.stop()
            take(results, (kind, "ioredis, new Redis(url)"), writes, fault_s, members(url, script.key))
            results.worst((kind, "ioredis, new Redis(url)"), worst=sum(bool(write.error) for write in writes))


def ioredis(url: str, stack: ExitStack) -> Writer:
    """ioredis as it comes, in a process of its own, with the write loop of the seed's example."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="everup-bench-")))
    environ = {"REDIS_URL": url, "NODE_PATH": str(node_packages())}
    script = folder / "by_url.js"
    script.write_text(IOREDIS_BY_URL + (SEED / "tails" / "ioredis.js").read_text())
    command = ["node", str(script)]
    return stack.enter_context(Writer(command, environ, folder, f"ioredis-{time.monotonic_ns()}"))


def redis_full_speed(everup: Everup, via: str, results: Results) -> None:
    """One switchover under four writers that do nothing else, each with one write in flight."""
    variables = everup.variables(LABELS["redis"])
    key = ("redis", f"4 at full speed, by {via}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="everup-bench-")))
        command = [sys.executable, str(WRITER_FILES / "full_speed.py")]
        names = [f"full-{n}-{time.monotonic_ns()}" for n in range(4)]
        writers = [stack.enter_context(Writer(command, {**variables, "VIA": via}, folder, name)) for name in names]
        time.sleep(FULL_SPEED_S)
        fault_s = hand_over(everup, LABELS["redis"])
        time.sleep(QUIET_S)
        journals = [writer.stop() for writer in writers]
    for name, writes in zip(names, journals, strict=True):
        take(results, key, writes, fault_s, members(variables["REDIS_URL"], name))
        results.worst(key, worst=sum(bool(write.error) for write in writes))


def sql_full_speed(everup: Everup, url: str, count: int, results: Results) -> None:
    """One switchover under so many writers that commit one row after the other."""
    key = ("postgres", f"{count} at full speed")
    with SqlWriters(url, count) as writers:
        writers.wait_for(200)
        fault_s = hand_over(everup, LABELS["postgres"])
        writers.wait_for(100)
        time.sleep(QUIET_S)
        writers.stop()
    survivors = writers.survivors()
    for own in writers.journals:
        take(results, key, own, fault_s, survivors)
    results.worst(key, worst=writers.cut)


def one_run(everup: Everup, parts: list[str], urls: dict[str, str], results: Results) -> None:
    """One switchover of each sort; each begins with everything whole."""
    for part in parts:
        kind = part.partition("-")[0]
        if part == "redis-full-speed":
            for via in ("endpoint", "sentinels"):
                everup.wait_healthy()
                redis_full_speed(everup, via, results)
        elif part == "postgres-full-speed":
            for count in (1, 4):
                everup.wait_healthy()
                sql_full_speed(everup, urls[kind], count, results)
        else:
            everup.wait_healthy()
            app_clients(everup, kind, urls[kind], results)


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks switchover", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="switchovers of each sort (default 10)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    choice = parser.parse_args(argv)
    kinds = [kind for kind in LABELS if any(part.startswith(kind) for part in choice.parts)]
    results = Results()
    try:
        with Everup("".join([HEAD, *(SERVICES[kind] for kind in kinds)])) as everup:
            everup("up")
            urls = {kind: everup.variables(LABELS[kind])[URLS[kind]] for kind in kinds}
            for run in range(choice.runs):
                progress(f"run {run + 1} of {choice.runs}")
                one_run(everup, choice.parts, urls, results)
    finally:
        publish("switchover", list(results.rows.values()))
