"""What only real processes can show: nothing escapes a fence, nothing shares an address, nothing is lost."""

import asyncio
import json
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from everup.engines.local import kernel
from everup.model.desired import Part, Stop, Tcp
from everup.model.errors import NodeFailed
from tests.engines.worlds import LocalWorld, a_node, eventually


async def pids_in(local: LocalWorld, name: str, count: int) -> list[int]:
    """The numbers that the node's script wrote into the file `name`, once there are `count`."""
    place = local.home / "nodes" / "web-1" / name

    async def written() -> bool:
        return place.exists() and len(place.read_text().split()) >= count

    await eventually(written)
    return [int(word) for word in place.read_text().split()]


def survivors(pids: list[int]) -> list[int]:
    """Those that live, which they do for no longer than this."""
    found = [pid for pid in pids if kernel.look(pid)]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return found


@contextmanager
def listening(reuse_port: bool = False) -> Iterator[Tcp]:
    """Somebody else who listens on a loopback port."""
    with socket.socket() as server:
        if reuse_port:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield Tcp(*server.getsockname())


FAMILY = "echo $$ >> pids; sleep 600 & echo $! >> pids; setsid sh -c 'echo $$ >> pids; exec sleep 600' & exec sleep 600"


async def test_a_fence_kills_children_that_made_a_session_of_their_own(local: LocalWorld) -> None:
    await local.engine.ensure(a_node(script=FAMILY))
    pids = await pids_in(local, "pids", 3)
    assert len({os.getsid(pid) for pid in pids}) == 2
    await local.engine.fence("web-1")
    assert survivors(pids) == []


async def test_a_fence_kills_children_that_hide_their_environment(local: LocalWorld) -> None:
    await local.engine.ensure(a_node(script="env -i sleep 600 & echo $! >> pids; echo $$ >> pids; exec sleep 600"))
    pids = await pids_in(local, "pids", 2)
    await eventually(lambda: hidden(pids[0]))
    await local.engine.fence("web-1")
    assert survivors(pids) == []


async def hidden(pid: int) -> bool:
    return Path(f"/proc/{pid}/environ").read_bytes() == b""


async def test_the_death_of_the_main_process_ends_its_children_before_it_is_told(local: LocalWorld) -> None:
    await local.engine.ensure(a_node(script=FAMILY))
    pids = await pids_in(local, "pids", 3)
    await local.kill("web-1")
    async with asyncio.timeout(60):
        await anext(aiter(local.engine.watch()))
    assert survivors(pids) == []


async def test_a_stopped_node_is_fenced(local: LocalWorld) -> None:
    await local.engine.ensure(a_node(script=FAMILY))
    pids = await pids_in(local, "pids", 3)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await local.engine.fence("web-1")
    assert survivors(pids) == []


async def test_a_node_that_ignores_its_stop_signal_is_killed_after_its_grace(local: LocalWorld) -> None:
    script = "trap '' TERM; echo $$ >> pids; while :; do sleep 0.01; done"
    await local.engine.ensure(a_node(script=script, stop=Stop(grace_s=0.2)))
    pids = await pids_in(local, "pids", 1)
    begun_s = time.monotonic()
    await local.engine.remove("web-1", keep_data=True)
    assert 0.2 <= time.monotonic() - begun_s < 60
    assert survivors(pids) == []


async def test_a_node_that_forgets_that_it_was_asked_to_stop_is_asked_again(local: LocalWorld) -> None:
    script = "asked=; trap 'test -n \"$asked\" && exit 0; asked=1' TERM; echo $$ >> pids; while :; do sleep 0.01; done"
    await local.engine.ensure(a_node(script=script, stop=Stop("SIGTERM", 90.0, repeat_s=0.05)))
    await pids_in(local, "pids", 1)
    began_s = time.monotonic()
    await local.engine.remove("web-1", keep_data=True)
    assert time.monotonic() - began_s < 80.0


async def test_a_fence_does_not_wait_for_a_stop_that_is_under_way(local: LocalWorld) -> None:
    script = "trap '' TERM; echo $$ >> pids; while :; do sleep 0.01; done"
    await local.engine.ensure(a_node(script=script, stop=Stop(grace_s=60)))
    await pids_in(local, "pids", 1)
    stop = asyncio.create_task(local.engine.remove("web-1", keep_data=True))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(60):
        await local.engine.fence("web-1")
        await stop


async def test_a_cancelled_start_is_finished_and_recorded(local: LocalWorld) -> None:
    await local.engine.observe()
    start = asyncio.create_task(local.engine.ensure(a_node()))
    await asyncio.sleep(0.001)
    start.cancel()

    async def running() -> bool:
        states = await local.states()
        return "web-1" in states and states["web-1"].running

    await eventually(running)


