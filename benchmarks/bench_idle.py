"""What the control plane costs while nothing happens: memory and CPU time with 30 nodes."""

import argparse
import os
import time
from pathlib import Path

from benchmarks.table import Row, progress, publish
from tests.everup_cli import Everup

SPEC = """\
environment: bench-idle
services:
  redis01: {kind: redis, ha: true}
  redis02: {kind: redis, ha: true}
  cache: {kind: redis}
  sleeper: {kind: worker, run: sleep 100000, scale: 8, limit: 10}
"""


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """CPU seconds used so far, in user and kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks idle", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="windows of 6 seconds (default 10)")
    runs = parser.parse_args(argv).runs
    memory, cpu, up = Row("control plane RSS", "MB"), Row("control plane CPU, of one core", "%"), Row("everup up", "s")
    with Everup(SPEC) as everup:
        started_s = time.monotonic()
        everup("up")
        up.add(time.monotonic() - started_s)
        nodes = sum(len(service["nodes"]) for service in everup.status()["services"])
        pid = everup.control_plane()
        time.sleep(5.0)
        for run in range(runs):
            progress(f"idle · window {run + 1} of {runs}")
            before_s, from_s = cpu_s(pid), time.monotonic()
            time.sleep(6.0)
            cpu.add((cpu_s(pid) - before_s) / (time.monotonic() - from_s) * 100)
            memory.add(rss_mb(pid))
    for row in (memory, cpu, up):
        row.notes = {"nodes": nodes}
    publish("idle", [memory, cpu, up])
