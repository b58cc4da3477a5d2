"""Redis HA loses its primary under load: how long writes stand still and what is lost, beside stock groups."""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.groups import WRITER_FILES, Group, fill, make
from benchmarks.table import Results, progress, publish
from tests.journal import acknowledged, longest_gap_s, lost
from tests.writers import CLIENTS, Writer, missing

FAULTS = ("kill", "node-loss", "hang", "control-dead", "full-speed")
PATIENCE_S = 90.0
PATIENCE_WITHOUT_EVERUP_S = 30.0  # REDIS_URL is pointed by Everup, so without it that client waits until it is back


def steady_writers(group: Group, folder: Path, stack: ExitStack) -> dict[str, Writer]:
    """Start one writer of each sort: redis-py and ioredis through the Sentinels, a plain client by URL."""
    variables = group.variables()
    writers = {}
    for name in ("redis-py", "ioredis"):
        if lack := missing(CLIENTS[name]):
            progress(f"{name} is left out: {lack}")
        else:
            writers[name] = Writer.of(CLIENTS[name], variables, folder, f"{name}-{time.monotonic_ns()}")
    if "REDIS_URL" in variables:
        command = [sys.executable, str(WRITER_FILES / "by_url.py")]
        writers["REDIS_URL"] = Writer(command, variables, folder, f"url-{time.monotonic_ns()}")
    for writer in writers.values():
        stack.enter_context(writer)
    return writers


def writes_again(writer: Writer, fault_s: float, patience_s: float) -> bool:
    """Whether a writer is acknowledged again soon enough after the fault."""
    try:
        writer.wait_for_acks(100, after_s=fault_s, timeout_s=patience_s)
    except AssertionError as still:
        progress(str(still)[:200])
        return False
    return True


def one_fault(group: Group, fault: str, key: tuple[str, ...], results: Results) -> None:
    """Break the primary once under steady writers."""
    with tempfile.TemporaryDirectory(prefix="everup-bench-") as folder, ExitStack() as stack:
        writers = steady_writers(group, Path(folder), stack)
        for writer in writers.values():
            writer.wait_for_acks(100)
        fault_s = group.inject(fault)
        patience_s = PATIENCE_WITHOUT_EVERUP_S if fault == "control-dead" else PATIENCE_S
        stuck = {name for name, writer in writers.items() if not writes_again(writer, fault_s, patience_s)}
        time.sleep(2.0)  # a second stall or a late loss would come now
        journals = {name: writer.stop() for name, writer in writers.items()}
        settled_s = group.settle()
        for name, writes in journals.items():
            if name in stuck:
                results.count((*key, name), did_not_write_again=1)  # ioredis, while a hung primary keeps it
                continue
            gone = lost(writes, group.members(writers[name].key))
            counts = {"lost": len(gone), "acknowledged": len(acknowledged(writes))}
            results.add((*key, name), longest_gap_s(writes, fault_s) * 1000)
            results.count((*key, name), **counts)
        progress(f"{' · '.join(key)}: whole again {settled_s:.1f} s after the clients stopped")


def one_kill_at_full_speed(group: Group, wait: bool, key: tuple[str, ...], results: Results) -> None:
    """Kill the primary once under four writers at full speed."""
    with tempfile.TemporaryDirectory(prefix="everup-bench-") as folder, ExitStack() as stack:
        environ = {**group.variables(), "WAIT": "1" if wait else "0"}
        command = [sys.executable, str(WRITER_FILES / "full_speed.py")]
        names = [f"full-{n}-{time.monotonic_ns()}" for n in range(4)]
        writers = [stack.enter_context(Writer(command, environ, Path(folder), name)) for name in names]
        time.sleep(3.0)  # all four are at full speed by then
        fault_s = group.inject("kill")
        time.sleep(5.0)  # over within 0.3 s; what comes late is seen too
        journals = [writer.stop() for writer in writers]
        group.settle()
        gone = sum(len(lost(writes, group.members(name))) for name, writes in zip(names, journals, strict=True))
        worst_s = max(longest_gap_s(writes, fault_s) for writes in journals)
        acks = sum(len(acknowledged(writes)) for writes in journals)
        results.add(key, worst_s * 1000)
        results.count(key, lost=gone, acknowledged=acks)


def everup_runs(runs: int, faults: list[str], size_gb: float, results: Results) -> None:
    """All faults against one Everup group, which has to become whole again after each."""
    name = f"everup {size_gb:g} GB" if size_gb else "everup"
    with make("everup") as group:
        if size_gb:
            fill(group.variables()["REDIS_URL"], int(size_gb * 1e9))
            group.settle()
        for fault in [fault for fault in faults if fault != "full-speed"]:
            for run in range(runs):
                progress(f"{name} · {fault} · run {run + 1} of {runs}")
                one_fault(group, fault, (name, fault), results)
        for wait in (False, True) if "full-speed" in faults else ():
            label = "4 at full speed" + ", WAIT 1" * wait
            for run in range(runs):
                progress(f"{name} · {label} · run {run + 1} of {runs}")
                one_kill_at_full_speed(group, wait, (name, "kill", label), results)


def stock_runs(name: str, runs: int, faults: list[str], results: Results) -> None:
    """The faults that mean something without Everup, each against a fresh group."""
    for fault in [fault for fault in faults if fault in ("kill", "hang")]:
        for run in range(runs):
            progress(f"{name} · {fault} · run {run + 1} of {runs}")
            with make(name) as group:
                one_fault(group, fault, (name, fault), results)


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks failover", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="runs of each fault against Everup (default 10)")
    parser.add_argument("--stock-runs", type=int, default=2, help="runs against the stock groups (default 2)")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument(
        "--groups", nargs="+", choices=("everup", "tuned", "stock"), default=["everup", "tuned", "stock"]
    )
    parser.add_argument("--size-gb", type=float, default=0.0, help="measure Everup with that much data, too")
    choice = parser.parse_args(argv)
    results = Results()
    try:
        if "everup" in choice.groups:
            everup_runs(choice.runs, choice.faults, 0.0, results)
            if choice.size_gb:
                everup_runs(choice.runs, ["kill"], choice.size_gb, results)
        for name in [name for name in ("tuned", "stock") if name in choice.groups]:
            stock_runs(name, min(choice.runs, choice.stock_runs), choice.faults, results)
    finally:
        publish("failover", list(results.rows.values()))
