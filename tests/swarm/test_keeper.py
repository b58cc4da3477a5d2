"""The control plane as a service of the Swarm: installed, lost with its host, and back elsewhere with all it knew."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.everup_cli import Everup
from tests.swarm.host import Host, until
from tests.swarm.rig import Rig, missing

SPEC = """\
environment: shop
engine: swarm
services:
  redis01: {kind: redis}
"""

Json = dict[str, Any]
PATIENCE_S = 300.0


@dataclass
class Ground:
    """Three hosts, and the command on the third of them."""

    rig: Rig
    here: Host
    everup: Everup

    def keeper(self) -> Host:
        """The host on which the control plane runs that decides, by the Swarm's own record."""
        return next(host for host in self.rig.hosts if host.address == self.manifest()["address"])

    def manifest(self) -> Json:
        swarm = self.here.docker.get("/swarm").raise_for_status().json()
        found: Json = json.loads(swarm["Spec"]["Labels"]["everup.state"])
        return found

    def containers(self) -> list[str]:
        """The hosts on which a control plane runs."""
        return [host.name for host in self.rig.hosts if host.running and host.containers("everup-control")]

    def answers(self, host: Host) -> Json | None:
        """What `status` says through a host's door; None where it does not answer."""
        words = ("--server", f"https://{host.address}:8484", "--json", "status")
        process = self.everup.start(*words)
        out, _ = process.communicate(timeout=PATIENCE_S)
        found: Json | None = json.loads(out) if process.returncode in (0, 3) else None
        return found


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    if lack := missing():
        pytest.skip(lack)
    rig: Rig = request.getfixturevalue("several_hosts")
    here, image_id = rig.hosts[2], request.getfixturevalue("image_id")
    with ExitStack() as stack:
        stack.enter_context(here.entered())
        environ = {"DOCKER_HOST": f"unix://{here.socket}", "EVERUP_IMAGE": image_id}
        everup = stack.enter_context(Everup(SPEC, environ=environ))
        everup("swarm", "install", timeout_s=PATIENCE_S)
        kept = json.loads((everup.home / "config/everup/contexts.json").read_text())["places"]["swarm"]
        everup.environ |= {"EVERUP_TOKEN": kept["token"], "EVERUP_CA": kept["ca"], "EVERUP_SERVER": kept["server"]}
        everup("up", timeout_s=PATIENCE_S)
        yield Ground(rig, here, everup)


def test_a_second_install_changes_nothing(ground: Ground) -> None:
    before = ground.manifest()["keeper"]
    assert ground.everup.json("swarm", "install")["changed"] is False
    assert ground.manifest()["keeper"] == before


def test_it_answers_at_every_host(ground: Ground) -> None:
    for host in ground.rig.hosts:
        found = until(lambda host=host: ground.answers(host), f"an answer at {host.name}", PATIENCE_S)
        assert found["environment"] == "shop"


def test_the_host_of_the_control_plane_is_lost(ground: Ground, record_property: Any) -> None:
    lost = ground.keeper()
    if lost is ground.here:  # the commands of this test run there
        ground.rig.hosts[2].kill_container(ground.here.containers("everup-control")[0]["Id"])
        pytest.skip("not reached")
    audit = ground.everup.json("audit", "verify")
    lost.kill()
    lost_s = time.monotonic()
    until(lambda: ground.answers(ground.here), "an answer from another host", PATIENCE_S)
    record_property("answers_again_s", round(time.monotonic() - lost_s, 1))
    print("answers again after", time.monotonic() - lost_s)
    assert ground.keeper() is not lost
    after = ground.everup.json("audit", "verify")
    assert after["entries"] >= audit["entries"]
    lost.start()
    until(lambda: len(ground.containers()) == 1 and ground.containers() != [lost.name], "one control plane", PATIENCE_S)
    ground.everup.wait_healthy()
