"""A host of three is lost, and one is drained: what holds nothing goes elsewhere, and primaries hand over first."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from tests.everup_cli import Everup
from tests.http_load import HttpLoad
from tests.repeated import Repeated
from tests.swarm.host import Host, until
from tests.swarm.rig import Rig

SPEC = """\
environment: shop
engine: swarm
services:
  redis01: {kind: redis, ha: true}
  web:
    kind: app
    run: python -m http.server $PORT --bind $HOST
    health: /
    scale: 3
    limit: 4
  mailer: {kind: worker, run: sleep 100000, scale: 3}
"""

MOVING = ("web", "mailer")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def everup(rig: Rig, image_id: str) -> Iterator[Everup]:
    """The environment, up; the command and its control plane run on the third host."""
    here = rig.hosts[2]
    environ = {"DOCKER_HOST": f"unix://{here.socket}", "EVERUP_IMAGE": image_id}
    with here.entered(), Everup(SPEC, environ=environ, down=False) as everup:
        everup("up", timeout_s=300)
        yield everup
        everup("down", "--destroy", "--yes", timeout_s=300)


def instances(everup: Everup) -> dict[str, Json]:
    """What holds nothing: instances of the app and of the worker."""
    nodes = [node for label in MOVING for node in everup.nodes(label).values()]
    return {node["id"]: node for node in nodes if node["part"] == "instance"}


def homes(everup: Everup) -> dict[str, str]:
    return {node_id: node["host"] for node_id, node in instances(everup).items()}


def traces(host: Host, node_id: str) -> list[str]:
    """The volume of a node on a host, and its containers, if there are some."""
    volumes = host.docker.get("/volumes").raise_for_status().json()["Volumes"] or []
    kept = [one["Name"] for one in volumes if one["Name"] == f"shop_{node_id}"]
    return kept + [one["Id"] for one in host.containers(f"shop_{node_id}")]


def told(everup: Everup) -> list[str]:
    """The newest events, in words."""
    return [line.strip() for line in everup("events", "-n", "200").stdout.splitlines()]


def test_what_holds_nothing_leaves_a_lost_host_and_stays_away(
    everup: Everup, rig: Rig, record_property: Callable[[str, object], None]
):
    before = homes(everup)
    gone = next(host for host in rig.hosts[:2] if host is not rig.leader() and host.name in before.values())
    moving = sorted(node_id for node_id, name in before.items() if name == gone.name)
    with HttpLoad(everup.variables("web")["WEB_URL"]) as load:
        gone.kill()
        killed_s = time.monotonic()
        until(lambda: gone.name not in homes(everup).values(), f"{moving} are elsewhere", timeout_s=180)
        os.kill(everup.control_plane(), signal.SIGKILL)
        until(
            lambda: all(one["health"] == "ready" for one in instances(everup).values()), "all are ready", timeout_s=180
        )
        record_property("elsewhere_s", time.monotonic() - killed_s)
        failed = [one.sent_s - killed_s for one in load.requests() if one.error]
        record_property("last_failure_s", max(failed, default=0.0))
    after = homes(everup)
    assert {node_id for node_id in after if after[node_id] != before[node_id]} == set(moving)
    assert everup.json("plan")["changes"] == []
    assert everup.status()["hosts"][gone.name] == "lost"
    assert any(f"the host {gone.name} is lost" in line for line in told(everup))

    gone.start()
    healed_s = time.monotonic()
    everup.wait_healthy(180)
    until(lambda: not [one for node_id in moving for one in traces(gone, node_id)], "nothing is left", timeout_s=120)
    record_property("cleared_s", time.monotonic() - healed_s)
    assert homes(everup) == after


def test_nobody_notices_that_a_host_is_drained(
    everup: Everup, rig: Rig, record_property: Callable[[str, object], None]
):
    everup.wait_healthy()
    host = everup.primary("redis01")["host"]
    if host not in homes(everup).values():
        everup("switchover", "redis01")
        everup.wait_healthy()
        host = everup.primary("redis01")["host"]
    variables = {**everup.variables("redis01"), **everup.variables("web")}
    plain = Redis.from_url(variables["REDIS_URL"], socket_timeout=5)
    with Repeated(lambda n: plain.set(f"n{n}", n)) as client, HttpLoad(variables["WEB_URL"]) as load:
        client.wait(50)
        began_s = time.monotonic()
        shown = everup("drain", host, timeout_s=310).stdout
        client.wait(50, after_s=time.monotonic())
    record_property("drained_s", time.monotonic() - began_s)
    record_property("no_write_s", client.gap_s(began_s))
    record_property("failed_writes", len(client.errors()))
    assert f"{host} is left" in shown
    assert [one.error for one in load.requests() if one.error] == []
    assert host not in homes(everup).values()
    assert everup.primary("redis01")["host"] != host
    everup.wait_healthy()
    assert everup.status()["hosts"][host] == "drained"
    assert f"the host {host} is drained" in everup("check", codes=(0, 3)).stdout

    other = next(one.name for one in rig.hosts if one.name != host)
    refused = everup("drain", other, codes=(1,)).stderr
    assert "refused.quorum" in refused
    assert host in refused
    assert f"Did you mean {other}?" in everup("drain", f"{other}x", codes=(1,)).stderr

    homes_before = homes(everup)
    everup("undrain", host)
    everup.wait_healthy()
    assert everup.status()["hosts"][host] == "sound"
    assert homes(everup) == homes_before
