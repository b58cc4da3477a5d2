"""What an agent says while Docker, the agent itself or the host is killed: never that something is dead that lives."""

import asyncio
import random
import time

import pytest

from everup.engines.swarm.hosts import ANSWER_S
from everup.engines.swarm.keeping import Keeping
from everup.model.errors import EngineError, Unavailable
from tests.swarm.bench import Bench, program, until
from tests.swarm.host import Host, within


def kill(host: Host, *records: str) -> None:
    """Kill processes of a host by the files that hold their numbers there."""
    for record in records:
        pid = host.run(["cat", record]).stdout.strip()
        within(host.pid, ["pid", "mount"], ["kill", "-KILL", pid])


async def fenced(bench: Bench, node_id: str, ticket: int) -> float:
    """Fence a node, as often as it takes; when that was confirmed, seconds since 1970."""

    async def confirmed() -> float:
        await bench.agent.fence(bench.environment, node_id, ticket)
        return time.time()

    return await until(confirmed, f"{node_id} is fenced")


async def test_an_agent_killed_while_it_fences_has_confirmed_nothing(bench):
    for ticket in (5, 6, 7):
        await bench.start(program("db-1", "stay()"), ticket)
        fencing = asyncio.create_task(bench.agent.fence(bench.environment, "db-1", ticket))
        await asyncio.sleep(random.uniform(0, 0.06))  # anywhere in a fence
        bench.kill_agent()
        answered = (await asyncio.wait([fencing]))[0].pop().exception() is None
        at_s = time.time()
        await bench.open()
        if not answered:
            at_s = await fenced(bench, "db-1", ticket)
        await asyncio.sleep(0.3)  # long enough for a beat of what should have ended
        assert max(bench.beats("db-1", ticket)) <= at_s
        assert not (await bench.sight("db-1")).running


async def test_a_docker_killed_while_a_node_is_fenced_has_confirmed_nothing(bench):
    await bench.start(program("db-1", "stay()"), 5)
    await bench.beating("db-1", 5)
    fencing = asyncio.create_task(bench.agent.fence(bench.environment, "db-1", 5))
    await asyncio.sleep(random.uniform(0, 0.05))  # anywhere in a fence
    kill(bench.host, "/run/docker.pid")
    answered = (await asyncio.wait([fencing]))[0].pop().exception() is None
    at_s = time.time() if answered else await fenced(bench, "db-1", 5)
    await asyncio.sleep(0.5)  # long enough for a beat of what should have ended
    assert max(bench.beats("db-1", 5)) <= at_s


async def test_a_process_that_docker_has_lost_track_of_is_not_dead(bench):
    sight = await bench.start(program("db-1", "stay()"), 5)
    await bench.beating("db-1", 5)
    kill(bench.host, "/run/docker.pid", "/run/docker/containerd/containerd.pid")
    bench.host.run(["rm", "-rf", "/run/docker/containerd/daemon", "/run/docker/runtime-runc"])
    with pytest.raises(Unavailable):
        await bench.agent.nodes(bench.environment)
    await until(bench.answers, "Docker is back")
    listed = await bench.docker.containers.list({"label": ["everup.node=db-1"]})
    assert [one["State"] for one in listed] == ["exited"]  # so Docker says
    assert (await bench.sight("db-1")).running
    with pytest.raises(EngineError, match="lives on") as caught:
        await bench.agent.fence(bench.environment, "db-1", 5)
    pid = caught.value.hint.rpartition("kill -9 ")[2].split()[0].rstrip(".")
    await bench.beating("db-1", 5)
    within(bench.host.pid, ["pid", "mount"], ["kill", "-KILL", pid])
    at_s = await fenced(bench, "db-1", 5)
    await asyncio.sleep(0.3)  # long enough for a beat of what should have ended
    assert sight and max(bench.beats("db-1", 5)) <= at_s


async def test_after_a_power_cut_nothing_runs_and_everything_is_known(bench):
    await bench.start(program("db-1", "stay()"), 5)
    await bench.beating("db-1", 5)
    await bench.agent.mark(bench.environment, "db-1", 4)
    await asyncio.to_thread(bench.host.kill)
    bench.kill_agent()
    beats = len(bench.beats("db-1", 5))
    await asyncio.to_thread(bench.host.start)
    await bench.open()
    sight = await bench.sight("db-1")
    assert (sight.running, sight.has_data, sight.generation, sight.ticket) == (False, True, 4, 5)
    sight = await bench.start(program("db-1", "stay()"), 6)
    assert sight and sight.running and sight.restarts == 1
    assert len(bench.beats("db-1", 5)) == beats


async def test_a_silent_host_is_noticed_at_once_and_nothing_is_said_of_its_nodes(bench):
    await bench.start(program("db-1", "stay()"), 5)
    agent = bench.heard_as(Keeping(lambda error: None), answer_s=ANSWER_S)
    await until(lambda: agent.nodes(bench.environment), "it is seen")
    bench.host.cut()
    try:
        since_s = time.monotonic()
        with pytest.raises(Unavailable, match="taken to run on"):
            await agent.nodes(bench.environment)
        assert time.monotonic() - since_s < 10  # 1 s, where the machine is not busy
        with pytest.raises(Unavailable):
            await agent.mark(bench.environment, "db-1", 3)
    finally:
        bench.host.heal()
    await until(lambda: agent.nodes(bench.environment), "it is seen again")
    await agent.close()
    await bench.beating("db-1", 5)
