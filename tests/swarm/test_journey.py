"""One spec file, `engine:` aside, on one machine and on three hosts: the same journey on both."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from everup.model.observed import EVERYWHERE
from tests.everup_cli import Everup
from tests.http_load import HttpLoad
from tests.repeated import Repeated
from tests.swarm.rig import Rig, missing
from tests.writers import CLIENTS, Writer
from tests.writers import missing as missing_client

SPEC = """\
environment: shop
engine: {engine}
services:
  redis01: {{kind: redis, ha: true}}
  web:
    kind: app
    run: python -m http.server $PORT --bind $HOST
    health: /
    scale: 3
    limit: 4
    needs: [redis01]
"""

Json = dict[str, Any]


@dataclass
class Ground:
    """Where the environment runs: its command, and how a node of it is killed behind everybody's back."""

    everup: Everup
    kill: Callable[[Json], None]
    rig: Rig | None = None


@pytest.fixture(scope="module", params=["local", pytest.param("swarm", marks=pytest.mark.swarm)])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """The environment, up; with Swarm the command runs on the third host."""
    with ExitStack() as stack:
        if request.param == "local":
            everup = stack.enter_context(Everup(SPEC.format(engine="local")))
            ground = Ground(everup, everup.kill)
        else:
            ground = on_hosts(request, stack)
        ground.everup("up", timeout_s=300)
        yield ground


def on_hosts(request: pytest.FixtureRequest, stack: ExitStack) -> Ground:
    if lack := missing():
        pytest.skip(lack)
    rig: Rig = request.getfixturevalue("rig")
    here, image_id = rig.hosts[2], request.getfixturevalue("image_id")
    environ = {"DOCKER_HOST": f"unix://{here.socket}", "EVERUP_IMAGE": image_id}
    stack.enter_context(here.entered())
    everup = stack.enter_context(Everup(SPEC.format(engine="swarm"), environ=environ))

    def kill(node: Json) -> None:
        host = next(one for one in rig.hosts if one.name == node["host"])
        (container,) = host.containers(f"shop_{node['id']}")
        host.kill_container(container["Id"])

    return Ground(everup, kill, rig)


def test_a_second_up_changes_nothing(ground: Ground):
    assert ground.everup.json("plan")["changes"] == []
    before = pids(ground.everup)
    ground.everup("up")
    assert pids(ground.everup) == before


def test_members_of_a_group_are_on_hosts_of_their_own(ground: Ground):
    nodes = ground.everup.nodes("redis01")
    for name in ("redis01-{}", "redis01-sentinel-{}"):
        hosts = {nodes[name.format(number)]["host"] for number in (1, 2, 3)}
        assert len(hosts) == (3 if ground.rig else 1)


@pytest.mark.parametrize("name", ["redis-py", "ioredis"])
def test_a_client_example_goes_on_writing_after_the_primary_is_killed(ground: Ground, name: str, tmp_path: Path):
    if lack := missing_client(CLIENTS[name]):
        pytest.skip(f"{name}: {lack}")
    everup = ground.everup
    everup.wait_healthy()
    with Writer.of(CLIENTS[name], everup.variables("redis01"), tmp_path) as writer:
        writer.wait_for_acks(50)
        before, killed_s = everup.primary("redis01"), time.monotonic()
        ground.kill(before)
        writer.wait_for_acks(50, after_s=killed_s + 0.5, timeout_s=120)
        everup.wait_healthy()
    assert everup.primary("redis01")["id"] != before["id"]


def test_the_endpoint_follows_the_primary(ground: Ground, record_property: Callable[[str, object], None]):
    everup = ground.everup
    everup.wait_healthy()
    plain = Redis.from_url(everup.variables("redis01")["REDIS_URL"], socket_timeout=2)
    with Repeated(lambda n: plain.set(f"n{n}", n)) as client:
        client.wait(50)
        before, killed_s = everup.primary("redis01"), time.monotonic()
        ground.kill(before)
        client.wait(50, after_s=killed_s + 0.5)
    record_property("no_write_s", client.gap_s(killed_s))
    everup.wait_healthy()
    assert everup.primary("redis01")["id"] != before["id"]


def test_a_killed_instance_of_an_app_costs_no_request(ground: Ground):
    everup = ground.everup
    everup.wait_healthy()
    with HttpLoad(everup.variables("web")["WEB_URL"]) as load:
        while len(load.requests()) < 50:
            time.sleep(0.02)
        ground.kill(everup.nodes("web")["web-2"])
        count = len(load.requests())
        while len(load.requests()) < count + 200:
            time.sleep(0.02)
        everup.wait_healthy()
    assert [one.error for one in load.requests() if one.error] == []


def test_an_app_is_scaled_within_its_limit(ground: Ground):
    everup = ground.everup
    everup("scale", "web", "4")
    everup.wait_healthy()
    assert len([one for one in everup.nodes("web").values() if one["health"] == "ready"]) == 5
    everup("scale", "web", "5", codes=(1,))
    everup("scale", "web", "3")
    everup.wait_healthy()


def test_a_control_plane_that_is_killed_finds_everything_again(ground: Ground):
    everup = ground.everup
    everup.wait_healthy()
    before = pids(everup)
    os.kill(everup.control_plane(), signal.SIGKILL)
    everup.wait_healthy()
    assert pids(everup) == before


def pids(everup: Everup) -> dict[str, int]:
    """Of each node, but for those of which every host has a copy: which of their processes is named, is not settled."""
    nodes = [node for service in everup.status()["services"] for node in service["nodes"]]
    return {node["id"]: node["pid"] for node in nodes if node["host"] != EVERYWHERE}
