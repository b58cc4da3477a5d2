"""The Swarm engine keeps the contract of all engines, and some promises of its own."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from everup.engines.swarm.engine import SwarmEngine
from everup.engines.swarm.newest import DEPOSED
from everup.engines.swarm.services import at_rest, filters, name_of
from everup.model.desired import Node, Socket, Tcp
from everup.model.errors import NodeFailed, Unavailable
from everup.model.observed import EVERYWHERE
from everup.model.resources import MEBIBYTE, Resources
from tests.engines.test_contract import *  # noqa: F403  (the whole suite, over the world below)
from tests.engines.worlds import a_node, eventually
from tests.swarm.host import Host
from tests.swarm.rig import Rig
from tests.swarm.world import SwarmWorld, fleet_of, no_secrets

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one control plane; the agents know it by the pair in there, and would know no other of the same Swarm."""
    return tmp_path_factory.mktemp("control-plane")


@pytest.fixture
async def world(rig: Rig, image_id: str, home: Path) -> AsyncIterator[SwarmWorld]:
    """An environment of its own for each test; whatever runs is gone afterwards."""
    with rig.entered():
        environment = f"shop{next(_NUMBERS)}"
        world = SwarmWorld(environment, rig, fleet_of(rig, image_id, home / "swarm"), home / environment)
        try:
            yield world
        finally:
            await world.close()


def an_endpoint(script: str = "exec sleep 600", **changes: Any) -> Node:
    """A node that is everywhere."""
    return a_node("web-endpoint", script, ports={"http": Tcp("127.99.1.2", 8080)}, **changes)


def copies(world: SwarmWorld, node_id: str) -> list[str]:
    """The hosts on which a container of the node runs."""
    name = f"{name_of(world.environment, node_id)}."
    return [host.name for host in world.rig.hosts for _ in host.containers(name)]


async def test_a_node_runs_on_the_host_whose_address_it_has(world: SwarmWorld) -> None:
    for host in world.rig.hosts:
        node_id = f"web-{host.number}"
        await world.engine.ensure(a_node(node_id, ports={"http": Tcp(host.address, 8080)}))
        assert (await world.state(node_id)).host == host.name
        assert copies(world, node_id) == [host.name]


async def test_nodes_without_an_address_are_spread(world: SwarmWorld) -> None:
    for number in (1, 2, 3):
        await world.engine.ensure(a_node(f"mailer-{number}"))
    assert {state.host for state in (await world.states()).values()} == {"node1", "node2", "node3"}


async def test_an_address_that_somebody_else_uses_is_named(world: SwarmWorld) -> None:
    host = world.rig.hosts[1]
    with pytest.raises(NodeFailed) as failure:  # the port of the Swarm's managers
        await world.engine.ensure(a_node(ports={"http": Tcp(host.address, 2377)}))
    assert failure.value.code == "engine.address_in_use"
    assert f"{host.address}:2377" in failure.value.message


async def test_a_node_is_killed_at_its_limit_of_memory_and_that_is_told(world: SwarmWorld) -> None:
    hungry = "import os, time\nwhile not os.path.exists('eat'): time.sleep(0.05)\nfood = bytearray(1 << 30)"
    node = a_node(program="python3", args=("-uc", hungry), resources=Resources(64 * MEBIBYTE, 0.5))
    await world.engine.ensure(node)
    assert limits(world, "web-1") == (64 * MEBIBYTE, 500_000_000)
    world.write("web-1", "eat", "")
    async for event in world.engine.watch():
        assert event.dead is not None
        assert (event.dead.exit_code, event.dead.killed_at_bytes) == (-9, 64 * MEBIBYTE)
        break
    assert "was killed for memory: it was at its limit of 64 MiB after" in (await world.state("web-1")).failure
    await world.engine.ensure(a_node())
    assert (await world.state("web-1")).running
    assert limits(world, "web-1") == (0, 0)


async def test_more_processors_than_its_host_has_are_refused_and_what_runs_goes_on(world: SwarmWorld) -> None:
    node = a_node()
    await world.engine.ensure(node)
    for greedy in (a_node(resources=Resources(cpus=1000.0)), a_node("web-2", resources=Resources(cpus=1000.0))):
        with pytest.raises(NodeFailed) as failure:
            await world.engine.ensure(greedy)
        assert failure.value.code == "engine.too_many_cpus"
        assert "may use 1000 processors, and its host node" in failure.value.message
    state = await world.state("web-1")
    assert (state.running, state.digest) == (True, node.digest)


def limits(world: SwarmWorld, node_id: str) -> tuple[int, int]:
    """How much memory (bytes) and how many processors (billionths) the kernel lets a running node have; 0: all."""
    host = world.host_of(node_id)
    (container,) = host.containers(f"{name_of(world.environment, node_id)}.")
    config = host.docker.get(f"/containers/{container['Id']}/json").json()["HostConfig"]
    return config["Memory"], config["NanoCpus"]


