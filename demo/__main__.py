"""Bring up example 03 in a home of its own, break it under load, print what clients saw, and leave nothing behind."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from redis import Redis

from tests.everup_cli import Everup
from tests.http_load import HttpLoad
from tests.journal import Write, acknowledged, longest_gap_s, lost
from tests.writers import CLIENTS, Writer

EXAMPLE = Path(__file__).parent.parent / "examples" / "03-web-and-redis-ha"
WATCH_S = 3.0  # how long clients are watched after each fault


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


def stored(url: str, key: str) -> set[int]:
    """The numbers in a set, read back through the endpoint that follows the primary."""
    with Redis.from_url(url, socket_timeout=10) as client:
        return {int(number) for number in client.smembers(key)}


def gap_ms(requests: list[Write], fault_s: float) -> float:
    """Milliseconds without an acknowledgement around one fault."""
    near = [request for request in requests if fault_s - 1 < request.ended_s < fault_s + WATCH_S]
    return longest_gap_s(near, fault_s) * 1000


def row(name: str, requests: list[Write], faults_s: tuple[float, float]) -> str:
    """One line of the result: how long this client stood still at each fault."""
    gaps = [f"{gap_ms(requests, fault_s):.0f} ms" for fault_s in faults_s]
    return f"  {name:<34} {gaps[0]:>14} {gaps[1]:>14}"


def run(everup: Everup, folder: Path) -> None:
    """The whole story, from `up` to the result."""
    show(everup, "up")
    show(everup, "status")
    redis, web = everup.variables("redis01"), everup.variables("web")
    say("\nclients: a writer through the Sentinels (redis-py); four HTTP clients that place orders")
    with (
        Writer.of(CLIENTS["redis-py"], redis, folder) as writer,
        HttpLoad(web["WEB_URL"], method="PUT", path="/orders/{n}") as load,
    ):
        writer.wait_for_acks(200)
        primary = everup.primary("redis01")
        say(f"\nkill -9 {primary['pid']}   the Redis primary, {primary['id']}")
        primary_s = everup.kill(primary)
        time.sleep(WATCH_S)
        instance = everup.nodes("web")["web-1"]
        say(f"kill -9 {instance['pid']}   one of the three web instances, {instance['id']}")
        instance_s = everup.kill(instance)
        time.sleep(WATCH_S)
        requests, writes = load.stop(), writer.stop()
    everup.wait_healthy()
    show(everup, "status")

    faults_s = (primary_s, instance_s)
    lost_writes = lost(writes, stored(redis["REDIS_URL"], writer.key))
    lost_orders = lost(requests, stored(redis["REDIS_URL"], "orders"))
    failed = [request for request in requests if request.error]
    say("\nwhat clients saw                      primary killed   web-1 killed")
    say(row("longest time without a write", writes, faults_s))
    say(row("longest time without an order", requests, faults_s))
    say(f"  acknowledged writes lost           {len(lost_writes)} of {len(acknowledged(writes)):,}")
    say(f"  acknowledged orders lost           {len(lost_orders)} of {len(acknowledged(requests)):,}")
    say(f"  HTTP requests failed               {len(failed)} of {len(requests):,}")
    if failed:
        raise SystemExit(f"the first failed request: {failed[0]}")


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
