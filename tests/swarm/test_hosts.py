"""A host of three is lost, cut off, or all lose power: what clients see, what is lost, and that all returns by itself.

The bounds are those that a slow machine keeps; `benchmarks/bench_hosts.py` measures.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.journal import longest_gap_s
from tests.swarm.host import Host, until
from tests.swarm.installed import PATIENCE_S, Installed
from tests.swarm.losses import SPEC, Clients, alone_s, reopened_s
from tests.swarm.rig import Rig

Record = Callable[[str, object], None]
CUT_S = 20.0
TIMEOUT_S = 30.0
"""How long the endpoint waits for an answer of the app, by default."""
UNCONFIRMED_S = 15.0
"""For how long a Redis that is cut off from its replicas may take writes, on a slow machine; 1 to 2 s measured."""


@pytest.fixture(scope="module")
def ground(rig: Rig, image_id: str) -> Iterator[Installed]:
    with Installed.on(rig, image_id, SPEC) as ground:
        yield ground


def worst(ground: Installed) -> Host:
    """The host that leads the Swarm, from where both primaries lead as well."""
    host = ground.rig.leader()
    for label in ("redis01", "db01"):
        ground.lead_from(host, label)
    ground.whole()
    return host


def test_the_host_that_leads_everything_is_lost(ground: Installed, record_property: Record) -> None:
    lost = worst(ground)
    survivor = ground.other(lost)
    ground.use(survivor)
    with Clients(ground, survivor) as clients:
        clients.wait(time.monotonic(), PATIENCE_S)
        fault_s = time.monotonic()
        lost.kill()
        clients.wait(fault_s + 1, PATIENCE_S)
        record_property("answers_again_s", reopened_s(ground, fault_s))
        clients.stop()
        assert clients.lost()["DATABASE_URL"] == 0
        assert [str(one) for one in clients.failed(fault_s + 1)] == []
        assert clients.longest_s() < TIMEOUT_S  # what waited for the lost host was sent elsewhere long before
        for way, writes in clients.journals().items():
            record_property(way, longest_gap_s(writes, fault_s))
        clients.forget()
    until(lambda: lost not in map(ground.host_of_primary, ("redis01", "db01")), "Everup follows", PATIENCE_S)
    lost.start()
    ground.whole()


def test_the_host_that_leads_everything_is_cut_off_and_joins_again(ground: Installed, record_property: Record) -> None:
    cut = worst(ground)
    ground.use(ground.other(cut))
    with Clients(ground, ground.other(cut)) as outside, Clients(ground, cut, "inside") as inside:
        outside.wait(time.monotonic(), PATIENCE_S)
        inside.wait(time.monotonic(), PATIENCE_S)
        fault_s = time.monotonic()
        cut.cut()
        cut_s = time.monotonic()
        outside.wait(fault_s + 1, PATIENCE_S)
        time.sleep(max(0.0, fault_s + CUT_S - time.monotonic()))  # it is to be cut off for that long
        healed_s = time.monotonic()
        cut.heal()
        ground.whole()
        record_property("whole_s", time.monotonic() - healed_s)
        inside.wait(time.monotonic(), PATIENCE_S)
        outside.stop()
        inside.stop()
        for way in outside.journals():
            alone, both = alone_s(inside, outside, way, cut_s, healed_s)
            record_property(f"{way}_alone_s", (alone, both))
            assert alone < UNCONFIRMED_S
            assert both == 0 or way != "DATABASE_URL"
        assert outside.lost()["DATABASE_URL"] == inside.lost()["DATABASE_URL"] == 0
        outside.forget()
        inside.forget()


def test_everything_returns_with_its_data_after_a_power_cut(ground: Installed, record_property: Record) -> None:
    ground.use(ground.rig.hosts[0])
    with Clients(ground, ground.rig.hosts[0]) as clients:
        clients.wait(time.monotonic(), PATIENCE_S)
        ground.rig.power_cut()
        clients.stop()
        on_s = time.monotonic()
        ground.rig.power_on()
        reopened_s(ground, on_s)
        ground.whole()
        record_property("whole_s", time.monotonic() - on_s)
        gone = clients.lost()
        record_property("lost", gone)  # what Redis had not yet handed to the kernel can be
        assert gone["DATABASE_URL"] == 0
