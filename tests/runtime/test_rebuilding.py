"""Members that waited for a lost host, as the desk rebuilds them, over an engine that pretends to have four hosts."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from everup.core.rebuilding import NO_PLACE, Due
from everup.engines.swarm.addresses import SwarmAddresses
from everup.engines.swarm.placement import HostView
from everup.kinds.etcd import LABEL as ETCD
from everup.model.desired import Blueprint, Part, Tcp
from everup.model.observed import Observed
from everup.model.spec import Source
from everup.runtime.desk import Desk
from tests.runtime.test_places import Hosts
from tests.runtime.test_rollouts import until

SPEC = """\
environment: shop
engine: swarm
services:
  cache: {kind: redis, ha: true, replace_after: 100ms}
  queue: {kind: redis, ha: true}
"""
GROUPS = """\
environment: shop
engine: swarm
services:
  cache: {kind: redis, ha: true, replace_after: 1s}
  db01: {kind: postgres, ha: true, replace_after: 10m}
  db02: {kind: postgres, ha: true, replace_after: 5m}
  db03: {kind: postgres, ha: true}
"""


class Four(Hosts):
    """A store, and an engine with four hosts."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.runs.views.append(HostView("id4", "node4", "10.0.0.4"))
        book = SwarmAddresses(lambda: self.runs.views, lambda _: self.used())
        self.books = {"swarm": book}  # type: ignore[dict-item]

    def used(self) -> set[Tcp]:
        """As if all that is declared had been started; here replicas never are, for nobody leads."""
        known = self.environments.names() if self.environments else []
        blueprints = [one for name in known for one in self.environments.get(name).controller.blueprints]
        return {to for one in blueprints for node in one.nodes for to in node.ports.values()}

    async def up(self) -> Desk:
        desk = await self.desk()
        self.watch = asyncio.create_task(desk.watch_hosts())
        await desk.apply(Source(file="/srv/everup.yaml", text=SPEC, directory="/srv", path="/bin"))
        await until(lambda: all(status.state.host for status in desk.picture("shop").observed.nodes.values() if status))
        return desk


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Four]:
    made = Four(tmp_path)
    try:
        yield made
    finally:
        await made.leave()


def at(desk: Desk, host: int, label: str = "cache") -> set[str]:
    """The members of a service that are declared for a host."""
    (blueprint,) = (one for one in desk.picture("shop").blueprints if one.label == label)
    members = [node for node in blueprint.nodes if node.part in (Part.DATA, Part.VOTER, Part.FRONT)]
    return {node.id for node in members if {to.host for to in node.ports.values()} == {f"10.0.0.{host}"}}


def free_host(desk: Desk) -> int:
    """The one on which nothing of `cache` is: where its three members are not."""
    return next(host for host in (1, 2, 3, 4) if not at(desk, host))


def everything(blueprints: Sequence[Blueprint], observed: Observed, lost_for_s: Mapping[str, float]) -> Due:
    """Whoever has an address of a lost host need not wait for it, if its service ever says so."""
    nodes = [node for one in blueprints if one.replaces_after_s for node in one.nodes if node.rebuilds]
    return Due(frozenset(to for node in nodes for to in node.ports.values() if to.host in lost_for_s))


async def told(desk: Desk, name: str) -> list[tuple[str | None, object, object]]:
    found = [one async for one in desk.events("shop", after=0, follow=False) if one.name == name]
    return [(one.node, one.fields.get("former"), one.fields.get("host")) for one in found]


