"""A group that grows, shrinks and becomes single again while clients write: no ghosts, no pause, nothing lost."""

import os
import random
import signal
import time

import pytest

from tests.everup_cli import Everup
from tests.faults.conftest import HA
from tests.faults.steady import Steady
from tests.faults.truth import REPEAT, Truth, leaders, note

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SINGLE = "environment: shop\nservices:\n  redis01: {kind: redis}\n"
FIVE = "environment: shop\nservices:\n  redis01: {kind: redis, ha: {replicas: 2, sentinels: 5}}\n"


def test_more_and_fewer_sentinels_leave_no_ghosts():
    with Everup(HA) as everup:
        everup("up")
        Truth(everup, "redis01").whole()
        for words, spec in (("3 -> 5", FIVE), ("5 -> 3", HA)):
            everup.write_spec(spec)
            everup("up")
            truth = Truth(everup, "redis01")
            note(f"{words} Sentinels: no ghost left after up", truth.whole(60))
        everup.inject("redis01-sentinel-2", "node-loss", 8)
        everup.inject("redis01-sentinel-3", "crash")
        old = everup.primary("redis01")
        with Steady.by_sentinels(truth, "one-voter-less") as writer:
            writer.wait(50)
            killed_s = everup.kill(old)
            writer.wait(50, after_s=killed_s + 0.2)
        assert everup.primary("redis01")["id"] != old["id"]
        assert writer.gap_s(killed_s) < 30
        truth.whole(60)


def test_from_single_to_ha_and_back_while_a_client_writes():
    with Everup(SINGLE) as everup:
        everup("up")
        single = Truth(everup, "redis01")
        first = leaders(everup)["redis01-1"]
        with Steady.by_url(single, "growing") as writer:
            writer.wait(100)
            everup.write_spec(HA)
            changed_s = time.monotonic()
            everup("up")
            truth = Truth(everup, "redis01")
            truth.whole(40)
            writer.wait(100, after_s=time.monotonic())
        assert leaders(everup)["redis01-1"] == first
        assert not writer.errors()
        assert not writer.lost(truth)
        note("single -> HA: longest pause of a writer", writer.gap_s(changed_s))
        with Steady.by_url(truth, "shrinking") as writer:
            writer.wait(100)
            killed_s = everup.kill(everup.primary("redis01"))  # so that the primary is not node 1
            truth.whole(40)
            writer.wait(50, after_s=killed_s + 1)
            assert everup.primary("redis01")["id"] != "redis01-1"
            errors = len(writer.errors())
            everup.write_spec(SINGLE)
            changed_s = time.monotonic()
            everup("up")
            single.whole(40)
            writer.wait(100, after_s=time.monotonic())
        assert set(leaders(everup)) == {"redis01-1", "redis01-endpoint"}
        assert everup.primary("redis01")["id"] == "redis01-1"
        assert len(writer.lost(single)) <= 3  # by the kill; handing over loses none
        assert len(writer.errors()) - errors <= 2  # the one cut connection, seen by a client that does not try again
        assert not [w for w in writer.writes if w.sent_s > changed_s and w.n in writer.lost(single)]
        note("HA -> single, primary elsewhere: longest pause", writer.gap_s(changed_s))


def test_from_ha_to_single_where_the_primary_stays():
    with Everup(HA) as everup:
        everup("up")
        truth = Truth(everup, "redis01")
        truth.whole()
        first = leaders(everup)["redis01-1"]
        with Steady.by_url(truth, "staying") as writer:
            writer.wait(50)
            everup.write_spec(SINGLE)
            everup("up")
            Truth(everup, "redis01").whole(40)
            writer.wait(100, after_s=time.monotonic())
        assert leaders(everup) == {"redis01-1": first, "redis01-endpoint": leaders(everup)["redis01-endpoint"]}
        assert not writer.errors()
        assert not writer.lost(truth)
        everup.write_spec(HA)  # and once more: nodes that had data before join again
        everup("up")
        Truth(everup, "redis01").whole(40)
        assert leaders(everup)["redis01-1"] == first


def test_the_control_plane_dies_while_the_shape_changes():
    with Everup(HA) as everup:
        everup("up")
        truth = Truth(everup, "redis01")
        with truth.by_url() as client:
            client.mset({f"key:{n}": n for n in range(100)})
        for turn in range(REPEAT):
            truth.whole(60)
            everup.kill(everup.primary("redis01"))
            truth.whole(60)
            for shape in (SINGLE, FIVE, HA):
                everup.write_spec(shape)
                process = everup.start("up")
                time.sleep(random.uniform(0.2, 1.5))
                os.kill(everup.control_plane(), signal.SIGKILL)
                process.communicate(timeout=240)
                everup("up")
                note("shape changed, control plane killed: whole", Truth(everup, "redis01").whole(60))
            with truth.by_url() as client:
                assert client.dbsize() == 100, turn
