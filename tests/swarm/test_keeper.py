"""The control plane as a service of the Swarm: installed, lost with its host, and back elsewhere with all it knew."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from everup.engines.swarm.newest import DEPOSED
from everup.engines.swarm.services import KEEPING
from everup.model.observed import EVERYWHERE
from tests.everup_cli import Everup
from tests.swarm.host import Host, until
from tests.swarm.rig import Rig

SPEC = """\
environment: shop
engine: swarm
services:
  redis01: {kind: redis}
  mailer: {kind: worker, run: sleep 3600, scale: 3}
"""

Json = dict[str, Any]
PATIENCE_S = 300.0


@dataclass
class Ground:
    """Three hosts, and the command on a machine beside them."""

    rig: Rig
    everup: Everup
    before: Json  # what ran when the control plane was moved

    def manifest(self) -> Json:
        """What the Swarm says of its control plane."""
        swarm = next(host for host in self.rig.hosts if host.running).docker.get("/swarm").raise_for_status().json()
        found: Json = json.loads(swarm["Spec"]["Labels"]["everup.state"])
        return found

    def keeper(self) -> Host:
        """The host of the control plane that decides."""
        return next(host for host in self.rig.hosts if host.address == self.manifest()["address"])

    def containers(self) -> list[Host]:
        """The hosts on which a control plane runs."""
        return [host for host in self.rig.hosts if host.running and host.containers("everup-control")]

    def orders(self) -> set[int]:
        """The numbers of the control planes that changed a node's service last."""
        host = next(host for host in self.rig.hosts if host.running)
        labels = [one["Spec"]["Labels"] for one in host.docker.get("/services").raise_for_status().json()]
        return {int(one[KEEPING]) for one in labels if KEEPING in one}

    def copies(self, node_id: str) -> int:
        """How many containers of a node run."""
        return sum(len(host.containers(f"shop_{node_id}.")) for host in self.rig.hosts)

    def use(self, host: Host) -> None:
        """Let commands go to the door of a host from now on."""
        self.everup.environ["EVERUP_SERVER"] = f"https://{host.address}:8484"

    def answers(self) -> Json | None:
        """What `status` says; None where nobody answers."""
        process = self.everup.start("status", "--json")
        out, _ = process.communicate(timeout=PATIENCE_S)
        found: Json | None = json.loads(out) if process.returncode in (0, 3) else None
        return found


def ran(everup: Everup) -> Json:
    """Every node that runs on one host: on which, since when, and how often it was restarted."""
    nodes = [node for service in everup.status()["services"] for node in service["nodes"]]
    return {one["id"]: (one["host"], one["since"], one["restarts"]) for one in nodes if one["host"] != EVERYWHERE}


def test_a_bare_swarm_gets_a_control_plane(rig: Rig, image_id: str) -> None:
    environ = {"DOCKER_HOST": f"unix://{rig.hosts[0].socket}", "EVERUP_IMAGE": image_id}
    with rig.entered(), Everup(SPEC, environ=environ) as everup:
        assert everup.json("swarm", "install")["changed"]  # and it has answered
        refusal = everup("--server", "local", "swarm", "install", "--move", codes=(1,)).stderr
        assert "[refused.kept_already]" in refusal
        assert everup.json("swarm", "uninstall", "--destroy") == {"uninstalled": True, "destroyed": True}


@pytest.fixture(scope="module")
def ground(rig: Rig, image_id: str) -> Iterator[Ground]:
    environ = {"DOCKER_HOST": f"unix://{rig.hosts[0].socket}", "EVERUP_IMAGE": image_id}
    with rig.entered(), Everup(SPEC, environ=environ) as everup:
        everup("up", timeout_s=PATIENCE_S)
        before = ran(everup)
        everup("swarm", "install", "--move", timeout_s=PATIENCE_S)
        kept = json.loads((everup.home / "config/everup/contexts.json").read_text())["places"]["swarm"]
        everup.environ |= {"EVERUP_TOKEN": kept["token"], "EVERUP_CA": kept["ca"], "EVERUP_SERVER": kept["server"]}
        yield Ground(rig, everup, before)
        rig.mend()
        until(lambda: everup.start("status").wait() in (0, 3), "an answer", PATIENCE_S)
        everup("down", "--destroy", "--yes", timeout_s=PATIENCE_S)
        everup("swarm", "uninstall", "--destroy")