async def test_members_are_declared_on_the_host_that_has_none_and_it_is_told(
    place: Four, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("everup.runtime.places.due", everything)
    desk = await place.up()
    spare = free_host(desk)
    lost = next(host for host in (1, 2, 3, 4) if host != spare and at(desk, host))
    gone, others = at(desk, lost), at(desk, lost, "queue")
    place.runs.change(lost, available=False, ready=False, down=True)
    await until(lambda: at(desk, lost) == set())
    assert at(desk, spare) == gone
    assert at(desk, lost, "queue") == others  # it says nothing, and waits
    assert set(await told(desk, "node.rebuilt")) == {(node, f"node{lost}", f"node{spare}") for node in gone}
    place.runs.change(lost, available=True, ready=True, down=False)
    await until(lambda: not desk.picture("shop").observed.stays)
    assert at(desk, spare) == gone  # nothing moves back by itself


async def test_without_a_place_they_stay_and_why_is_told(place: Four, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("everup.runtime.places.due", everything)
    desk = await place.up()
    spare = free_host(desk)
    lost = next(host for host in (1, 2, 3, 4) if host != spare and at(desk, host))
    gone = at(desk, lost)
    place.runs.change(spare, available=False, drained=True)
    place.runs.change(lost, available=False, ready=False, down=True)
    await until(lambda: bool(desk.picture("shop").observed.stays))
    assert desk.picture("shop").observed.stays == dict.fromkeys(gone, NO_PLACE)
    assert at(desk, lost) == gone


async def test_a_host_that_was_drained_first_is_waited_for(place: Four, monkeypatch: pytest.MonkeyPatch):
    """Somebody switched it off on purpose, and means to come back."""
    monkeypatch.setattr("everup.runtime.places.due", everything)
    desk = await place.up()
    spare = free_host(desk)
    first, second = [host for host in (1, 2, 3, 4) if host != spare][:2]
    gone = at(desk, first)
    place.runs.change(first, available=False, ready=False, down=True, drained=True)
    place.runs.change(second, available=False, ready=False, down=True)
    await until(lambda: at(desk, second) == set())  # so the first was looked at, too
    assert at(desk, first) == gone


async def test_a_control_plane_that_was_frozen_counts_anew(place: Four, monkeypatch: pytest.MonkeyPatch):
    """Meanwhile the host may have been back, and its members may lead by now."""
    lost_for_s: list[float] = []

    def noted(blueprints: Sequence[Blueprint], observed: Observed, lost: Mapping[str, float]) -> Due:
        lost_for_s.extend(lost.values())
        return Due()

    monkeypatch.setattr("everup.runtime.places.due", noted)
    desk = await place.up()
    lost = next(host for host in (1, 2, 3, 4) if at(desk, host))
    place.runs.change(lost, available=False, ready=False, down=True)
    await until(lambda: bool(lost_for_s))
    frozen_s = 3600.0
    monkeypatch.setattr("everup.runtime.places.time", SimpleNamespace(monotonic=lambda: time.monotonic() + frozen_s))
    heard = len(lost_for_s)
    await until(lambda: len(lost_for_s) > heard + 1)
    assert max(lost_for_s) < frozen_s


async def test_nobody_is_rebuilt_while_nobody_leads_elsewhere(place: Four):
    """Here nothing answers any probe: who leads is not known, and what is on the lost host may be all there is."""
    desk = await place.up()
    lost = next(host for host in (1, 2, 3, 4) if at(desk, host))
    gone = at(desk, lost)
    place.runs.change(lost, available=False, ready=False, down=True)
    await until(lambda: set(desk.picture("shop").observed.stays) == gone)
    assert at(desk, lost) == gone
    place.runs.change(lost, available=True, ready=True, down=False)
    await until(lambda: not desk.picture("shop").observed.stays)


async def test_etcd_is_as_impatient_as_the_least_patient_that_stands_on_it(place: Four):
    desk = await place.desk()
    place.watch = asyncio.create_task(desk.watch_hosts())
    await desk.apply(Source(file="/srv/everup.yaml", text=GROUPS, directory="/srv", path="/bin"))
    found = {one.label: one.replaces_after_s for one in desk.picture("shop").blueprints}
    assert found == {"cache": 1.0, "db01": 600.0, "db02": 300.0, "db03": None, ETCD: 300.0}
