"""What the control plane costs while nothing happens: memory and CPU time with 30 nodes."""

import argparse
import time

from benchmarks.table import Row, progress, publish
from benchmarks.weight import cpu_percent, rss_mb
from tests.everup_cli import Everup

SPEC = """\
environment: bench-idle
services:
  redis01: {kind: redis, ha: true}
  redis02: {kind: redis, ha: true}
  cache: {kind: redis}
  sleeper: {kind: worker, run: sleep 100000, scale: 8, limit: 10}
"""


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks idle", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="windows of 6 seconds (default 10)")
    runs = parser.parse_args(argv).runs
    memory, cpu, up = Row("control plane RSS", "MB"), Row("control plane CPU, of one core", "%"), Row("everup up", "s")
    keyed = Row("control plane RSS, once a secret was set", "MB")
    with Everup(SPEC) as everup:
        started_s = time.monotonic()
        everup("up")
        up.add(time.monotonic() - started_s)
        nodes = sum(len(service["nodes"]) for service in everup.status()["services"])
        pid = everup.control_plane()
        time.sleep(5.0)  # what starting them all left to do is done
        for run in range(runs):
            progress(f"idle · window {run + 1} of {runs}")
            cpu.add(cpu_percent([pid], 6.0))
            memory.add(rss_mb(pid))
        for _ in range(runs):
            with everup.api() as api:  # loads what encrypts
                api.post("/v1/environments/bench-idle/secrets", json={"name": "key", "value": "x"}).raise_for_status()
            time.sleep(1.0)  # what the answer left to do is done
            keyed.add(rss_mb(pid))
    rows = [memory, keyed, cpu, up]
    for row in rows:
        row.notes = {"nodes": nodes}
    publish("idle", rows)
