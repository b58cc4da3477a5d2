"""Nodes that die, hang, or do both together: noticed, replaced, and the group whole again with every write."""

import contextlib
import itertools
import os
import random
import signal
import socket
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import redis

from everup.programs.redis_parting import commands
from tests.app_clients import GATE_S, RedisAnew, RedisClient, hand_over
from tests.everup_cli import Everup, Json
from tests.faults.steady import Steady
from tests.faults.truth import REPEAT, SYNCED_S, Truth, events, leaders, marked, note, until
from tests.journal import lost
from tests.repeated import Repeated

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

LAST_MOMENT = 3
"""Acknowledged writes that asynchronous replication may lose per kill (docs/why)."""


def primary(truth: Truth) -> Json:
    body = truth.everup.look()
    assert body
    service = next(one for one in body["services"] if one["label"] == truth.label)
    return next(node for node in service["nodes"] if node["id"] == service["primary"])


def strike(nodes: list[Json], number: int) -> float:
    """Send one signal to all of them at once; returns the moment."""
    now_s = time.monotonic()
    for node in nodes:
        os.kill(node["pid"], number)
    return now_s


def everything_of(everup: Everup, node_id: str) -> list[int]:
    return [one.pid for one in marked(everup) if one.node == node_id]


def test_a_killed_primary_costs_milliseconds(group: Truth):
    for turn in range(REPEAT):
        group.whole()
        key = f"crash-{turn}-{time.time_ns()}"
        with Steady.by_sentinels(group, key) as writer, Steady.by_url(group, f"{key}-url") as plain:
            writer.wait(50)
            plain.wait(50)
            killed_s = strike([primary(group)], signal.SIGKILL)
            for one in (writer, plain):
                one.wait(50, after_s=killed_s + 0.2)
            note("crash: whole again", group.whole())
        for one, name in ((writer, "Sentinels"), (plain, "REDIS_URL")):
            gap_s = one.gap_s(killed_s)
            note(f"crash: no write through {name}", gap_s)
            note(f"crash: writes lost through {name} (count)", len(one.lost(group)))
            assert gap_s < 30
            assert len(one.lost(group)) <= LAST_MOMENT


def test_who_connects_or_repeats_sees_a_planned_switchover_as_latency(group: Truth):
    url = group.variables["REDIS_URL"]
    anew, repeating = RedisAnew(url, f"anew-{time.time_ns()}"), RedisClient(url, f"repeating-{time.time_ns()}")
    with Repeated(anew.write) as first, Repeated(repeating.write) as second:
        took_s = hand_over(group.everup, "redis01", {"anew": first, "repeating": second})
    assert second.errors() == []
    assert first.errors() == [] or took_s > GATE_S
    for client, loop in ((anew, first), (repeating, second)):
        assert lost(loop.writes, client.survivors()) == []


def test_what_check_and_explain_foretell_is_what_happens(group: Truth):
    everup = group.everup
    assert everup.json("check")["verdict"] == "yes"
    foretold = everup.json("explain", "redis01")
    heirs = [one["node"] for one in foretold["election"]["candidates"] if one["fit"]]
    fate = next(one for one in foretold["if_lost"] if one["nodes"] == [foretold["primary"]])
    assert (len(heirs), fate["path"]) == (2, "failover")
    everup.inject(foretold["primary"], "crash")
    after = until(lambda: (now := everup.json("explain", "redis01"))["primary"] != foretold["primary"] and now, 20.0)
    assert after["primary"] in heirs
    assert until(lambda: everup.json("check", codes=(0, 3))["verdict"] == "yes", 20.0)
    assert everup.json("explain", "redis01")["incident"]["outcome"].startswith("there was a failover")


@pytest.mark.parametrize("part", ["data", "voter", "front", "endpoint"])
def test_a_stopped_process_is_noticed_fenced_and_replaced(group: Truth, part: str):
    """Of the data nodes a replica."""
    first = group.part("data") if part == "data" else group.part(part)
    victim = next(node for node in first if node["id"] != primary(group)["id"])
    with Steady.by_sentinels(group, f"stop-{part}-{time.time_ns()}") as writer:
        writer.wait(20)
        stopped_s = time.monotonic()
        for pid in everything_of(group.everup, victim["id"]):
            os.kill(pid, signal.SIGSTOP)
        until(lambda: leaders(group.everup).get(victim["id"]) not in (victim["pid"], None), 15, "replaced")
        note(f"SIGSTOP of a {part}: replaced", time.monotonic() - stopped_s)
        note(f"SIGSTOP of a {part}: whole again", group.whole() + time.monotonic() - stopped_s)
        writer.wait(20, after_s=time.monotonic())
    note(f"SIGSTOP of a {part}: no write", writer.gap_s(stopped_s))
    assert not writer.lost(group)
    assert writer.gap_s(stopped_s) < 20  # socket timeouts of this client (5 s), where it hung on the stopped process


