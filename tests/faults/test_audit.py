"""The control plane is killed or its disk fills amid writes: what it acknowledged is there, and recorded."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from everup.core.chain import verify
from everup.runtime.store import Store
from tests.everup_cli import Everup
from tests.faults.conftest import fill, on_a_small_disk
from tests.faults.truth import REPEAT, note, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

SPEC = """\
environment: shop
services:
  idle: {kind: worker, run: sleep 1000000}
"""
TIMES = 10 * REPEAT
"""Kills, and full disks."""


@pytest.fixture
def shop() -> Iterator[Everup]:
    with on_a_small_disk(SPEC, "40m") as everup:
        everup("up")
        yield everup


def serve(everup: Everup) -> "subprocess.Popen[bytes]":
    """A control plane of our own, answering."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "everup.serve"],
        env=everup.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert process.poll() is None
        try:
            with everup.api() as client:
                return client.get("/v1/control").is_success
        except httpx.TransportError:
            return False

    until(answers, 30)
    return process


@dataclass
class Writer(threading.Thread):
    """Sets one secret after the other and applies one spec after the other, each numbered, until it is stopped.

    `done` holds the numbers that were acknowledged, `refused` what was answered otherwise, `sent` the last number.
    """

    everup: Everup
    sent: int
    done: list[int] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        with self.everup.api() as client:
            while not self.over.is_set():
                self.sent += 1
                path, body = request(self.everup, self.sent)
                try:
                    answer = client.post(path, json=body)
                except httpx.TransportError:
                    return  # nobody knows what became of this one
                if answer.is_success:
                    self.done.append(self.sent)
                else:
                    self.refused.append((self.sent, answer.json()["code"]))

    def wait(self, count: int = 1) -> None:
        """Until so many more are acknowledged."""
        wanted = len(self.done) + count
        until(lambda: len(self.done) >= wanted or not self.is_alive(), 30)

    def wait_refused(self) -> None:
        """Until one more is refused."""
        wanted = len(self.refused) + 1
        until(lambda: len(self.refused) >= wanted, 60)

    def end(self) -> None:
        self.over.set()
        self.join(60)
        assert not self.is_alive()


def request(everup: Everup, number: int) -> tuple[str, dict[str, Any]]:
    """The request with that number, path and body; the store shows whether it was done, and nothing is restarted."""
    if number % 3 == 0:
        place = {"file": "everup.yaml", "directory": str(everup.folder), "path": everup.environ["PATH"]}
        return "/v1/apply", {**place, "text": f"{SPEC}# {number}\n"}
    return "/v1/environments/shop/secrets", {"name": f"s{number}", "value": "x" * (number % 97 + 1)}


def found_in_the_store(everup: Everup, done: list[int], sent: int) -> None:
    """Everything acknowledged is in the store that a dead control plane left, and in its log, whose chain is whole."""
    with closing(Store(Path(everup.environ["EVERUP_HOME"]) / "everup.sqlite")) as store:
        kept = {one.name for one in store.vault.kept("shop")}
        text = store.environments()["shop"].source.text
        entries = store.audit.page(0, 1_000_000)
    assert {f"s{number}" for number in done if number % 3} - kept == set()
    applied = [number for number in done if number % 3 == 0]
    if applied:
        assert applied[-1] <= int(text.rpartition("# ")[2]) <= sent
    chain = verify(entries)
    assert (chain.broken, chain.entries) == (None, len(entries))
    good = [one for one in entries if one["status"] == 200]
    recorded = {one["given"].get("name") for one in good}
    assert {f"s{number}" for number in done if number % 3} - recorded == set()
    assert len([one for one in good if one["what"] == "POST /v1/apply"]) >= len(applied)
    asked = {one["seq"] for one in entries if one["status"] is None}
    assert {one["asked"] for one in good} <= asked


def test_killed_in_the_middle_of_writes(shop: Everup):
    worker, done, sent = shop.nodes("idle")["idle-1"]["pid"], [], 0
    os.kill(shop.control_plane(), signal.SIGKILL)
    for _ in range(TIMES):
        process = serve(shop)
        writer = Writer(shop, sent)
        writer.start()
        writer.wait()
        time.sleep(random.uniform(0.0, 0.2))  # the instant of the kill is what is tried
        process.kill()
        process.wait()
        writer.end()
        done, sent = done + writer.done, writer.sent
        assert writer.refused == []
        found_in_the_store(shop, done, sent)
    assert shop.nodes("idle")["idle-1"]["pid"] == worker
    assert shop.json("audit", "verify")["verdict"] == "whole"
    note("killed in the middle of writes: acknowledged, all there", len(done))


def test_a_full_disk_in_the_middle_of_writes(shop: Everup):
    worker = shop.nodes("idle")["idle-1"]["pid"]
    writer = Writer(shop, 0)
    writer.start()
    for _ in range(TIMES):
        writer.wait()
        time.sleep(random.uniform(0.0, 0.1))  # the instant at which the disk fills is what is tried
        ballast = fill(shop)
        writer.wait_refused()
        assert Path(f"/proc/{worker}").exists()
        ballast.unlink()
        writer.wait(3)
    writer.end()
    assert {code for _, code in writer.refused} <= {"store.refused", "audit.unrecorded", "secret.key"}
    os.kill(shop.control_plane(), signal.SIGKILL)
    found_in_the_store(shop, writer.done, writer.sent)
    assert shop.json("audit", "verify")["verdict"] == "whole"
    assert shop.nodes("idle")["idle-1"]["pid"] == worker
    note("full disk in the middle of writes: acknowledged, all there", len(writer.done))
    note("full disk in the middle of writes: refused", len(writer.refused))