async def test_swarm_alone_starts_nothing_again(world: SwarmWorld) -> None:
    await world.engine.ensure(a_node())
    await world.kill("web-1")
    await eventually(lambda: not_running(world, "web-1"))
    services = world.fleet.docker.services
    name = name_of(world.environment, "web-1")

    async def emptied() -> bool:
        return not await world.fleet.docker.cluster.tasks({"service": [name]})

    await services.change(name, at_rest)
    await eventually(emptied)
    await services.change(name, lambda spec: {**spec, "Mode": {"Replicated": {"Replicas": 1}}})  # as a new leader does

    async def refused() -> bool:
        tasks = await world.fleet.docker.cluster.tasks({"service": [name]})
        return any(task["Status"].get("ContainerStatus", {}).get("ExitCode") == 86 for task in tasks)

    await eventually(refused)
    state = await world.state("web-1")
    assert (state.running, state.restarts) == (False, 0)
    await world.engine.ensure(a_node())
    assert (await world.state("web-1")).restarts == 1


async def test_another_control_plane_of_the_same_home_adopts_what_runs(world: SwarmWorld) -> None:
    node = a_node(keeps=("dump.rdb",), script="touch dump.rdb; exec sleep 600")
    await world.engine.ensure(node)
    before = await world.state("web-1")
    former = await world.succeeded()
    engine = world.engine
    assert await world.state("web-1") == before
    await engine.ensure(node)
    assert await world.state("web-1") == before
    await world.kill("web-1")
    async for event in engine.watch():
        assert (event.node_id, event.dead and event.dead.exit_code) == ("web-1", -9)
        break
    await engine.ensure(node)
    assert (await world.state("web-1")).restarts == 1
    for act in (partial(former.ensure, node), partial(former.fence, "web-1"), former.observe, former.confirm):
        await eventually(partial(is_deposed, act))
    assert (await world.state("web-1")).restarts == 1


async def is_deposed(act: Callable[[], Awaitable[object]]) -> bool:
    """It is refused, and for that; before a host that is busy has told, nothing is known of it."""
    with pytest.raises(Unavailable) as refusal:
        await act()
    return refusal.value.code == DEPOSED


async def test_a_control_plane_of_another_home_is_refused(world: SwarmWorld, tmp_path: Path) -> None:
    await world.states()
    async with another(world, tmp_path) as engine:
        with pytest.raises(Unavailable) as refusal:
            await engine.observe()
    assert refusal.value.code == "engine.other_keeper"


async def test_another_swarm_is_refused(world: SwarmWorld, home: Path) -> None:
    note = home / world.environment / "cluster"
    await world.states()
    known = note.read_text()
    note.write_text("somebodyelses\n")
    async with another(world, home) as engine:
        with pytest.raises(Unavailable) as refusal:
            await engine.observe()
    assert refusal.value.code == "engine.other_cluster"
    note.write_text(known)
    await world.succeeded()


async def test_orders_of_former_starts_are_deleted(world: SwarmWorld) -> None:
    for word in ("a", "b", "c"):
        await world.engine.ensure(a_node(env={"WORD": word}))

    async def one_is_left() -> bool:
        return len(await world.fleet.docker.secrets.list(filters(world.environment))) == 1

    await eventually(one_is_left)


async def test_what_is_everywhere_has_a_copy_on_every_host(world: SwarmWorld) -> None:
    node = an_endpoint()
    await world.engine.ensure(node)
    assert copies(world, "web-endpoint") == ["node1", "node2", "node3"]
    state = await world.state("web-endpoint")
    assert (state.running, state.host, state.digest) == (True, EVERYWHERE, node.digest)
    killed = world.rig.hosts[1].containers(f"{name_of(world.environment, 'web-endpoint')}.")[0]["Id"]
    world.rig.hosts[1].kill_container(killed)
    assert (await world.state("web-endpoint")).running

    async def three_again() -> bool:
        now = world.rig.hosts[1].containers(f"{name_of(world.environment, 'web-endpoint')}.")
        return len(now) == 1 and now[0]["Id"] != killed

    await eventually(three_again)
    changed = an_endpoint(env={"LOG_LEVEL": "debug"})
    await world.engine.ensure(changed)
    assert (await world.state("web-endpoint")).digest == changed.digest
    await world.engine.fence("web-endpoint")
    assert not (await world.state("web-endpoint")).running
    await world.engine.ensure(changed)
    assert len(copies(world, "web-endpoint")) == 3
    await world.engine.remove("web-endpoint", keep_data=False)
    assert dict(await world.states()) == {}


