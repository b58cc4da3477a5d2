"""Nodes whose data is gone or older than the group's: such a node never becomes primary, and nothing starts empty."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.everup_cli import Everup, Json
from tests.faults.conftest import HA
from tests.faults.steady import Steady
from tests.faults.truth import SYNCED_S, Truth, events, marked, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture
def own() -> Iterator[Truth]:
    """A group of its own with 500 keys, whole."""
    with Everup(HA) as everup:
        everup("up")
        truth = Truth(everup, "redis01")
        truth.whole()
        fill(truth, "key", 500)
        time.sleep(SYNCED_S)
        yield truth


def fill(truth: Truth, name: str, count: int) -> None:
    with truth.by_url() as client:
        client.mset({f"{name}:{number}": number for number in range(count)})


def count(truth: Truth) -> int:
    with truth.by_url() as client:
        return int(client.dbsize())


def home_of(truth: Truth, node_id: str) -> Path:
    return next(Path(truth.everup.environ["EVERUP_HOME"]).glob(f"environments/*/nodes/{node_id}"))


def power_cut(truth: Truth) -> None:
    """Kill the control plane and then everything else."""
    os.kill(truth.everup.control_plane(), signal.SIGKILL)
    while found := marked(truth.everup):
        for one in found:
            os.kill(one.pid, signal.SIGKILL)
        time.sleep(0.05)


def primary(truth: Truth) -> Json:
    return truth.everup.primary("redis01")


def test_an_emptied_primary_gives_way_to_a_replica(own: Truth):
    old = primary(own)
    shutil.rmtree(home_of(own, old["id"]) / "data" / "appendonlydir")
    own.everup.kill(old)
    own.whole()
    assert primary(own)["id"] != old["id"]
    assert count(own) == 500


def test_after_a_power_cut_an_emptied_primary_gives_way(own: Truth):
    old = primary(own)
    power_cut(own)
    shutil.rmtree(home_of(own, old["id"]) / "data" / "appendonlydir")
    own.everup("up")
    own.whole()
    assert primary(own)["id"] != old["id"]
    assert count(own) == 500


def test_all_killed_at_once_and_the_primary_emptied_under_everups_eyes(own: Truth):
    old = primary(own)
    shutil.rmtree(home_of(own, old["id"]) / "data" / "appendonlydir")
    for node in own.part("data"):
        own.everup.kill(node)
    own.whole()
    assert count(own) == 500


@pytest.mark.parametrize("what", ["data", "home"])
def test_an_older_copy_never_becomes_primary(own: Truth, what: str):
    """A copy of the first primary's data, saved two generations ago, comes back while everything is down."""
    everup, first = own.everup, primary(own)
    part = "data" if what == "data" else "."
    saved = everup.home / "saved"
    shutil.copytree(home_of(own, first["id"]) / part, saved)
    for turn in range(3):
        if turn < 2 or primary(own)["id"] == first["id"]:
            everup.kill(primary(own))
            own.whole()
    fill(own, "newer", 300)
    time.sleep(SYNCED_S)
    newest = primary(own)
    assert newest["id"] != first["id"]
    power_cut(own)
    for node in own.part("data"):  # the worst case: the newest primary has lost its data, and one node has the copy
        place = home_of(own, node["id"])
        if node["id"] == first["id"]:
            shutil.rmtree(place / part)
            shutil.copytree(saved, place / part)
        elif node["id"] == newest["id"]:
            shutil.rmtree(place / "data" / "appendonlydir")
    everup("up")
    own.whole()
    assert primary(own)["id"] not in (first["id"], newest["id"])
    assert count(own) == 800


def test_a_single_node_without_its_data_is_not_started_empty():
    with Everup("environment: solo\nservices:\n  cache: {kind: redis}\n") as everup:
        everup("up")
        truth = Truth(everup, "cache")
        fill(truth, "key", 10)
        time.sleep(0.5)
        until(lambda: (home_of(truth, "cache-1") / "data/appendonlydir").is_dir(), 5)
        aside = everup.home / "aside"
        shutil.move(home_of(truth, "cache-1") / "data" / "appendonlydir", aside)
        everup.kill(truth.part("data")[0])
        held = until(lambda: [one for one in everup.status()["waiting"] if "not started empty" in one["because"]], 10)
        assert held[0]["node"] == "cache-1"
        assert "cache-1 has lost its newest data" in everup("status", codes=(0, 3)).stdout
        assert not [one for one in marked(everup) if one.node == "cache-1"]
        shutil.move(aside, home_of(truth, "cache-1") / "data" / "appendonlydir")
        everup.wait_healthy()
        assert count(truth) == 10


def test_a_replica_that_lost_its_data_copies_it_anew(own: Truth):
    victim = next(node for node in own.part("data") if node["id"] != primary(own)["id"])
    with Steady.by_url(own, "beside") as writer:
        writer.wait(20)
        shutil.rmtree(home_of(own, victim["id"]) / "data" / "appendonlydir")
        own.everup.kill(victim)
        own.whole()
        writer.wait(20, after_s=time.monotonic())
    assert not writer.errors()
    assert not [event for event in events(own.everup) if event["name"] == "internal.error"]
