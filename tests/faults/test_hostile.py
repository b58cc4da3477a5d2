"""Clients that mean no good, or do none: the failover still works, and the control plane stays small."""

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from everup.runtime.home import Home
from tests.everup_cli import Everup
from tests.faults.steady import Steady
from tests.faults.truth import Truth, note

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

LIMIT_MB = 80
GARBAGE = (
    b"\x00\xff\x16\x03\x01" * 2000,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
    b"*1\r\n$1073741824\r\n" + b"x" * 100_000,
    b"*1073741824\r\n" * 100,
    b"$-5\r\n*-7\r\nQUITQUIT" + os.urandom(20_000),
)


def size_mb(pid: int) -> float:
    """Resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def targets(truth: Truth) -> list[tuple[str, int]]:
    """REDIS_URL and every published Sentinel."""
    url = truth.variables["REDIS_URL"].rpartition("/")[2]
    entries = [url, *truth.variables["REDIS_SENTINEL_LIST"].split(",")]
    return [(entry.rpartition(":")[0], int(entry.rpartition(":")[2])) for entry in entries]


def dial(to: tuple[str, int] | str) -> socket.socket:
    link = socket.socket(socket.AF_UNIX if isinstance(to, str) else socket.AF_INET)
    link.settimeout(2)
    link.connect(to)
    return link


def control_socket(everup: Everup) -> str:
    return str(Home(Path(everup.environ["EVERUP_HOME"])).socket)


def shout(to: tuple[str, int] | str, words: bytes) -> None:
    with contextlib.suppress(OSError), dial(to) as link:
        link.sendall(words)
        link.settimeout(0.2)
        link.recv(4096)


def fails_over(truth: Truth, name: str) -> None:
    everup = truth.everup
    with Steady.by_sentinels(truth, f"{name}-{time.time_ns()}") as writer:
        writer.wait(20)
        old = everup.primary("redis01")
        killed_s = everup.kill(old)
        writer.wait(50, after_s=killed_s + 0.2)
        truth.whole()
    note(f"crash under {name}: no write", writer.gap_s(killed_s))
    assert writer.gap_s(killed_s) < 30
    assert everup.primary("redis01")["id"] != old["id"]
    assert len(writer.lost(truth)) <= 3
    megabytes = size_mb(everup.control_plane())
    note("control plane under attack (MB)", megabytes)
    assert megabytes < LIMIT_MB


def test_garbage(group: Truth):
    control = group.everup.control_plane()
    for words in GARBAGE:
        for to in [*targets(group), control_socket(group.everup)]:
            shout(to, words)
    assert group.everup.control_plane() == control
    fails_over(group, "garbage")


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many as this process may have: a shell's usual 1,024 are not enough to be hostile with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_idle_connections(group: Truth):
    with contextlib.ExitStack() as links:
        for to in [*targets(group)[:2], control_socket(group.everup)]:
            for number in range(500):
                link = links.enter_context(dial(to))
                if number % 2:
                    link.sendall(b"*3\r\n$3\r\n")  # and half of them in the middle of a command
        fails_over(group, "500 idle connections")


def test_clients_that_come_and_go(group: Truth):
    for to in [*targets(group)[:2], control_socket(group.everup)]:
        for number in range(2000):
            with dial(to) as link:
                if number % 3 == 0:
                    link.sendall(b"PING\r\n")
    fails_over(group, "2,000 short connections")


def test_requests_that_make_no_sense(shop: Everup):
    control = shop.control_plane()
    for request in (
        b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{{{{{",
        b"POST /v1/environments/shop/services/redis01/scale HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n"
        b'{"count": -1}',
        b"POST /v1/environments/%2e%2e/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /v1/environments/shop/logs/..%2f..%2fetc HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n" + b"x" * 200_000,
    ):
        shout(control_socket(shop), request)
    assert shop.control_plane() == control
    assert shop.wait_healthy()["health"] == "healthy"
