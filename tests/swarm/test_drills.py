"""Drills that take a whole host away: really cut off, back by itself, and everything healthy afterwards."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from everup.engines.swarm.pair import AGENT
from tests.everup_cli import Everup
from tests.swarm.host import Host, until
from tests.swarm.rig import Rig

SPEC = """\
environment: shop
engine: swarm
drills: allowed
services:
  redis01: {kind: redis, ha: true}
"""
CUT_S = 8

Json = dict[str, Any]
Record = Callable[[str, object], None]


@dataclass
class Stage:
    """The environment, its command on the third host, and what is left to do when it is over."""

    rig: Rig
    everup: Everup

    def host_of_primary(self) -> Host:
        return next(one for one in self.rig.hosts if one.name == self.everup.primary("redis01")["host"])

    def lead_from(self, *hosts: Host) -> Host:
        """Have the primary on one of these hosts."""
        self.everup.wait_healthy()
        names = [one.name for one in hosts]
        if self.host_of_primary() not in hosts:
            nodes = self.everup.nodes("redis01").values()
            to = next(one["id"] for one in nodes if one["host"] in names and one["role"] == "replica")
            self.everup("switchover", "redis01", "--to", to)
            self.everup.wait_healthy()
        return self.host_of_primary()

    def drill(self, fault: str, *more: str, codes: tuple[int, ...] = (0,)) -> Json:
        words = ("drill", "redis01", "--fault", fault, "--for", f"{CUT_S}s", "--patience", "4m", *more)
        found: Json = self.everup.json(*words, codes=codes)
        return found


@pytest.fixture(scope="module")
def stage(rig: Rig, image_id: str) -> Iterator[Stage]:
    here = rig.hosts[2]
    environ = {"DOCKER_HOST": f"unix://{here.socket}", "EVERUP_IMAGE": image_id}
    with ExitStack() as stack:
        stack.enter_context(here.entered())
        everup = stack.enter_context(Everup(SPEC, environ=environ, down=False))
        everup("up", timeout_s=300)
        yield Stage(rig, everup)


@pytest.mark.parametrize("fault", ["partition", "host-loss"])
def test_the_host_of_the_control_plane_is_not_cut_off(stage: Stage, fault: str):
    here = next(one for one in stage.everup.nodes("redis01").values() if one["host"] == stage.rig.hosts[2].name)
    with stage.everup.api() as api:
        answer = api.post(f"/v1/environments/shop/nodes/{here['id']}/fault", json={"fault": fault, "for_s": CUT_S})
    assert (answer.status_code, answer.json()["code"]) == (409, "refused.outage")
    assert "everup switchover redis01" in answer.json()["hint"]


def test_a_host_that_was_cut_off_comes_back_although_its_agent_was_killed(stage: Stage, record_property: Record):
    lost = stage.lead_from(*stage.rig.hosts[:2])
    former = stage.everup.primary("redis01")["id"]
    peer = next(one for one in stage.rig.hosts if one is not lost)

    def kill_agent() -> None:
        until(lambda: not reaches(peer, lost), "the host is cut off", timeout_s=120)
        (agent,) = lost.containers(AGENT)
        lost.kill_container(agent["Id"])

    with ThreadPoolExecutor() as beside:
        killed = beside.submit(kill_agent)
        result = stage.drill("partition")
        killed.result()
    (run,) = result["runs"]
    record_property("partition", told(run))
    assert result["summary"]["verdict"] == "pass", result["summary"]["because"]
    assert run["subject"] == former
    moments = {one["name"]: one["at_s"] for one in run["moments"]}
    assert moments["host.silent"] < moments["host.heard"] < run["redundant_after_s"]
    assert "up to 4 s" in result["caution"]
    assert stage.everup.wait_healthy()["health"] == "healthy"
    assert reaches(peer, lost)


def test_a_lost_host_comes_back_with_what_ran_there(stage: Stage, record_property: Record):
    lost = stage.lead_from(*stage.rig.hosts[:2])
    before = {node["id"]: node["pid"] for node in stage.everup.nodes("redis01").values() if node["host"] == lost.name}
    result = stage.drill("host-loss")
    (run,) = result["runs"]
    record_property("host-loss", told(run))
    assert result["summary"]["verdict"] == "pass", result["summary"]["because"]
    assert run["path"] in ("failover", "restart") and result["caution"] == ""
    stage.everup.wait_healthy()
    after = {node["id"]: node["pid"] for node in stage.everup.nodes("redis01").values() if node["host"] == lost.name}
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


def told(run: Json) -> Json:
    """The figures of a run, and when its moments were."""
    figures = {name: run[name] for name in ("rto_s", "lost", "acknowledged", "errors", "redundant_after_s", "stale")}
    return figures | {one["what"]: round(one["at_s"], 2) for one in run["moments"]}


def reaches(peer: Host, host: Host) -> bool:
    """A packet comes through: the Swarm's port of `host` can be connected to from `peer`."""
    script = f"import socket; socket.create_connection(({host.address!r}, 2377), timeout=1).close()"
    return peer.run(["python3", "-c", script], check=False).returncode == 0
