"""What `model.contracts.Engine` promises, held against every engine."""

import asyncio
from typing import Any

import pytest

from everup.model.contracts import Fault
from everup.model.errors import EngineError, NodeFailed
from everup.model.observed import Confirmed, NodeEvent
from tests.engines.worlds import MISSING, SPEAKER, World, a_node, eventually

WITH_DATA = ": > dump.rdb; exec sleep 600"


async def next_event(world: World) -> NodeEvent:
    async with asyncio.timeout(60):
        async for event in world.engine.watch():
            return event
    raise AssertionError("the watch ended")


async def test_an_engine_without_nodes_observes_nothing(world: World) -> None:
    assert dict(await world.states()) == {}


async def test_a_started_node_runs_as_what_it_was_declared(world: World) -> None:
    node = a_node(files={"app.conf": "a"})
    await world.engine.ensure(node)
    state = await world.state("web-1")
    assert state.running
    assert state.pid
    assert state.since_utc
    assert (state.service, state.digest, state.files_digest) == ("web", node.digest, node.files_digest)
    assert (state.restarts, state.retry_at_s, state.failure, state.dead) == (0, 0.0, "", None)


async def test_ensuring_twice_changes_nothing(world: World) -> None:
    await world.engine.ensure(a_node())
    before = await world.state("web-1")
    await world.engine.ensure(a_node())
    assert await world.state("web-1") == before


async def test_ensuring_at_the_same_time_starts_one_process(world: World) -> None:
    await asyncio.gather(*(world.engine.ensure(a_node()) for _ in range(5)))
    assert (await world.state("web-1")).restarts == 0


async def test_extra_arguments_restart_nothing(world: World) -> None:
    await world.engine.ensure(a_node())
    before = await world.state("web-1")
    await world.engine.ensure(a_node(), ("--replicaof", "127.0.0.1", "6379"))
    assert (await world.state("web-1")).pid == before.pid


async def test_a_changed_node_is_restarted(world: World) -> None:
    await world.engine.ensure(a_node())
    before = await world.state("web-1")
    changed = a_node(env={"LOG_LEVEL": "debug"})
    await world.engine.ensure(changed)
    after = await world.state("web-1")
    assert after.running
    assert after.pid != before.pid
    assert (after.digest, after.restarts) == (changed.digest, 1)


async def test_changed_files_restart_a_node_and_are_rewritten(world: World) -> None:
    await world.engine.ensure(a_node(files={"conf.d/app.conf": "a"}))
    before = await world.state("web-1")
    await world.engine.ensure(a_node(files={"conf.d/app.conf": "b"}))
    assert (await world.state("web-1")).pid != before.pid
    assert world.read("web-1", "conf.d/app.conf") == "b"


async def test_a_node_that_can_reload_keeps_its_process_when_files_change(world: World) -> None:
    ready: dict[str, Any] = {
        "script": "trap : HUP; : > dump.rdb; while :; do sleep 0.01; done",
        "keeps": ("dump.rdb",),
        "reload_signal": "SIGHUP",
    }
    await world.engine.ensure(a_node(files={"app.conf": "a"}, **ready))
    await eventually(lambda: has_data(world))
    before = await world.state("web-1")
    changed = a_node(files={"app.conf": "b"}, **ready)
    await world.engine.ensure(changed)
    after = await world.state("web-1")
    assert (after.running, after.pid, after.restarts) == (True, before.pid, 0)
    assert after.files_digest == changed.files_digest != before.files_digest
    assert world.read("web-1", "app.conf") == "b"


async def test_files_are_rewritten_at_every_start_and_seeds_never(world: World) -> None:
    node = a_node(files={"ours.conf": "declared"}, seeds={"theirs.conf": "declared"})
    await world.engine.ensure(node)
    world.write("web-1", "ours.conf", "changed by the program")
    world.write("web-1", "theirs.conf", "changed by the program")
    await world.engine.remove("web-1", keep_data=True)
    await world.engine.ensure(node)
    assert world.read("web-1", "ours.conf") == "declared"
    assert world.read("web-1", "theirs.conf") == "changed by the program"


async def test_removing_stops_a_node_and_keeps_its_data(world: World) -> None:
    node = a_node(script=WITH_DATA, keeps=("dump.rdb",))
    await world.engine.ensure(node)
    await eventually(lambda: has_data(world))
    await world.engine.remove("web-1", keep_data=True)
    state = await world.state("web-1")
    assert not state.running
    assert state.pid is None
    assert state.has_data
    assert isinstance(state.dead, Confirmed)
    assert (state.retry_at_s, state.failure) == (0.0, "")


async def test_removing_with_its_data_leaves_nothing(world: World) -> None:
    await world.engine.ensure(a_node())
    await world.engine.remove("web-1", keep_data=False)
    assert dict(await world.states()) == {}
    await world.engine.ensure(a_node())
    assert (await world.state("web-1")).restarts == 0


async def test_removing_twice_or_what_never_was_is_no_error(world: World) -> None:
    await world.engine.ensure(a_node())
    for _ in range(2):
        await world.engine.remove("web-1", keep_data=True)
    for _ in range(2):
        await world.engine.remove("web-1", keep_data=False)
    await world.engine.remove("web-7", keep_data=False)
    assert dict(await world.states()) == {}


async def test_a_node_that_ends_by_itself_is_told_of(world: World) -> None:
    await world.engine.ensure(a_node())
    await world.kill("web-1")
    event = await next_event(world)
    assert (event.node_id, event.kind) == ("web-1", "exited")
    assert event.dead is not None
    assert event.dead.exit_code == -9
    state = await world.state("web-1")
    assert (state.running, state.dead) == (False, event.dead)