LISTENER = (
    "import pathlib, signal, socket; signal.signal(signal.SIGHUP, lambda *_: None); "
    "pathlib.Path('c.sock').unlink(missing_ok=True); "
    "s = socket.socket(socket.AF_UNIX); s.bind('c.sock'); s.listen()\n"
    "while True:\n"
    " c, _ = s.accept(); c.sendall(open('app.conf', 'rb').read() + c.recv(99)); c.close()"
)


async def test_all_copies_get_new_files_and_answer_commands(world: SwarmWorld) -> None:
    def node(text: str) -> Node:
        words: dict[str, Any] = {"program": "python", "args": ("-c", LISTENER), "reload_signal": "SIGHUP"}
        return an_endpoint(files={"app.conf": text}, **words)

    async def answers(expected: tuple[str, ...]) -> bool:
        try:
            return await world.engine.console(Socket("web-endpoint", "c.sock"), ("one", "two")) == expected
        except ConnectionError:
            return False

    await world.engine.ensure(node("a "))
    await world.states()
    await eventually(lambda: answers(("a one\n", "a two\n") * 3))
    before = copies(world, "web-endpoint")
    await world.engine.ensure(node("b "))
    assert copies(world, "web-endpoint") == before
    assert (await world.state("web-endpoint")).files_digest == node("b ").files_digest
    await eventually(lambda: answers(("b one\n", "b two\n") * 3))
    name = f"{name_of(world.environment, 'web-endpoint')}."
    await one_hangs(world, "web-endpoint", world.rig.hosts[1])
    await eventually(lambda: silent(world, Socket("web-endpoint", "c.sock")))
    others = [
        world.rig.hosts[index].containers(name_of(world.environment, "web-endpoint"))[0]["Id"] for index in (0, 2)
    ]
    await world.engine.fence("web-endpoint")
    await eventually(lambda: all_answer(world, Socket("web-endpoint", "c.sock"), 3))
    assert [world.rig.hosts[index].containers(name)[0]["Id"] for index in (0, 2)] == others


async def test_a_fence_ends_a_start_that_is_under_way(world: SwarmWorld) -> None:
    starting = asyncio.create_task(world.engine.ensure(a_node()))
    await asyncio.sleep(0.2)  # Swarm has been told of it, and has not started it yet
    await world.engine.fence("web-1")
    await asyncio.gather(starting, return_exceptions=True)
    await world.engine.fence("web-1")
    assert not (await world.state("web-1")).running
    assert copies(world, "web-1") == []


async def test_a_silent_host_is_no_dead_host(world: SwarmWorld) -> None:
    lost = world.rig.hosts[2]
    node = a_node(ports={"http": Tcp(lost.address, 8080)})
    await world.engine.ensure(node)
    await world.engine.ensure(a_node("web-2", ports={"http": Tcp(world.rig.hosts[1].address, 8080)}))
    before = await world.state("web-1")
    lost.cut()
    await eventually(lambda: says(world, "web-1", "node3 does not answer"))
    state = await world.state("web-1")
    assert (state.running, state.pid, state.dead) == (True, before.pid, None)
    with pytest.raises(Unavailable):
        await world.engine.fence("web-1")
    with pytest.raises(Unavailable):
        await world.engine.ensure(a_node(ports={"http": Tcp(lost.address, 8080)}, env={"A": "b"}))
    assert (await world.state("web-2")).failure == ""
    lost.heal()
    await eventually(lambda: says(world, "web-1", ""))
    after = await world.state("web-1")
    assert (after.running or after.dead) is not None


async def one_hangs(world: SwarmWorld, node_id: str, host: Host) -> None:
    """Freeze one copy of a node."""
    container = host.containers(f"{name_of(world.environment, node_id)}.")[0]["Id"]
    host.docker.post(f"/containers/{container}/pause").raise_for_status()


async def silent(world: SwarmWorld, to: Socket) -> bool:
    """A copy does not answer although its agent does."""
    try:
        await world.engine.console(to, ("one",))
    except ConnectionError as error:
        return "c.sock" in str(error)
    return False


async def all_answer(world: SwarmWorld, to: Socket, copies: int) -> bool:
    await world.states()
    try:
        return len(await world.engine.console(to, ("one",))) == copies
    except ConnectionError:
        return False


async def not_running(world: SwarmWorld, node_id: str) -> bool:
    return not (await world.state(node_id)).running


async def says(world: SwarmWorld, node_id: str, what: str) -> bool:
    failure = (await world.state(node_id)).failure
    return what in failure if what else not failure


@asynccontextmanager
async def another(world: SwarmWorld, home: Path) -> AsyncIterator[SwarmEngine]:
    """A second control plane, with its home in `home`, for the same environment."""
    fleet = fleet_of(world.rig, world.fleet.image, home / "swarm")
    engine = SwarmEngine(world.environment, fleet, home / world.environment, no_secrets)
    try:
        yield engine
    finally:
        await engine.close()
        await fleet.close()
