"""What a control plane wanted before it was frozen happens no more, once another one looks after the Swarm."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from everup.engines.swarm.deploy import undeploy
from everup.engines.swarm.newest import DEPOSED
from everup.engines.swarm.services import KEEPING, name_of
from everup.engines.swarm.volume import AGENT_VOLUME, heard
from everup.model.errors import Unavailable
from tests.engines.worlds import a_node, eventually
from tests.everup_cli import Everup
from tests.swarm.host import Host, until
from tests.swarm.rig import Rig
from tests.swarm.world import SwarmWorld, fleet_of, unclaim

SPEC = """\
environment: shop
engine: swarm
services:
  mailer: {kind: worker, run: sleep 3600, scale: 2}
"""
PATIENCE_S = 300.0


@pytest.fixture
def hosts(rig: Rig, image_id: str) -> Iterator[Rig]:
    """The hosts, without the agents of any control plane before and after."""
    with rig.entered():
        yield rig
    unclaim(rig)


@pytest.fixture
async def world(hosts: Rig, image_id: str, tmp_path: Path) -> AsyncIterator[SwarmWorld]:
    world = SwarmWorld("shop", hosts, fleet_of(hosts, image_id, tmp_path / "swarm"), tmp_path / "shop")
    try:
        yield world
    finally:
        await world.close()


async def frozen(world: SwarmWorld, act: str) -> "subprocess.Popen[str]":
    """A process of the control plane that looks after the world, stopped just before it does something."""
    words = [act, str(world.rig.hosts[0].socket), world.fleet.image, str(world.folder), str(world.fleet.keeping.number)]
    command = [sys.executable, "-m", "tests.swarm.frozen", *words]
    process = await asyncio.to_thread(started, world.rig, command)

    async def stopped() -> bool:
        assert process.poll() is None, f"{act}: {process.stdout and process.stdout.read()}"
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    await eventually(stopped)
    return process


def started(rig: Rig, command: list[str]) -> "subprocess.Popen[str]":
    with rig.entered():  # the network is one of the thread
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_acts_that_were_begun_before_another_took_over_are_refused_wherever_they_arrive(
    world: SwarmWorld,
) -> None:
    for node_id in ("web-1", "web-2"):
        await world.engine.ensure(a_node(node_id))
    late = world.fleet.keeping.number
    acts = {name: await frozen(world, name) for name in ("fence", "change", "start")}
    await world.succeeded()
    assert not (await world.state("web-2")).running  # stopped, to be started as something else
    await world.engine.ensure(a_node("web-2"))
    before, services = await world.states(), services_of(world.rig)
    for process in acts.values():
        process.send_signal(signal.SIGCONT)
    said = {name: (await asyncio.to_thread(one.communicate, timeout=PATIENCE_S))[0] for name, one in acts.items()}
    assert said == dict.fromkeys(acts, f"{DEPOSED}\n")

    async def refused() -> bool:  # ordered past the agents, and Swarm has a container for it by then
        tasks = await world.fleet.docker.cluster.tasks({"service": [name_of("shop", "web-3")]})
        return [task["Status"].get("ContainerStatus", {}).get("ExitCode") for task in tasks] == [86]

    await eventually(refused)
    with pytest.raises(Unavailable) as refusal:
        await undeploy(world.fleet.docker, name_of("shop", "web-2"), late)
    assert refusal.value.code == DEPOSED
    after = await world.states()
    assert {node_id: (one.pid, one.restarts) for node_id, one in before.items()} == {
        node_id: (after[node_id].pid, after[node_id].restarts) for node_id in before
    }
    assert not after["web-3"].running
    assert {name: one for name, one in services_of(world.rig).items() if name in services} == services
    for host in world.rig.hosts:
        assert heard(host.volume(AGENT_VOLUME)) == world.fleet.keeping.number


def second_of(first: Everup, environ: dict[str, str]) -> Everup:
    """A control plane's home, copied to another machine; the first must be frozen, for its store is being written."""
    second = Everup(SPEC, environ=environ)
    ignored = shutil.ignore_patterns("*.sock", "*.log", "*.lock")
    shutil.copytree(first.environ["EVERUP_HOME"], second.environ["EVERUP_HOME"], ignore=ignored)
    return second


def services_of(rig: Rig) -> dict[str, dict[str, Any]]:
    """What is wanted of each node's service, by its name."""
    found: list[dict[str, Any]] = rig.leader().docker.get("/services").raise_for_status().json()
    return {one["Spec"]["Name"]: one["Spec"] for one in found if KEEPING in one["Spec"]["Labels"]}


def keepers_of(rig: Rig) -> set[str]:
    """The numbers of the control planes that have changed them last."""
    return {one["Labels"][KEEPING] for one in services_of(rig).values()}


def kill(rig: Rig, host_name: str, name: str) -> None:
    """End a node behind everybody's back."""
    host: Host = next(host for host in rig.hosts if host.name == host_name)
    host.kill_container(host.containers(f"{name}.")[0]["Id"])


def test_of_two_control_planes_of_one_home_the_later_one_decides(hosts: Rig, image_id: str) -> None:
    environ = {"DOCKER_HOST": f"unix://{hosts.hosts[0].socket}", "EVERUP_IMAGE": image_id}
    with Everup(SPEC, environ=environ) as first:
        first("up", timeout_s=PATIENCE_S)
        pid = first.control_plane()
        os.kill(pid, signal.SIGSTOP)
        try:
            kill(hosts, first_host(first, hosts), "shop_mailer-1")  # the first would restart it
            with second_of(first, environ) as second:
                second("up", timeout_s=PATIENCE_S)
                second("scale", "mailer", "1", timeout_s=PATIENCE_S)  # the first would start the other one again
                second.wait_healthy(PATIENCE_S)
                until(lambda: len(keepers_of(hosts)) == 1, "the second one has put the other one to rest", PATIENCE_S)
                before, nodes = services_of(hosts), second.nodes("mailer")
                assert nodes["mailer-1"]["restarts"] == 1
                os.kill(pid, signal.SIGCONT)
                until(lambda: DEPOSED in first.log(), "the first one says that it has been replaced", PATIENCE_S)
                word = "another control plane looks after this Swarm"
                until(lambda: word in explained(first), "the first one says so to its clients", PATIENCE_S)
                assert services_of(hosts) == before
                kill(hosts, nodes["mailer-1"]["host"], "shop_mailer-1")
                until(lambda: restarted(second, 2), "the second one restarts what has ended", PATIENCE_S)
                assert second.nodes("mailer").keys() == {"mailer-1"}
                assert len(keepers_of(hosts)) == 1
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def first_host(everup: Everup, rig: Rig) -> str:
    """The host on which mailer-1 runs, while nobody answers who could say it."""
    return next(host.name for host in rig.hosts if host.containers("shop_mailer-1."))


def explained(everup: Everup) -> str:
    """Why nothing happens, in the words of its control plane."""
    return everup("explain", "mailer", codes=(0, 3)).stdout


def restarted(everup: Everup, count: int) -> bool:
    node = everup.nodes("mailer").get("mailer-1", {})
    return bool(node.get("health") == "ready" and node["restarts"] == count)