@pytest.mark.parametrize("with_voter", [False, True], ids=["alone", "with a Sentinel"])
def test_a_stopped_primary_is_fenced_and_succeeded(group: Truth, with_voter: bool):
    old = primary(group)
    with Steady.by_sentinels(group, f"hang-{time.time_ns()}") as writer:
        writer.wait(20)
        victims = [old, *group.part("voter")[: int(with_voter)]]
        stopped_s = strike(victims, signal.SIGSTOP)
        writer.wait(20, after_s=stopped_s + 1)
        group.whole()
    assert primary(group)["id"] != old["id"]
    gap_s = writer.gap_s(stopped_s)
    note(f"SIGSTOP of the primary{' and a Sentinel' if with_voter else ''}: no write", gap_s)
    assert gap_s < 30
    assert not writer.lost(group)


def test_the_new_primary_dies_too(group: Truth):
    for _ in range(REPEAT):
        group.whole()
        with Steady.by_url(group, f"twice-{time.time_ns()}") as writer:
            writer.wait(20)
            old = primary(group)
            killed_s = strike([old], signal.SIGKILL)
            time.sleep(random.uniform(0.1, 1.0))
            second = until(lambda old=old: new if (new := primary(group))["id"] != old["id"] else None, 10)
            with contextlib.suppress(ProcessLookupError):
                strike([second], signal.SIGKILL)
            writer.wait(50, after_s=killed_s + 1.5)
            note("primary, then the new one: whole again", group.whole())
        note("primary, then the new one: no write", writer.gap_s(killed_s))
        note("primary, then the new one: writes lost (count)", len(writer.lost(group)))
        assert len(writer.lost(group)) <= 2 * LAST_MOMENT


def test_the_primary_dies_while_a_replica_and_a_sentinel_hang(group: Truth):
    old = primary(group)
    hung = [next(node for node in group.part("data") if node["id"] != old["id"]), group.part("voter")[0]]
    with Steady.by_url(group, f"beside-{time.time_ns()}") as writer:
        writer.wait(20)
        strike(hung, signal.SIGSTOP)
        killed_s = strike([old], signal.SIGKILL)
        writer.wait(20, after_s=killed_s + 0.5)
        group.whole()
    gap_s = writer.gap_s(killed_s)
    note("primary killed while a replica and a Sentinel hang: no write", gap_s)
    assert gap_s < 30
    assert primary(group)["id"] not in (old["id"], hung[0]["id"])


def test_the_worker_of_the_endpoint_dies_alone(group: Truth):
    name = "redis01-endpoint"
    for number in (signal.SIGKILL, signal.SIGSTOP):
        group.whole()
        worker = next(pid for pid in everything_of(group.everup, name) if pid != leaders(group.everup)[name])
        with Steady.by_url(group, f"worker-{time.time_ns()}") as writer:
            writer.wait(20)
            struck_s = time.monotonic()
            os.kill(worker, number)
            writer.wait(20, after_s=struck_s + 0.5)
            group.whole()
        note(f"{signal.Signals(number).name} of the endpoint's worker: no write", writer.gap_s(struck_s))
        assert writer.gap_s(struck_s) < 30
        assert not writer.lost(group)


def test_all_sentinels_die_at_once(group: Truth):
    old = primary(group)
    with Steady.by_url(group, f"voters-{time.time_ns()}") as writer:
        writer.wait(20)
        killed_s = strike(group.part("voter"), signal.SIGKILL)
        group.whole()
        writer.wait(20, after_s=time.monotonic())
    assert primary(group)["id"] == old["id"]
    assert not writer.errors()
    assert writer.gap_s(killed_s) < 30


def test_all_data_nodes_die_at_once(group: Truth):
    for _ in range(REPEAT):
        group.whole()
        with Steady.by_url(group, f"all-{time.time_ns()}") as writer:
            writer.wait(300)
            killed_s = strike(group.part("data"), signal.SIGKILL)
            writer.wait(50, after_s=killed_s + 0.5)
            note("all data nodes killed: whole again", group.whole())
        note("all data nodes killed: no write", writer.gap_s(killed_s))
        note("all data nodes killed: writes lost (count)", len(writer.lost(group)))
        assert len(writer.lost(group)) <= 250  # the append-only file is synced every second; kill -9 spares the cache


