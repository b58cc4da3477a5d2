"""PostgreSQL HA broken under writers: how long commits stand still through `DATABASE_URL`, and what is lost."""

import argparse
import time
from collections.abc import Callable

from benchmarks.table import Row, progress, publish
from tests.everup_cli import Everup
from tests.journal import acknowledged, longest_gap_s, lost
from tests.postgres.group import GROUP, SINGLE, Group
from tests.sql_writers import SqlWriters

Break = Callable[[Group], float]
"""Does something to the group; returns the moment before (monotonic seconds)."""


def node_lost(group: Group) -> float:
    """kill -9 of everything, and the node stays down."""
    return group.lose(group.primary(), 6.0)


def server_killed(group: Group) -> float:
    """kill -9 of Patroni and postgres."""
    return group.kill_server(group.primary())


def postgres_killed(group: Group) -> float:
    """kill -9 of postgres alone."""
    return group.kill_postgres(group.primary())


def hung(group: Group) -> float:
    """SIGSTOP of everything."""
    return group.hang(group.primary())


def handed_over(group: Group) -> float:
    """A planned switchover."""
    now_s = time.monotonic()
    group.everup("switchover", "db01")
    return now_s


CASES: dict[str, tuple[Break, int]] = {
    "node lost · 1 writer": (node_lost, 1),
    "node lost · 4 writers": (node_lost, 4),
    "Patroni and postgres killed · 1 writer": (server_killed, 1),
    "postgres alone killed · 1 writer": (postgres_killed, 1),
    "hung · 1 writer": (hung, 1),
    "switchover · 1 writer": (handed_over, 1),
    "switchover · 4 writers": (handed_over, 4),
}


def one(group: Group, row: Row, breaks: Break, count: int, totals: dict[str, int]) -> None:
    """Break the group once, and measure."""
    group.wait_redundant(120)
    with SqlWriters(group.everup.variables("db01")["DATABASE_URL"], count) as writers:
        writers.wait_for(200)
        fault_s = breaks(group)
        writers.wait_for(100, 60.0)
        time.sleep(1.5)
        writers.stop()
        group.wait_redundant(120)
        gone = lost(writers.writes, writers.survivors())
    row.add(longest_gap_s(writers.writes, fault_s) * 1000)
    totals["lost"] += len(gone)
    totals["acknowledged"] += len(acknowledged(writers.writes))
    totals["cut"] = max(totals["cut"], sum("connection failed" not in str(bad.error) for bad in writers.errors))
    row.notes = {"lost": totals["lost"], "of": totals["acknowledged"], "errors in transactions at most": totals["cut"]}
    progress(f"{row.what}: {row.values[-1]:.0f} ms")


def group_rows(runs: int, only: str) -> list[Row]:
    """A group of three, from nothing, and broken in every way."""
    rows = [Row("from nothing to healthy", "s"), *(Row(name, "ms") for name in CASES if only in name)]
    with Everup(GROUP) as everup:
        began_s = time.monotonic()
        everup("up", timeout_s=120)
        rows[0].add(time.monotonic() - began_s)
        group = Group(everup)
        for row in rows[1:]:
            breaks, count = CASES[row.what]
            totals = {"lost": 0, "acknowledged": 0, "cut": 0}
            for _ in range(runs):
                one(group, row, breaks, count, totals)
    return rows


def in_place_rows(runs: int) -> list[Row]:
    """One server made a group, and a group made one server."""
    grow, shrink = Row("one to a group · 1 writer", "ms"), Row("a group to one · 1 writer", "ms")
    with Everup(SINGLE) as everup:
        everup("up", timeout_s=60)
        group = Group(everup)
        pid = group.postmaster("db01-1")
        with SqlWriters(everup.variables("db01")["DATABASE_URL"]) as writers:
            for _ in range(runs):
                for row, spec in ((grow, GROUP), (shrink, SINGLE)):
                    writers.wait_for(200)
                    began_s = time.monotonic()
                    everup.write_spec(spec)
                    everup("up", timeout_s=120)
                    time.sleep(3.0)
                    row.add(longest_gap_s(writers.writes, began_s) * 1000)
                    same = group.postmaster("db01-1") == pid
                    row.notes = {"errors": len(writers.errors), "same postmaster": same}
                    progress(f"{row.what}: {row.values[-1]:.0f} ms")
            writers.stop()
            grow.notes["lost"] = len(lost(writers.writes, writers.survivors()))
    return [grow, shrink]


def main(argv: list[str]) -> None:
    """Measure, and print and keep the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks postgres", description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", default="", help="cases whose name holds this; 'in place' for growing and shrinking")
    words = parser.parse_args(argv)
    rows = [] if words.only == "in place" else group_rows(words.runs, words.only)
    if words.only in ("", "in place"):
        rows += in_place_rows(words.runs)
    publish("postgres", rows)