async def test_the_stop_signal_of_the_node_is_the_one_that_is_sent(local: LocalWorld) -> None:
    script = "trap 'echo asked > asked; exit 0' USR1; echo $$ >> pids; while :; do sleep 0.01; done"
    await local.engine.ensure(a_node(script=script, stop=Stop(signal="SIGUSR1", grace_s=5)))
    await pids_in(local, "pids", 1)
    await local.engine.remove("web-1", keep_data=True)
    assert local.read("web-1", "asked") == "asked\n"


async def test_a_reload_waits_until_the_program_listens_for_it(local: LocalWorld) -> None:
    """By default the signal would end it."""
    script = "sleep 0.5; trap 'cat app.conf; exec sleep 600' HUP; while :; do sleep 0.01; done"
    await local.engine.ensure(a_node(script=script, files={"app.conf": "a\n"}, reload_signal="SIGHUP"))
    pid = (await local.state("web-1")).pid
    await local.engine.ensure(a_node(script=script, files={"app.conf": "b\n"}, reload_signal="SIGHUP"))

    async def reloaded() -> bool:
        return (local.home / "nodes" / "web-1" / "out.log").read_text() == "b\n"

    await eventually(reloaded)
    assert (await local.state("web-1")).pid == pid


async def test_a_reload_reads_the_new_file(local: LocalWorld) -> None:
    script = "trap 'cat app.conf > seen' HUP; echo $$ >> pids; while :; do sleep 0.01; done"
    await local.engine.ensure(a_node(script=script, files={"app.conf": "a"}, reload_signal="SIGHUP"))
    await pids_in(local, "pids", 1)
    await local.engine.ensure(a_node(script=script, files={"app.conf": "b"}, reload_signal="SIGHUP"))

    async def seen() -> bool:
        place = local.home / "nodes" / "web-1" / "seen"
        return place.exists() and place.read_text() == "b"

    await eventually(seen)


@pytest.mark.parametrize("reuse_port", [False, True])
async def test_an_address_in_use_is_never_shared_and_its_owner_is_named(local: LocalWorld, reuse_port: bool) -> None:
    with listening(reuse_port) as address:
        with pytest.raises(NodeFailed) as failure:
            await local.engine.ensure(a_node(ports={"http": address}))
        assert failure.value.code == "engine.address_in_use"
        assert str(address) in failure.value.message
        assert f"process {os.getpid()} (" in failure.value.message
        state = await local.state("web-1")
        assert not state.running
        assert str(address) in state.failure
        assert state.retry_at_s > 0
    await local.engine.ensure(a_node(ports={"http": address}))
    assert (await local.state("web-1")).running


async def test_somebody_who_listens_on_all_addresses_is_found(local: LocalWorld) -> None:
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        with pytest.raises(NodeFailed) as failure:
            await local.engine.ensure(a_node(ports={"http": Tcp("127.77.0.2", server.getsockname()[1])}))
    assert f"process {os.getpid()} (" in failure.value.message


async def test_a_crash_loop_backs_off_and_says_why(local: LocalWorld) -> None:
    node = a_node(script="echo config is wrong; exit 3")
    waits = []
    for _ in range(5):
        await local.engine.ensure(node)
        async with asyncio.timeout(60):
            event = await anext(aiter(local.engine.watch()))
        assert event.dead
        assert event.dead.exit_code == 3
        waits.append((await local.state("web-1")).retry_at_s - event.dead.at_s)
    assert all(wait <= most for wait, most in zip(waits, [0.05, 0.1, 0.2, 0.4, 0.8], strict=True)), waits
    assert waits[4] > waits[2], waits  # what it took to start and to end counts as waited
    state = await local.state("web-1")
    assert state.failure.startswith("exited with code 3, 5 times in 0.")
    assert state.failure.endswith(": config is wrong")
    assert state.restarts == 4


@pytest.mark.parametrize("code", [126, 127])
async def test_a_program_that_cannot_be_executed_is_a_failure_with_its_last_words(local: LocalWorld, code: int) -> None:
    script = local.home / "nodes" / "web-1" / "broken"
    script.parent.mkdir(parents=True)
    script.write_text("#!/no/such/interpreter\n" if code == 127 else "#!/\n")
    script.chmod(0o700)
    with pytest.raises(NodeFailed) as failure:
        await local.engine.ensure(a_node(program="./broken"))
    assert "broken" in failure.value.message
    assert failure.value.subject["exit_code"] in (126, 127)
    state = await local.state("web-1")
    assert not state.running
    assert state.dead