def test_a_power_cut_loses_nothing_that_reached_the_disk(group: Truth):
    for _ in range(REPEAT):
        group.whole()
        everup, before = group.everup, primary(group)["id"]
        with Steady.by_url(group, f"power-{time.time_ns()}") as writer:
            writer.wait(100)
            time.sleep(SYNCED_S)
            synced = [write.n for write in writer.writes if not write.error]
            os.kill(everup.control_plane(), signal.SIGKILL)
            for one in marked(everup):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
            writer.stop()
        until(lambda everup=everup: not marked(everup), 10)
        everup("up")
        note("power cut: whole again after up", group.whole())
        assert not set(synced) & set(writer.lost(group))
        assert primary(group)["id"] == before


def test_what_happened_is_told(group: Truth):
    mark = events(group.everup)[-1]["seq"]
    old = primary(group)
    strike([old], signal.SIGKILL)
    group.whole()
    told = [event["name"] for event in events(group.everup, mark)]
    for name in ("node.exited", "failover.voted", "failover.promoted", "failover.published", "primary.changed"):
        assert name in told, told
    assert "internal.error" not in told


class Direct:
    """Clients that write to one server at full speed, each key once, until that ends."""

    def __init__(self, truth: Truth, node: Json, key: str) -> None:
        self.acknowledged: list[str] = []
        self._threads = [Thread(target=self._write, args=(truth.connect(node, 30), f"{key}:{n}")) for n in range(4)]
        for thread in self._threads:
            thread.start()

    def _write(self, client: "redis.Redis[Any]", key: str) -> None:
        with contextlib.suppress(redis.RedisError, OSError), client:
            for number in itertools.count():
                client.set(f"{key}:{number}", "x" * (number % 50))
                self.acknowledged.append(f"{key}:{number}")

    def wait(self, count: int) -> None:
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) >= before + count, 20.0)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def cut_and_kill(truth: Truth, old: Json, writers: Direct) -> None:
    """Kill the primary when it has acknowledged what no replica was ever sent."""
    replicas = [node for node in truth.part("data") if node["id"] != old["id"]]
    with truth.connect(old, 30) as client:
        client.config_set("appendfsync", "no")  # what is acknowledged is in the file, however busy the disk
        writers.wait(200)
        strike(replicas, signal.SIGSTOP)
        try:
            client.client_kill_filter(_type="replica")
            writers.wait(300)
            strike([old], signal.SIGKILL)
        finally:
            strike(replicas, signal.SIGCONT)


def test_what_only_the_dead_primary_has_is_kept_to_the_write(group: Truth):
    everup = group.everup
    for turn in range(3):  # where the replicas stood still for too long, there is no failover
        entries = everup.json("lost", "redis01")["entries"]
        old, key = primary(group), f"ledger-{turn}"
        writers = Direct(group, old, key)
        try:
            cut_and_kill(group, old, writers)
        finally:
            writers.join()
        group.whole()
        if primary(group)["id"] != old["id"]:
            break
    ledger = everup.json("lost", "redis01")
    kept = ledger["kept"][-1]
    assert ledger["entries"] == entries + 1
    assert (kept["node"], kept["successor"], kept["exact"]) == (old["id"], primary(group)["id"], True)
    text = (Path(kept["folder"]) / "commands.aof").read_bytes()
    lost = {one.words[1].decode() for one in commands(text) if one.writes}
    with group.by_url(30) as client:
        there = set(client.scan_iter(f"{key}:*", count=10_000))
    missing = set(writers.acknowledged) - there
    assert len(missing) >= 300
    assert missing <= lost and not lost & there
    assert len(lost) == kept["writes"]
    assert everup.service("redis01")["lost"]["writes"] == ledger["writes"]
    told = [event for event in events(everup) if event["name"] == "lost.kept"]
    assert (told[-1]["node"], told[-1]["fields"]["writes"]) == (old["id"], kept["writes"])
    assert f"{old['id']} had it" in everup("lost").stdout
    write_again(primary(group), text)
    with group.by_url(30) as client:
        assert missing <= set(client.scan_iter(f"{key}:*", count=10_000))


def write_again(node: Json, text: bytes) -> None:
    """Send commands to a server, as `redis-cli --pipe` does."""
    count, answers = len(list(commands(text))), b""
    with socket.create_connection((node["address"], node["port"]), 60) as link:
        link.sendall(text)
        while answers.count(b"\r\n") < count:
            answers += link.recv(1 << 16)
    assert answers == b"+OK\r\n" * count
