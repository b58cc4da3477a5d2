"""PostgreSQL HA broken under writers: how long commits stand still through `DATABASE_URL`, what is lost, what it costs.

A stock Patroni group stands beside Everup's. Errors are transactions that failed on one connection in one run; attempts
to connect do not count.
"""

import argparse
import time
from dataclasses import dataclass

from benchmarks.postgres_groups import GROUPS, SqlGroup
from benchmarks.table import Results, progress, publish
from benchmarks.weight import cpu_percent, pss_mb
from tests.journal import acknowledged, longest_gap_s, lost
from tests.sql_writers import SqlWriters

QUIET_S = 2.0
"""How long clients go on after the fault is over, so that what comes late is seen."""

IDLE_S, WINDOWS, WINDOW_S = 12.0, 4, 10.0
"""How long nothing has happened before the idle group is weighed, and how often for how long CPU time is taken."""


@dataclass(frozen=True)
class Case:
    """A fault under so many writers."""

    fault: str
    writers: int = 1


CASES = {
    "node-loss": Case("node-loss"),
    "node-loss-4": Case("node-loss", 4),
    "killed-4": Case("killed", 4),
    "postgres-killed": Case("postgres-killed"),
    "hang": Case("hang"),
    "switchover": Case("switchover"),
    "switchover-4": Case("switchover", 4),
    "etcd-member": Case("etcd-member"),
    "etcd-quorum": Case("etcd-quorum"),
}
EVERYTHING = ("from-nothing", "idle", *CASES)
BY_STOCK = tuple(word for word in EVERYTHING if not word.startswith("etcd"))
"""What a stock group can be measured by."""

SOON_OVER = ("from-nothing", "idle", "node-loss", "switchover")
"""What it is measured by unless faults are named: with the others that takes too long."""

AT_MOST = {"from-nothing": 5, "etcd-quorum": 3}
"""Runs of what takes half a minute each, unless faults are named."""


def one_fault(group: SqlGroup, case: Case, key: tuple[str, ...], results: Results) -> None:
    """Break the group once under writers, and see what they saw."""
    group.settle()
    with SqlWriters(group.url(), case.writers) as writers:
        writers.wait_for(200)
        fault_s = group.inject(case.fault)
        writers.wait_for(100)
        group.end(case.fault, fault_s)
        time.sleep(QUIET_S)
        writers.stop()
    group.settle()
    whole_s = time.monotonic() - fault_s
    gone = lost(writers.writes, writers.survivors())
    results.add(key, max(longest_gap_s(own, fault_s) for own in writers.journals) * 1000)
    results.count(key, lost=len(gone), acknowledged=len(acknowledged(writers.writes)))
    results.worst(key, errors=writers.cut)
    progress(f"{' · '.join(key)}: {results.rows[key].values[-1]:.0f} ms; whole again {whole_s:.1f} s after the fault")


def begun(name: str, group: SqlGroup, results: Results) -> None:
    """Note how long the group took from nothing."""
    results.add((name, "from nothing", "primary writable"), group.writable_s, "s")
    results.add((name, "from nothing", "all streaming"), group.streaming_s, "s")
    progress(f"{name}: writable after {group.writable_s:.1f} s, all streaming after {group.streaming_s:.1f} s")


def weigh(name: str, group: SqlGroup, results: Results) -> None:
    """Note what the group costs while nobody asks for anything."""
    group.settle()
    time.sleep(IDLE_S)
    pids = group.pids()
    for run in range(WINDOWS):
        progress(f"{name} · idle · window {run + 1} of {WINDOWS}")
        results.add((name, "idle", "CPU, of one core"), cpu_percent(pids, WINDOW_S), "%")
        results.add((name, "idle", "PSS"), pss_mb(pids), "MB")
    results.worst((name, "idle", "PSS"), processes=len(pids))


def group_runs(name: str, runs: int, words: list[str], named: bool, results: Results) -> None:
    """Measure groups of one sort; the last that was made from nothing is broken in every way."""
    times = {word: runs if named else min(runs, AT_MOST.get(word, runs)) for word in words}
    for _ in range(times.get("from-nothing", 0) - 1):
        with GROUPS[name]() as group:
            begun(name, group, results)
    with GROUPS[name]() as group:
        if "from-nothing" in words:
            begun(name, group, results)
        if "idle" in words:
            weigh(name, group, results)
        for word in [word for word in words if word in CASES]:
            case = CASES[word]
            clients = f"{case.writers} writer{'s' * (case.writers > 1)}"
            for _ in range(times[word]):
                one_fault(group, case, (name, case.fault, clients), results)


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks postgres", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="runs of each fault against Everup (default 10)")
    parser.add_argument("--stock-runs", type=int, default=2, help="runs against the stock group (default 2)")
    parser.add_argument("--groups", nargs="+", choices=tuple(GROUPS), default=list(GROUPS))
    parser.add_argument(
        "--faults",
        nargs="+",
        choices=EVERYTHING,
        help=f"all but for the stock group, which gets {', '.join(SOON_OVER)}",
    )
    choice = parser.parse_args(argv)
    named = choice.faults is not None
    results = Results()
    try:
        if "everup" in choice.groups:
            group_runs("everup", choice.runs, choice.faults or list(EVERYTHING), named, results)
        words = [word for word in choice.faults or SOON_OVER if word in BY_STOCK]
        if "stock" in choice.groups and words:
            group_runs("stock", min(choice.runs, choice.stock_runs), words, named, results)
    finally:
        publish("postgres", list(results.rows.values()))
