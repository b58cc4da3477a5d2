"""The control plane as a service of the Swarm: installed, lost with its host, and back elsewhere with all it knew."""

import time
from collections.abc import Callable, Iterator

import pytest

from everup.engines.swarm.newest import DEPOSED
from tests.swarm.host import until
from tests.swarm.installed import PATIENCE_S, Installed
from tests.swarm.rig import Rig

SPEC = """\
environment: shop
engine: swarm
services:
  redis01: {kind: redis}
  mailer: {kind: worker, run: sleep 3600, scale: 3}
"""


@pytest.fixture(scope="module")
def ground(rig: Rig, image_id: str) -> Iterator[Installed]:
    with Installed.on(rig, image_id, SPEC, move=True) as ground:
        yield ground


def test_what_ran_goes_on_under_a_control_plane_that_was_moved(ground: Installed) -> None:
    ground.everup.wait_healthy(PATIENCE_S)
    assert ground.ran() == ground.before
    assert ground.everup.json("audit", "verify")["entries"] > 0
    refusal = ground.everup("--server", "local", "status", codes=(1,)).stderr  # nothing of it is left here
    assert "[nothing_runs]" in refusal
    again = ground.everup("--server", "local", "swarm", "install", "--move").stdout  # as after one that broke off
    assert "nothing to change" in again
    assert list((ground.everup.home / "state" / "former").glob("*/everup.sqlite"))


def test_a_second_install_changes_nothing(ground: Installed) -> None:
    before = ground.manifest()["keeper"]
    assert ground.everup.json("swarm", "install")["changed"] is False
    assert ground.manifest()["keeper"] == before


def test_it_answers_at_every_host(ground: Installed) -> None:
    for host in ground.rig.hosts:
        ground.use(host)
        found = until(ground.answers, f"an answer at {host.name}", PATIENCE_S)
        assert found["environment"] == "shop"


def test_the_host_of_the_control_plane_is_lost(
    ground: Installed, record_property: Callable[[str, object], None]
) -> None:
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
    ground: Installed, record_property: Callable[[str, object], None]
) -> None:
    ground.everup.wait_healthy(PATIENCE_S)
    before, former, cut = ground.ran(), ground.manifest(), ground.keeper()
    ordered = ground.keepings().items()
    own = next(node_id for node_id, (host, *_) in before.items() if host == cut.name)
    ground.use(next(host for host in ground.rig.hosts if host is not cut))
    control = cut.containers("everup-control")[0]["Id"]
    record_property("it_led", cut is ground.rig.leader())
    cut.cut()
    cut_s = time.monotonic()
    cut.kill_container(cut.containers(f"shop_{own}.")[0]["Id"])  # only the one that is cut off sees that
    until(ground.answers, "an answer from another host", PATIENCE_S)
    record_property("answers_again_s", round(time.monotonic() - cut_s, 1))
    until(lambda: ground.manifest()["keeping"] > former["keeping"], "another one decides", PATIENCE_S)
    assert not cut.containers(f"shop_{own}.")  # it holds: nobody can tell it that nobody else decides
    cut.heal()
    until(lambda: ground.containers() == [ground.keeper()], "one control plane", PATIENCE_S)
    once = dict.fromkeys(before, 1)
    until(lambda: {one: ground.copies(one) for one in before} == once, "every node runs once", PATIENCE_S)
    ground.everup.wait_healthy(PATIENCE_S)
    after = ground.ran()
    assert [one for one in after if before[one][0] != cut.name and after[one] != before[one]] == []
    assert {one: ground.copies(one) for one in after} == once
    changed = dict(ground.keepings().items() - ordered)
    assert set(changed.values()) <= {ground.manifest()["keeping"]}  # and not of the one that was cut off
    said = cut.docker.get(f"/containers/{control}/logs", params={"stderr": True}).text
    assert DEPOSED in said


def test_it_is_taken_away_with_all_that_it_ran(ground: Installed) -> None:
    ground.use(ground.rig.hosts[0])
    down = ("down", "--destroy", "--yes")  # told again while the Swarm still finds itself
    until(lambda: ground.everup(*down, codes=(0, 1), timeout_s=PATIENCE_S).returncode == 0, "it is down", PATIENCE_S)
    assert ground.keepings() == {}
    ground.everup("swarm", "uninstall", "--destroy")
    until(lambda: not ground.containers(), "no control plane", PATIENCE_S)
