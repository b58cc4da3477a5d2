"""A healthy group on a machine that is far too busy: nothing may fail over while 1 GB is saved again and again."""

import argparse
import json
import subprocess
import sys
import time
from contextlib import ExitStack

from redis import Redis
from redis.exceptions import ResponseError

from benchmarks.groups import EverupGroup, fill
from benchmarks.table import Row, progress, publish

SUSPICIOUS = ("node.exited", "node.hung", "node.fenced", "primary.changed", "failover.voted", "failover.promoted")


def save(client: Redis) -> bool:
    """Start a background save; False while one is going on."""
    try:
        return bool(client.bgsave())
    except ResponseError:
        return False


def disturb(group: EverupGroup, minutes: float, processes: int) -> tuple[Row, int]:
    """Keep the machine busy and the disk too; returns the latencies of a PING and how many saves were started."""
    latency, saves = Row("PING of the primary", "ms"), 0
    with ExitStack() as stack, Redis.from_url(group.variables()["REDIS_URL"], socket_timeout=30) as client:
        for _ in range(processes):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL)
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        end_s = time.monotonic() + minutes * 60
        while time.monotonic() < end_s:
            saves += save(client)
            sent_s = time.monotonic()
            client.ping()
            latency.add((time.monotonic() - sent_s) * 1000)
            time.sleep(1.0)  # the rate at which the latency is looked at
    return latency, saves


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks false-failover", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="minutes (default 10)")
    parser.add_argument("--processes", type=int, default=8, help="busy processes (default 8)")
    parser.add_argument("--size-gb", type=float, default=1.0)
    choice = parser.parse_args(argv)
    with EverupGroup() as group:
        fill(group.variables()["REDIS_URL"], int(choice.size_gb * 1e9))
        group.settle()
        before = group.everup.primary("redis01")["id"]
        seen = len(events(group))
        progress(f"false failovers · {choice.runs} minutes")
        latency, saves = disturb(group, choice.runs, choice.processes)
        group.settle()
        bad = [event["name"] for event in events(group)[seen:] if event["name"] in SUSPICIOUS]
        same = group.everup.primary("redis01")["id"] == before
    latency.notes = {"saves": saves, "events of trouble": len(bad), "primary": "the same" if same else "ANOTHER"}
    publish("false-failover", [latency])
    for name in sorted(set(bad)):
        progress(f"{name} x{bad.count(name)}")


def events(group: EverupGroup) -> list[dict[str, object]]:
    """Every event of the environment so far."""
    return [json.loads(line) for line in group.everup("events", "-n", "100000", "--json").stdout.splitlines()]
