"""A control plane may be killed at any instant: what runs is recorded, and the next one takes it over."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from everup.engines.local import kernel, statefile
from everup.engines.local.engine import LocalEngine
from everup.engines.local.programs import Programs
from tests.engines.worlds import LocalWorld, a_node, eventually

DAEMON = Path(__file__).with_name("daemon.py")
NODES = 12


class Daemon:
    """The control plane of daemon.py as a process that can be killed."""

    def __init__(self, home: Path, mode: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(DAEMON), str(home), mode], stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def line(self) -> dict[str, object]:
        assert self.process.stdout
        found: dict[str, object] = json.loads(self.process.stdout.readline())
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)
        assert self.process.stdout
        self.process.stdout.close()


def processes_of(home: Path) -> dict[str, list[int]]:
    """Every living process that bears the marker of a node of `home`, by node."""
    name = LocalEngine(home, Programs({}, {}))._around.name
    found: dict[str, list[int]] = {}
    for pid, marker in kernel.marked(f"{name}/").items():
        found.setdefault(marker.partition("/")[2], []).append(pid)
    return found


def settled(home: Path) -> dict[str, list[int]]:
    """The same, once shells that a dead control plane left waiting have ended."""
    end_s = time.monotonic() + 120
    while True:
        found = processes_of(home)
        lines = {pid: kernel.command_line(pid) for pids in found.values() for pid in pids}
        waiting = [pid for pid, line in lines.items() if not line or b"read -r word" in line]  # no line: it just ends
        if not waiting:
            return found
        assert time.monotonic() < end_s, f"shells wait for ever: {waiting}"
        time.sleep(0.005)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An environment's directory; whatever runs in it is gone afterwards."""
    home = tmp_path / "shop"
    yield home
    for pids in processes_of(home).values():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.faults
def test_kills_of_the_control_plane_at_any_instant_orphan_nothing_and_start_nothing_twice(home: Path) -> None:
    chance = random.Random(2)
    for _ in range(25):
        daemon = Daemon(home, "churn")
        adopted = daemon.line()["adopted"]
        assert isinstance(adopted, dict)
        time.sleep(chance.uniform(0.0, 0.15))
        daemon.kill()
        running = settled(home)
        for node_id, pids in running.items():
            record = statefile.load(home / "nodes" / node_id)
            assert record is not None, f"{node_id} runs and is recorded nowhere"
            leaders = [pid for pid in pids if os.getsid(pid) == pid]
            assert leaders == [record.pid] or not leaders, f"{node_id}: {leaders} run, {record.pid} is recorded"
            assert all(os.getsid(pid) == record.pid for pid in pids)
    daemon = Daemon(home, "keep")
    adopted = daemon.line()["adopted"]
    assert adopted == {
        node_id: record.pid
        for node_id in sorted(running)
        if (record := statefile.load(home / "nodes" / node_id)) and record.pid in running[node_id]
    }
    daemon.line()
    daemon.kill()
    assert Counter({node_id: len(pids) for node_id, pids in settled(home).items()}) == Counter(
        {f"web-{number}": 2 for number in range(1, NODES + 1)}
    )


@pytest.mark.faults
@pytest.mark.parametrize("instant", ["before-record", "after-record"])
def test_a_process_does_nothing_until_it_is_recorded(home: Path, instant: str) -> None:
    daemon = Daemon(home, instant)
    daemon.line()
    daemon.process.wait(60)
    daemon.kill()
    assert settled(home) == {}
    assert not (home / "nodes" / "web-1" / "pids").exists(), "it ran"
    assert (statefile.load(home / "nodes" / "web-1") is not None) == (instant == "after-record")
    daemon = Daemon(home, "keep")
    daemon.line(), daemon.line()
    daemon.kill()
    assert len(settled(home)) == NODES