async def test_a_missing_directory_is_named(local: LocalWorld, tmp_path: Path) -> None:
    with pytest.raises(NodeFailed) as failure:
        await local.engine.ensure(a_node(cwd=str(tmp_path / "nowhere")))
    assert "nowhere" in failure.value.message


async def test_a_full_disk_leaves_no_process_and_no_half_written_file(local: LocalWorld) -> None:
    await local.engine.ensure(a_node())
    await local.engine.remove("web-1", keep_data=True)
    record = local.read("web-1", "state.json")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # no file may grow beyond ten bytes
    try:
        with pytest.raises(NodeFailed) as failure:
            await local.engine.ensure(a_node())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in failure.value.message
    assert kernel.marked(f"{local.engine._around.name}/") == {}
    assert local.read("web-1", "state.json") == record
    assert not list((local.home / "nodes" / "web-1").glob(".*"))
    await local.engine.ensure(a_node())
    assert (await local.state("web-1")).running


async def told_by_python(local: LocalWorld, expression: str, **changes: Any) -> Any:
    """Start a node in Python that evaluates `expression` and goes on running; give what it found."""
    script = (
        f"import json, os, time; json.dump({expression}, open('part', 'w')); os.rename('part', 'told'); time.sleep(600)"
    )
    await local.engine.ensure(a_node(part=Part.FRONT, program="python", args=("-c", script), **changes))
    place = local.home / "nodes" / "web-1" / "told"

    async def told() -> bool:
        return place.exists()

    await eventually(told)
    return json.loads(place.read_text())


async def test_the_environment_is_clean_and_complete(local: LocalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "secret")
    monkeypatch.setenv("TZ", "UTC")
    given = {"odd.name": "no shell would keep it", "PLAIN": "$x `y` \"'\n"}
    env = {**given, "DIRECTORY": "{home}/d"}
    seen = await told_by_python(local, "dict(os.environ)", env=env, ambient={"PATH": "/opt/bin:/bin"})
    assert {name: seen[name] for name in given} == given
    assert seen["DIRECTORY"] == str(local.home / "nodes" / "web-1" / "d")
    assert (seen["TZ"], seen["PATH"]) == ("UTC", "/opt/bin:/bin")
    assert "LEAKED" not in seen


async def test_nothing_of_the_control_plane_is_inherited_but_the_log(local: LocalWorld) -> None:
    with socket.socket() as ours:
        ours.set_inheritable(True)
        found = "{n: os.readlink(f'/proc/self/fd/{n}') for n in range(20) if os.path.exists(f'/proc/self/fd/{n}')}"
        seen = await told_by_python(local, found)
    log = str(local.home / "nodes" / "web-1" / "out.log")
    part = str(local.home / "nodes" / "web-1" / "part")
    assert {number: target for number, target in seen.items() if target != part} == {
        "0": "/dev/null",
        "1": log,
        "2": log,
    }


async def test_homes_are_private(local: LocalWorld) -> None:
    await local.engine.ensure(a_node(files={"secret.conf": "x"}))
    home = local.home / "nodes" / "web-1"
    assert [oct(path.stat().st_mode & 0o777) for path in (local.home, home)] == ["0o700", "0o700"]
    for name in ("secret.conf", "state.json", "out.log"):
        assert (home / name).stat().st_mode & 0o077 == 0, name


async def test_a_file_name_cannot_lead_out_of_the_home(local: LocalWorld) -> None:
    with pytest.raises(NodeFailed):
        await local.engine.ensure(a_node(files={"../../escaped": "x"}))
    assert not (local.home / "escaped").exists()


async def test_two_environments_side_by_side_do_not_touch_each_other(local: LocalWorld, tmp_path: Path) -> None:
    other = LocalWorld(tmp_path / "other")
    try:
        await local.engine.ensure(a_node())
        await other.engine.ensure(a_node())
        await local.engine.fence("web-1")
        assert (await other.state("web-1")).running
        await local.engine.remove("web-1", keep_data=False)
        assert (await other.state("web-1")).running
    finally:
        await other.close()


async def test_an_end_is_noticed_within_milliseconds(local: LocalWorld) -> None:
    took_ms = []
    for _ in range(10):
        await local.engine.ensure(a_node())
        begun_s = time.monotonic()
        await local.kill("web-1")
        async with asyncio.timeout(60):
            await anext(aiter(local.engine.watch()))
        took_ms.append((time.monotonic() - begun_s) * 1000)
    assert sorted(took_ms)[0] < 500, took_ms  # by no poll: those are a second apart