def test_what_ran_goes_on_under_a_control_plane_that_was_moved(ground: Ground) -> None:
    ground.everup.wait_healthy(PATIENCE_S)
    assert ran(ground.everup) == ground.before
    assert ground.everup.json("audit", "verify")["entries"] > 0
    refusal = ground.everup("--server", "local", "status", codes=(1,)).stderr  # nothing of it is left here
    assert "[nothing_runs]" in refusal
    assert list((ground.everup.home / "state" / "former").glob("*/everup.sqlite"))


def test_a_second_install_changes_nothing(ground: Ground) -> None:
    before = ground.manifest()["keeper"]
    assert ground.everup.json("swarm", "install")["changed"] is False
    assert ground.manifest()["keeper"] == before


def test_it_answers_at_every_host(ground: Ground) -> None:
    for host in ground.rig.hosts:
        ground.use(host)
        found = until(ground.answers, f"an answer at {host.name}", PATIENCE_S)
        assert found["environment"] == "shop"


def test_the_host_of_the_control_plane_is_lost(ground: Ground, record_property: Callable[[str, object], None]) -> None:
    redis, lost = ground.everup.nodes("redis01")["redis01-1"], ground.keeper()
    audit = ground.everup.json("audit", "verify")
    ground.use(next(host for host in ground.rig.hosts if host is not lost))
    record_property("it_led", lost is ground.rig.leader())
    lost.kill()
    lost_s = time.monotonic()
    found = until(ground.answers, "an answer from another host", PATIENCE_S)
    record_property("answers_again_s", round(time.monotonic() - lost_s, 1))
    assert found["environment"] == "shop"
    assert ground.keeper() is not lost
    assert ground.everup.json("audit", "verify")["entries"] >= audit["entries"]
    if redis["host"] != lost.name:
        assert ground.everup.nodes("redis01")["redis01-1"]["since"] == redis["since"]
    lost.start()
    ground.everup.wait_healthy(PATIENCE_S)
    until(lambda: ground.containers() == [ground.keeper()], "one control plane", PATIENCE_S)


def test_the_host_of_the_control_plane_is_cut_off(
    ground: Ground, record_property: Callable[[str, object], None]
) -> None:
    ground.everup.wait_healthy(PATIENCE_S)
    before, former, cut = ran(ground.everup), ground.manifest(), ground.keeper()
    own = next(node_id for node_id, (host, *_) in before.items() if host == cut.name)
    ground.use(next(host for host in ground.rig.hosts if host is not cut))
    control = cut.containers("everup-control")[0]["Id"]
    record_property("it_led", cut is ground.rig.leader())
    cut.cut()
    cut_s = time.monotonic()
    cut.kill_container(cut.containers(f"shop_{own}.")[0]["Id"])  # only the one that is cut off sees that
    until(ground.answers, "an answer from another host", PATIENCE_S)
    record_property("answers_again_s", round(time.monotonic() - cut_s, 1))
    assert ground.manifest()["keeping"] > former["keeping"]
    assert not cut.containers(f"shop_{own}.")  # it holds: nobody can tell it that nobody else decides
    cut.heal()
    ground.everup.wait_healthy(PATIENCE_S)
    until(lambda: ground.containers() == [ground.keeper()], "one control plane", PATIENCE_S)
    after = ran(ground.everup)
    assert [one for one in after if before[one][0] != cut.name and after[one] != before[one]] == []
    assert {one: ground.copies(one) for one in after} == dict.fromkeys(before, 1)
    assert ground.orders() <= {former["keeping"], ground.manifest()["keeping"]}
    said = cut.docker.get(f"/containers/{control}/logs", params={"stderr": True}).text
    assert DEPOSED in said
