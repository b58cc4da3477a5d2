"""Nodes that run from an image of the user's, which no program of Everup's starts; and hosts that leave for ever."""

from collections.abc import Iterator

import pytest

from everup.engines.swarm.services import TICKET, at_rest, name_of
from everup.model.desired import Node, Tcp
from everup.model.errors import NodeFailed, Unavailable
from tests.engines.worlds import MISSING, a_node, eventually
from tests.swarm.host import Host, until
from tests.swarm.image import SYSTEM_PATH
from tests.swarm.releases import release
from tests.swarm.rig import Rig
from tests.swarm.test_engine import home as home  # a fixture
from tests.swarm.test_engine import not_running
from tests.swarm.test_engine import world as world  # a fixture, too
from tests.swarm.world import SwarmWorld

TALKS = "trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.1; done"


def running(world: SwarmWorld, node_id: str = "web-1") -> list[int]:
    """The starts whose containers run, wherever."""
    name = f"{name_of(world.environment, node_id)}."
    return [int(one["Labels"][TICKET]) for host in world.rig.hosts for one in host.containers(name)]


async def lines(world: SwarmWorld, node_id: str = "web-1") -> list[str]:
    return [line async for line in world.engine.logs(node_id, lines=10, follow=False)]


async def test_it_starts_ends_and_is_counted_as_any_node(world: SwarmWorld, image_id: str) -> None:
    node = a_node(image=image_id, script=TALKS)
    await world.engine.ensure(node)
    state = await world.state("web-1")
    assert (state.running, state.digest, state.restarts, state.service) == (True, node.digest, 0, "web")
    await eventually(lambda: says(world, "hello"))
    await world.kill("web-1")
    async for event in world.engine.watch():
        assert (event.node_id, event.dead and event.dead.exit_code) == ("web-1", -9)
        break
    await world.engine.ensure(node)
    state = await world.state("web-1")
    assert (state.running, state.restarts) == (True, 1)
    await world.engine.remove("web-1", keep_data=True)
    assert not (await world.state("web-1")).running
    assert (await lines(world))[-1] == "bye"
    await world.engine.remove("web-1", keep_data=False)
    assert dict(await world.states()) == {}


async def test_what_swarm_starts_by_itself_is_one_of_two_never_both(world: SwarmWorld, image_id: str) -> None:
    node = a_node(image=image_id, script=TALKS)
    await world.engine.ensure(node)
    before = running(world)
    await world.kill("web-1")
    await eventually(lambda: not_running(world, "web-1"))
    name, services = name_of(world.environment, "web-1"), world.fleet.docker.services
    await services.change(name, at_rest)
    until(lambda: not world.rig.hosts[0].docker.get("/tasks", params=of(name)).json(), "Swarm has nothing of it")
    await services.change(name, lambda spec: {**spec, "Mode": {"Replicated": {"Replicas": 1}}})  # as a new leader does
    until(lambda: running(world) == before, "Swarm has started it")
    await world.engine.ensure(node)
    (after,) = running(world)
    assert after > before[0]
    assert (await world.state("web-1")).running


async def test_a_fence_leaves_swarm_nothing_to_start(world: SwarmWorld, image_id: str) -> None:
    node = a_node(image=image_id, script=TALKS)
    await world.engine.ensure(node)
    await world.engine.fence("web-1")
    assert running(world) == []
    service = await world.fleet.docker.services.inspect(name_of(world.environment, "web-1"))
    assert service is not None
    assert service["Spec"]["Mode"]["Replicated"].get("Replicas", 0) == 0
    await world.engine.ensure(node)
    assert len(running(world)) == 1


async def test_a_node_changes_to_an_image_of_the_users_and_back(world: SwarmWorld, image_id: str) -> None:
    for node in (a_node(), a_node(image=image_id), a_node()):
        await world.engine.ensure(node)
        state = await world.state("web-1")
        assert (state.running, state.digest) == (True, node.digest)
        assert len(running(world)) == 1


async def test_a_program_that_the_image_has_not_is_named(world: SwarmWorld, image_id: str) -> None:
    await world.engine.ensure(a_node(image=image_id, program=MISSING))
    await eventually(lambda: fails(world, "exited with code 127", MISSING))
    await world.engine.ensure(a_node(image=image_id))
    assert (await world.state("web-1")).running


async def test_an_image_that_its_host_has_not_is_named_with_the_host(world: SwarmWorld, image_id: str) -> None:
    release(world.rig.hosts[:1], image_id, "shop:here", 9)  # on the manager that is asked, and nowhere else
    there = world.rig.hosts[1]
    with pytest.raises(NodeFailed) as failure:
        await world.engine.ensure(a_node(image="shop:here", ports={"http": Tcp(there.address, 8080)}))
    assert failure.value.code == "engine.no_image"
    assert f"{there.name} does not have the image shop:here" in failure.value.message


@pytest.fixture
def left(rig: Rig) -> Iterator[Host]:
    """A host that may leave the Swarm; it is part of it again afterwards."""
    host, first = rig.hosts[2], rig.hosts[0]
    yield host
    token = docker(first, "swarm", "join-token", "--quiet", "manager").strip()
    places = [f"--{name}={host.address}" for name in ("advertise-addr", "listen-addr", "data-path-addr")]
    docker(host, "swarm", "join", "--token", token, *places, f"{first.address}:2377")
    rig.mend()
    rig.label(host, zone="c")


async def test_nobody_waits_for_a_host_that_was_removed_and_nobody_holds_for_dead_what_it_runs(
    world: SwarmWorld, left: Host
) -> None:
    nodes: list[Node] = [
        a_node("web-1", ports={"http": Tcp(left.address, 8080)}),
        a_node("web-2", ports={"http": Tcp(world.rig.hosts[1].address, 8080)}),
    ]
    for node in nodes:
        await world.engine.ensure(node)
    first = world.rig.hosts[0]
    docker(first, "node", "demote", left.name)
    docker(first, "node", "rm", "--force", left.name)  # although it is up
    await eventually(lambda: gone(world, "web-1"))
    assert left.containers(f"{name_of(world.environment, 'web-1')}.")  # Docker goes on running it there
    assert not (await world.state("web-1")).ended
    with pytest.raises(Unavailable, match="nobody can see whether it has ended"):
        await world.engine.fence("web-1")
    assert (await world.state("web-2")).failure == ""
    with pytest.raises(NodeFailed) as failure:
        await world.engine.ensure(nodes[0])
    assert failure.value.code == "engine.no_host"
    await world.engine.remove("web-1", keep_data=False)
    assert set(await world.states()) == {"web-2"}
    docker(left, "swarm", "leave", "--force")


def docker(host: Host, *words: str) -> str:
    """What the distribution's own docker says on a host."""
    return host.run(["env", f"PATH={SYSTEM_PATH}", "docker", *words]).stdout


def of(service: str) -> dict[str, str]:
    return {"filters": f'{{"service": ["{service}"]}}'}


async def says(world: SwarmWorld, line: str) -> bool:
    return line in await lines(world)


async def fails(world: SwarmWorld, *words: str) -> bool:
    state = await world.state("web-1")
    return not state.running and all(word in state.failure for word in words)


async def gone(world: SwarmWorld, node_id: str) -> bool:
    state = await world.state(node_id)
    return not state.running and "has left the Swarm" in state.failure
