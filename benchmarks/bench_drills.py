"""Every kind of service drilled with every fault, by `everup drill` itself, into one table of the documentation."""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.table import progress
from tests.everup_cli import EVERY_KIND, Everup, Json

SPEC = f"environment: drills\ndrills: allowed\n{EVERY_KIND}"
FAULTS = ("crash", "hang", "node-loss", "switchover", "control-plane")
PAGE = Path(__file__).parent.parent / "docs" / "reference" / "drills.md"

HEAD = """\
# Figures of drills

<!-- Written by `make drills`; measure anew instead of editing. -->

What clients saw of each fault, by `everup drill` ([how to drill a service](../how-to/drills.md)): one writer, 200
writes a second, along the path that clients take. *Stood still* is the longest time without an acknowledged write,
*lost* counts acknowledged writes that could not be read back, *redundant again* is the time from the fault until
every node was ready; a lost node stays lost for 5 s of it. *Stale* counts reads, on a connection of their own, without
a write that had been acknowledged before. Figures are median / worst. `partition` and `host-loss` need
a Docker Swarm, `disk-full` cannot be caused, and single nodes and workers cannot be drilled; `everup drill` says why.

"""


def of(result: Json, name: str, unit_ms: bool) -> str:
    """`median / max` of one figure."""
    values = [run[name] for run in result["runs"] if run[name] is not None]
    if not values:
        return "–"
    both = (statistics.median(values), max(values))
    return " / ".join(f"{value * 1000:.0f} ms" if unit_ms and value < 1 else f"{value:.1f} s" for value in both)


def row(kind: str, result: Json) -> str:
    """One line of the table."""
    summary, runs = result["summary"], result["runs"]
    lost = "–" if summary["lost"] is None else f"{summary['lost']} of {summary['acknowledged']:,}"
    loads, reads = [run["load"] for run in runs], sum(run["reads"] for run in runs)
    paths = ", ".join(sorted({run["path"] for run in runs}))
    cells = [
        kind,
        result["fault"],
        str(len(runs)),
        paths,
        of(result, "rto_s", True),
        lost,
        f"{sum(run['stale'] for run in runs)} of {reads:,}" if reads else "–",
        f"{summary['errors'] / len(runs):.0f}",
        of(result, "redundant_after_s", False),
        f"{min(loads):.1f}–{max(loads):.1f}",
        summary["verdict"],
    ]
    return f"| {' | '.join(cells)} |"


def rows(everup: Everup, runs: int, only: str) -> Iterator[str]:
    """The table's lines, one drill after the other."""
    for label, kind in (("redis01", "redis, HA"), ("db01", "postgres, HA"), ("web", "app ×3")):
        for fault in FAULTS:
            if (label, fault) == ("web", "switchover") or only not in f"{label} {fault}":
                continue
            progress(f"{label} · {fault} · {runs} runs")
            everup.wait_healthy()
            command = ("drill", label, "--fault", fault, "--runs", str(runs), "--patience", "5m", "--json")
            done = everup(*command, codes=(0, 3), timeout_s=runs * 330 + 60)
            yield row(kind, json.loads(done.stdout))


def main(argv: list[str]) -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_drills", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="runs of each drill (default 10)")
    parser.add_argument("--only", default="", help="drills whose 'label fault' holds this; the page is not written")
    words = parser.parse_args(argv)
    with Everup(SPEC) as everup:
        everup("up", "--timeout", "5m")
        found = []
        for line in rows(everup, words.runs, words.only):
            found.append(line)
            print(line, flush=True)
    names = (
        "service | fault | runs | came back by | stood still | lost | stale | errors a run | redundant again | load"
        " | verdict"
    )
    lines = [f"| {names} |", "|" + "---|" * 11, *found]
    where = f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"
    if not words.only:
        PAGE.write_text(HEAD + "\n".join(lines) + f"\n\nMeasured on {datetime.now(UTC):%Y-%m-%d}: {where}.\n")
        progress(f"written to {PAGE}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is taken down
    main(sys.argv[1:])