async def test_ends_are_not_lost_while_nobody_watches(world: World) -> None:
    for number in range(3):
        await world.engine.ensure(a_node(f"web-{number}"))
        await world.kill(f"web-{number}")

    async def all_ended() -> bool:
        return not any(state.running for state in (await world.states()).values())

    await eventually(all_ended)
    seen = [(await next_event(world)).node_id for _ in range(3)]
    assert sorted(seen) == ["web-0", "web-1", "web-2"]


async def test_ends_on_request_are_not_told_of(world: World) -> None:
    await world.engine.ensure(a_node())
    await world.engine.ensure(a_node(env={"A": "b"}))
    await world.engine.fence("web-1")
    await world.engine.ensure(a_node())
    await world.engine.remove("web-1", keep_data=True)
    await world.engine.ensure(a_node("web-2"))
    await world.kill("web-2")
    assert (await next_event(world)).node_id == "web-2"


async def test_fencing_confirms_that_nothing_runs(world: World) -> None:
    await world.engine.ensure(a_node())
    dead = await world.engine.fence("web-1")
    assert dead.node_id == "web-1"
    state = await world.state("web-1")
    assert (state.running, state.dead) == (False, dead)


async def test_fencing_what_does_not_run_confirms_too(world: World) -> None:
    assert (await world.engine.fence("web-7")).node_id == "web-7"
    await world.engine.ensure(a_node())
    first = await world.engine.fence("web-1")
    assert await world.engine.fence("web-1") == first


async def test_a_hung_node_runs_until_it_is_fenced(world: World) -> None:
    await world.engine.ensure(a_node())
    await world.engine.inject("web-1", Fault.HANG, for_s=0)
    assert (await world.state("web-1")).running
    await world.engine.fence("web-1")
    assert not (await world.state("web-1")).running


async def test_a_crash_is_told_of_and_the_node_may_start_at_once(world: World) -> None:
    await world.engine.ensure(a_node())
    await world.engine.inject("web-1", Fault.CRASH, for_s=0)
    assert (await next_event(world)).node_id == "web-1"
    assert (await world.state("web-1")).retry_at_s == 0.0
    await world.engine.ensure(a_node())
    assert (await world.state("web-1")).running


async def test_a_lost_node_cannot_be_started(world: World) -> None:
    await world.engine.ensure(a_node())
    await world.engine.inject("web-1", Fault.NODE_LOSS, for_s=60)
    dead = (await next_event(world)).dead
    assert dead is not None
    assert (await world.state("web-1")).retry_at_s == pytest.approx(dead.at_s + 60, abs=2)
    with pytest.raises(NodeFailed) as failure:
        await world.engine.ensure(a_node())
    assert failure.value.code == "engine.node_lost"


async def test_faults_need_a_running_node(world: World) -> None:
    await world.engine.ensure(a_node())
    await world.engine.remove("web-1", keep_data=True)
    with pytest.raises(EngineError) as failure:
        await world.engine.inject("web-1", Fault.CRASH, for_s=0)
    assert failure.value.code == "engine.not_running"


async def test_a_generation_is_kept_with_the_data_it_marks(world: World) -> None:
    node = a_node(script=WITH_DATA, keeps=("dump.rdb",))
    await world.engine.ensure(node)
    await eventually(lambda: has_data(world))
    assert (await world.state("web-1")).generation is None
    await world.engine.mark("web-1", 3)
    await world.engine.mark("web-1", 4)
    assert (await world.state("web-1")).generation == 4
    await world.engine.remove("web-1", keep_data=True)
    assert (await world.state("web-1")).generation == 4
    world.forget("web-1")
    state = await world.state("web-1")
    assert (state.has_data, state.generation) == (False, None)


async def test_what_has_no_home_cannot_be_marked(world: World) -> None:
    with pytest.raises(EngineError):
        await world.engine.mark("web-7", 1)


async def test_a_missing_program_is_named(world: World) -> None:
    with pytest.raises(NodeFailed) as failure:
        await world.engine.ensure(a_node(program=MISSING))
    assert MISSING in failure.value.message
    assert failure.value.code == "engine.program_missing"


async def test_the_newest_lines_come_oldest_first(world: World) -> None:
    await world.engine.ensure(a_node(script=SPEAKER))
    world.say("web-1", "one\ntwo\nthree")

    async def said() -> bool:
        return len([line async for line in world.engine.logs("web-1", lines=9, follow=False)]) == 3

    await eventually(said)
    assert [line async for line in world.engine.logs("web-1", lines=2, follow=False)] == ["two", "three"]
    assert [line async for line in world.engine.logs("web-1", lines=0, follow=False)] == []


async def test_following_goes_on_with_what_comes(world: World) -> None:
    await world.engine.ensure(a_node(script=SPEAKER))
    world.say("web-1", "before")

    async def said() -> bool:
        return [line async for line in world.engine.logs("web-1", lines=1, follow=False)] == ["before"]

    await eventually(said)
    heard: list[str] = []
    async with asyncio.timeout(60):
        async for line in world.engine.logs("web-1", lines=1, follow=True):
            heard.append(line)
            if len(heard) == 2:
                break
            world.say("web-1", "after")
    assert heard == ["before", "after"]


async def test_there_are_no_logs_of_what_is_not_there(world: World) -> None:
    with pytest.raises(EngineError):
        [line async for line in world.engine.logs("web-7", lines=1, follow=False)]


async def has_data(world: World) -> bool:
    return (await world.state("web-1")).has_data