@pytest.mark.faults
async def test_a_new_control_plane_adopts_everything_and_sees_it_end(home: Path) -> None:
    daemon = Daemon(home, "keep")
    daemon.line(), daemon.line()
    daemon.kill()
    before = settled(home)
    world = LocalWorld(home)
    try:
        states = await world.states()
        assert len(states) == NODES
        assert all(state.running and state.pid in before[node_id] for node_id, state in states.items())
        for node_id, state in states.items():
            assert state.pid
            killed_s = time.monotonic()
            os.kill(state.pid, signal.SIGKILL)
            async with asyncio.timeout(60):
                event = await anext(aiter(world.engine.watch()))
            assert event.node_id == node_id
            assert event.dead
            assert event.dead.at_s - killed_s < 20.0
            assert event.dead.exit_code in (-9, None)  # only newer kernels tell how somebody else's child ended
        assert settled(home) == {}
    finally:
        await world.close()


async def test_an_adopted_node_is_left_alone_by_the_same_declaration(home: Path) -> None:
    first, second = LocalWorld(home), LocalWorld(home)
    try:
        await first.engine.ensure(a_node())
        await first.engine.close()
        before = await second.state("web-1")
        await second.engine.ensure(a_node())
        assert (await second.state("web-1")) == before
        await second.engine.ensure(a_node(env={"A": "b"}))
        assert (await second.state("web-1")).pid != before.pid
    finally:
        await second.close()


@pytest.mark.parametrize("change", [{"boot": "another"}, {"start": "1"}])
async def test_a_process_of_another_boot_or_with_a_number_used_anew_is_no_node(
    home: Path, change: dict[str, str]
) -> None:
    stranger = a_stranger()
    try:
        seen = kernel.look(stranger.pid)
        assert seen
        record = statefile.Record(
            node_id="web-1",
            service="web",
            pid=stranger.pid,
            start=seen.start,
            boot=kernel.boot_id(),
            digest="0",
            files_digest="0",
            started_utc="2026-01-01T00:00:00+00:00",
            starts=1,
            stop_signal="SIGTERM",
            stop_grace_s=1.0,
        )
        (home / "nodes" / "web-1").mkdir(parents=True)
        statefile.save(home / "nodes" / "web-1", statefile.Record(**{**record.__dict__, **change}))
        world = LocalWorld(home)
        state = await world.state("web-1")
        assert not state.running
        assert state.dead
        await world.engine.fence("web-1")
        await world.engine.remove("web-1", keep_data=False)
        await world.engine.close()
        assert stranger.poll() is None, "a stranger was killed"
    finally:
        stranger.kill()
        stranger.wait(60)


async def test_a_node_that_died_unseen_is_dead_and_what_it_left_is_killed(home: Path) -> None:
    first = LocalWorld(home)
    await first.engine.ensure(a_node(script="sleep 600 & : > dump.rdb; exec sleep 600", keeps=("dump.rdb",)))

    async def ready() -> bool:
        return (await first.state("web-1")).has_data

    await eventually(ready)
    pid = (await first.state("web-1")).pid
    await first.engine.close()
    assert pid
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: dead(pid))
    assert len(processes_of(home)["web-1"]) == 1
    second = LocalWorld(home)
    state = await second.state("web-1")
    assert (state.running, state.has_data) == (False, True)
    assert state.dead
    assert processes_of(home) == {}
    await second.close()


async def test_processes_of_a_node_whose_home_was_deleted_are_killed(home: Path) -> None:
    first = LocalWorld(home)
    await first.engine.ensure(a_node())
    await first.engine.close()
    (home / "nodes").rename(home / "gone")
    second = LocalWorld(home)
    assert dict(await second.states()) == {}
    assert processes_of(home) == {}
    await second.close()


async def test_what_was_being_deleted_is_deleted_by_the_next(home: Path) -> None:
    (home / "trash" / "web-1.0").mkdir(parents=True)
    world = LocalWorld(home)
    await world.states()
    await world.close()
    assert not (home / "trash").exists()


def a_stranger() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "600"], start_new_session=True)


async def dead(pid: int) -> bool:
    return kernel.look(pid) is None
