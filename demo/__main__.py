"""Bring up example 05 in a home of its own, break it under load, print what clients saw, and leave nothing behind."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from redis import Redis

from tests.everup_cli import Everup, Json
from tests.http_load import HttpLoad
from tests.journal import Write, acknowledged, longest_gap_s, lost
from tests.writers import CLIENTS, Writer

EXAMPLE = Path(__file__).parent.parent / "examples" / "05-orders"
WATCH_S = 3.0
"""How long clients are watched around each fault, at least."""

ENOUGH = 50
"""Acknowledgements that every client must have got before a fault, and again after it."""

PATIENCE_S = 90.0
Journal = Callable[[], list[Write]]


@dataclass(frozen=True)
class Fault:
    """What was broken, and the monotonic seconds in which clients were watched for it."""

    name: str
    at_s: float
    until_s: float


def say(text: str = "") -> None:
    """Print a line at once, so that it stands in order with what the commands print."""
    print(text, flush=True)


def show(everup: Everup, *args: str) -> None:
    """Run a command as a user would, and show what it prints.

    Raises:
        SystemExit: it failed; what it said is on the screen already.
    """
    say(f"\n$ everup {' '.join(args)}")
    code = subprocess.run(["everup", *args], cwd=everup.folder, env=everup.environ, stdin=subprocess.DEVNULL).returncode
    if code != 0:
        raise SystemExit(f"everup {args[0]} ended with code {code}\n{everup.log()}")


def watch(journals: Sequence[Journal], since_s: float) -> float:
    """Wait until every client has got enough acknowledgements since then; returns the moment.

    Raises:
        SystemExit: one has not, within `PATIENCE_S`.
    """
    time.sleep(WATCH_S)
    give_up_s = time.monotonic() + PATIENCE_S
    for journal in journals:
        while sum(write.sent_s > since_s for write in acknowledged(journal())) < ENOUGH:
            if time.monotonic() > give_up_s:
                raise SystemExit(f"a client got no {ENOUGH} answers in {PATIENCE_S:.0f} s: {journal()[-3:]}")
            time.sleep(0.05)
    return time.monotonic()


def kill(everup: Everup, node: Json, name: str, journals: Sequence[Journal]) -> Fault:
    """Kill a node the hard way, and watch what the clients make of it."""
    say(f"kill -9 {node['pid']:<8} {name}, {node['id']}")
    at_s = everup.kill(node)
    return Fault(f"{name} killed", at_s, watch(journals, at_s))


def row(name: str, requests: Sequence[Write], faults: Sequence[Fault]) -> str:
    """One line of the result: how long this client stood still at each fault."""
    line = f"  {name:<38}"
    for fault in faults:
        near = [request for request in requests if fault.at_s - WATCH_S < request.ended_s < fault.until_s]
        line += f"{longest_gap_s(near, fault.at_s) * 1000:>{len(fault.name)}.0f} ms"
    return line


def report(faults: Sequence[Fault], orders: list[Write], pages: list[Write], writes: list[Write]) -> None:
    """Say how long each client stood still."""
    say(f"\nwhat clients saw{'':<24}{'   '.join(fault.name for fault in faults)}")
    say(row("longest time without an order", orders, faults))
    say(row("longest time without a page", pages, faults))
    say(row("longest time without a Redis write", writes, faults))


def run(everup: Everup, folder: Path) -> None:
    """The whole story, from `up` to the result."""
    show(everup, "up")
    show(everup, "status", "db01")
    variables = everup.variables("web")
    redis = everup.variables("redis01")
    order = '{"key": "demo-{n}", "item": "tea"}'
    say("\nclients: four place orders over HTTP, two read pages, one writes through the Sentinels (redis-py)\n")
    with (
        HttpLoad(variables["WEB_URL"], method="POST", path="/orders", body=order) as orders,
        HttpLoad(variables["WEB_URL"], path="/orders", clients=2) as pages,
        Writer.of(CLIENTS["redis-py"], redis, folder) as writer,
    ):
        journals = (orders.requests, pages.requests, writer.writes)
        watch(journals, time.monotonic())
        faults = [
            kill(everup, everup.primary("redis01"), "Redis primary", journals),
            kill(everup, everup.primary("db01"), "PostgreSQL primary", journals),
        ]
        placed, read, writes = orders.stop(), pages.stop(), writer.stop()
    say("\nwaiting until both groups are whole again")
    everup.wait_healthy()
    show(everup, "status")

    with psycopg.connect(variables["DATABASE_URL"], connect_timeout=10) as database:
        kept = {key for (key,) in database.execute("select key from orders")}
    with Redis.from_url(redis["REDIS_URL"], socket_timeout=10) as client:
        numbers = {int(number) for number in client.smembers(writer.key)}
    lost_orders = lost(placed, {write.n for write in placed if f"demo-{write.n}" in kept})
    failed = [request for request in (*placed, *read) if request.error]
    report(faults, placed, read, writes)
    say(f"  {'acknowledged orders lost':<38}{len(lost_orders)} of {len(acknowledged(placed)):,}")
    say(f"  {'acknowledged Redis writes lost':<38}{len(lost(writes, numbers))} of {len(acknowledged(writes)):,}")
    say(f"  {'HTTP requests failed':<38}{len(failed)} of {len(placed) + len(read):,}")
    if failed or lost_orders:
        raise SystemExit(f"that is not what is promised: {failed[:1]} {lost_orders[:5]}")


def main() -> None:
    """Run the demo; everything is taken down at its end, however it ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started_s = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="everup-demo-"))
    try:
        with Everup(EXAMPLE) as everup:
            run(everup, folder)
            show(everup, "down", "--destroy", "--yes")
        say(f"\ndone in {time.monotonic() - started_s:.0f} s; nothing is left running, nothing is left on disk")
    except KeyboardInterrupt:
        say("\nstopped; everything was taken down")
        raise SystemExit(130) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
