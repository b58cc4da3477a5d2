"""Leaving hosts, as the desk does it, over an engine that pretends to have three."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from everup.engines.memory import MemoryEngine
from everup.engines.swarm.addresses import SwarmAddresses
from everup.engines.swarm.placement import HostView, ground_of
from everup.model.desired import NodeId
from everup.model.errors import EverupError, NotFound, Refused
from everup.model.observed import Ground, Host, NodeState
from everup.model.spec import Source
from everup.runtime import desk as desks
from everup.runtime.desk import Desk
from everup.runtime.store import Saved, Store
from tests.runtime.test_rollouts import Place, source, until

SPEC = """\
environment: shop
engine: swarm
services:
  web: {kind: app, run: serve, scale: 3, health: none}
  cache: {kind: redis}
"""


class HostsEngine(MemoryEngine):
    """Every node is on the host whose address it listens at."""

    def __init__(self) -> None:
        super().__init__(time.monotonic)
        self.views = [HostView(f"id{n}", f"node{n}", f"10.0.0.{n}", votes=True) for n in (1, 2, 3)]

    def change(self, number: int, **how: bool) -> None:
        """What the Swarm says of a host from now on."""
        self.views[number - 1] = replace(self.views[number - 1], **how)

    @property
    def estate(self) -> "HostsEngine":
        return self

    def hosts(self) -> tuple[Host, ...]:
        found = ((view, ground_of(self.views, view.id, silent=view.down)) for view in self.views)
        return tuple(Host(one.name, one.address, ground, votes=one.votes, drained=one.drained) for one, ground in found)

    async def drain(self, host: str, drained: bool) -> None:
        self.change(int(host[-1]), drained=drained, available=not drained)

    async def observe(self) -> Mapping[NodeId, NodeState]:
        by_address = {host.address: host for host in self.hosts()}
        found = {}
        for node_id, state in (await super().observe()).items():
            to = next(iter(self._nodes[node_id].node.ports.values()), None)
            host = by_address.get(to.host) if to else None
            told = {"host": host.name, "address": host.address, "ground": host.ground} if host else {}
            found[node_id] = replace(state, **told)  # type: ignore[arg-type]
        return found


class Hosts(Place):
    """A store, and an engine with three hosts."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.runs: HostsEngine = HostsEngine()  # type: ignore[assignment]
        self.books = {"swarm": SwarmAddresses(lambda: self.runs.views, lambda _: ())}  # type: ignore[dict-item]

    async def up(self) -> Desk:
        """A desk with the environment declared and looked at, that watches its hosts."""
        desk = await self.desk()
        self.watch = asyncio.create_task(desk.watch_hosts())
        await desk.apply(Source(file="/srv/everup.yaml", text=SPEC, directory="/srv", path="/bin"))
        await until(lambda: len(homes(desk)) == 3 and "cache-1" in desk.picture("shop").observed.nodes)
        await until(lambda: bool(desk.picture("shop").observed.nodes["cache-1"].state.host))
        return desk

    async def leave(self) -> None:
        self.watch.cancel()
        await super().leave()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Hosts]:
    made = Hosts(tmp_path)
    try:
        yield made
    finally:
        await made.leave()


def homes(desk: Desk) -> dict[str, str]:
    """Where the instances are declared to listen."""
    nodes = (desk.picture("shop").blueprints[0].node(f"web-{n}") for n in (1, 2, 3))
    return {node.id: node.ports["http"].host for node in nodes if node}


async def told(desk: Desk) -> list[tuple[str, object]]:
    return [(one.name, one.fields.get("host")) async for one in desk.events("shop", after=0, follow=False)]


def cache_host(desk: Desk) -> str:
    return desk.picture("shop").observed.nodes["cache-1"].state.host


async def test_what_holds_nothing_is_declared_elsewhere_once_its_host_is_lost_and_stays_there(place: Hosts):
    desk = await place.up()
    before = homes(desk)
    assert sorted(before.values()) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    place.runs.change(2, available=False, ready=False, down=True)
    await until(lambda: "10.0.0.2" not in homes(desk).values())
    after = homes(desk)
    assert sum(after[name] != before[name] for name in before) == 1
    assert ("host.lost", "node2") in await told(desk)
    place.runs.change(2, available=True, ready=True, down=False)
    async with asyncio.timeout(60):
        while ("host.returned", "node2") not in await told(desk):  # noqa: ASYNC110 - events are read, not awaited
            await asyncio.sleep(0.05)
    assert homes(desk) == after


async def test_an_up_while_a_host_is_lost_changes_nothing_more(place: Hosts):
    desk = await place.up()
    place.runs.change(2, available=False, ready=False, down=True)
    await until(lambda: "10.0.0.2" not in homes(desk).values())
    after = homes(desk)
    await desk.apply(Source(file="/srv/everup.yaml", text=SPEC, directory="/srv", path="/bin"))
    assert homes(desk) == after


async def test_a_host_is_drained_and_used_again(place: Hosts):
    desk = await place.up()
    host = next(name for name in ("node1", "node2", "node3") if name != cache_host(desk))
    await desk.drain(host, force=False)
    assert f"10.0.0.{host[-1]}" not in homes(desk).values()  # nothing says that it runs there
    await desk.drain(host, force=False)  # once more changes nothing
    (site,) = (one for one in desk.sites() if one.host.name == host)
    assert site.host.ground == Ground.DRAINED
    await desk.undrain(host)
    assert [one.host.ground for one in desk.sites()] == [Ground.SOUND] * 3
    assert [one for one in await told(desk) if one[0].startswith("host")] == [
        ("host.drained", host),
        ("host.undrained", host),
    ]


async def test_a_host_with_a_single_server_is_drained_only_by_force(place: Hosts):
    desk = await place.up()
    host = cache_host(desk)
    with pytest.raises(Refused, match="cache-1 would be away") as caught:
        await desk.drain(host, force=False)
    assert caught.value.code == "refused.alone"
    assert place.runs.hosts()[int(host[-1]) - 1].ground == Ground.SOUND
    await desk.drain(host, force=True)
    (site,) = (one for one in desk.sites() if one.host.name == host)
    assert site.occupants["shop"].alone == ("cache-1",)


async def test_a_host_that_the_managers_need_is_not_drained_even_by_force(place: Hosts):
    desk = await place.up()
    hosts = sorted({"node1", "node2", "node3"} - {cache_host(desk)})
    await desk.drain(hosts[0], force=False)
    with pytest.raises(Refused, match="1 of 3 managers") as caught:
        await desk.drain(hosts[1], force=True)
    assert (caught.value.code, hosts[0] in caught.value.hint) == ("refused.quorum", True)


async def test_a_host_that_is_not_there_is_answered_with_the_nearest_that_is(place: Hosts):
    desk = await place.up()
    for ask in (desk.drain("nod1", force=False), desk.undrain("nod1")):
        with pytest.raises(NotFound, match="there is no host nod1") as caught:
            await ask
        assert caught.value.hint == "Did you mean node1? Hosts: node1, node2, node3."


async def test_what_docker_has_drained_is_for_docker_to_undrain(place: Hosts):
    desk = await place.up()

    async def kept(host: str, drained: bool) -> None: ...

    place.runs.change(1, available=False, drained=True, emptied=True)
    place.runs.drain = kept  # type: ignore[method-assign]
    with pytest.raises(Refused, match="drained by Docker itself") as caught:
        await desk.undrain("node1")
    assert caught.value.hint == "docker node update --availability active node1"


async def test_a_machine_that_joined_again_is_not_lost_for_what_it_was_before(place: Hosts):
    desk = await place.up()
    former = replace(place.runs.views[0], id="former", available=False, ready=False, down=True)
    place.runs.views.insert(1, former)
    place.runs.views[3] = replace(place.runs.views[3], available=False, ready=False, down=True)
    await until(lambda: "10.0.0.3" not in homes(desk).values())
    lost = [host for name, host in await told(desk) if name == "host.lost"]
    assert lost == ["node3"]


async def test_on_one_machine_there_is_nothing_to_drain(tmp_path: Path):
    place = Place(tmp_path)
    desk = await place.desk()
    await desk.apply(source("send"))
    try:
        with pytest.raises(Refused, match="engine: swarm") as caught:
            await desk.drain("node1", force=False)
        assert caught.value.code == "refused.engine"
    finally:
        await place.leave()


def refusing(monkeypatch: pytest.MonkeyPatch, times: int, *, forget: bool) -> list[str]:
    """The store refuses the first or the last step of deleting so many times; whose it was."""
    refusals: list[str] = []
    save, drop = Store.save_environment, Store.forget_environment

    def refuse(name: str) -> None:
        if len(refusals) < times:
            refusals.append(name)
            raise EverupError("nothing was changed: the Swarm has no leader", code="store.refused")

    async def saving(store: Store, name: str, saved: Saved) -> None:
        if saved.doomed and not forget:
            refuse(name)
        await save(store, name, saved)

    async def forgetting(store: Store, name: str) -> None:
        if forget:
            refuse(name)
        await drop(store, name)

    monkeypatch.setattr(Store, "save_environment", saving)
    monkeypatch.setattr(Store, "forget_environment", forgetting)
    monkeypatch.setattr(desks, "AGAIN_S", 0.01)
    return refusals


@pytest.mark.parametrize("forget", [False, True])
async def test_what_the_store_refuses_to_delete_is_deleted_later(
    place: Hosts, monkeypatch: pytest.MonkeyPatch, forget: bool
):
    desk = await place.up()
    refusals = refusing(monkeypatch, 2, forget=forget)
    environments = place.environments
    assert environments is not None
    journal = environments.get("shop").controller.journal
    await desk.stop("shop", destroy=True)
    await until(lambda: len(refusals) == 2)
    await until(lambda: environments.names() == [])
    assert environments.store.environments() == {}
    told = [event for event in journal.recent() if event.name == "environment.held"]
    assert [event.fields["because"] for event in told] == ["nothing was changed: the Swarm has no leader"]


async def test_what_is_half_deleted_is_not_applied_and_a_second_order_to_delete_it_is_taken(
    place: Hosts, monkeypatch: pytest.MonkeyPatch
):
    desk = await place.up()
    refusals = refusing(monkeypatch, 10**6, forget=True)
    await desk.stop("shop", destroy=True)
    await until(lambda: bool(refusals))
    again = Source(file="/srv/everup.yaml", text=SPEC, directory="/srv", path="/bin")
    for change in (desk.apply(again), desk.restart("shop", "web")):
        with pytest.raises(Refused) as caught:
            await change
        assert caught.value.code == "refused.doomed"
    await desk.stop("shop", destroy=True)
    monkeypatch.undo()
    environments = place.environments
    await until(lambda: environments is not None and environments.names() == [])
    await desk.apply(again)


async def test_a_control_plane_starts_although_what_is_half_deleted_cannot_be_deleted_yet(
    place: Hosts, monkeypatch: pytest.MonkeyPatch
):
    desk = await place.up()
    refusals = refusing(monkeypatch, 10**6, forget=True)
    await desk.stop("shop", destroy=True)
    await until(lambda: bool(refusals))
    await place.leave()
    await place.desk()
    assert place.environments is not None
    assert place.environments.names() == ["shop"]
    monkeypatch.undo()
    await until(lambda: place.environments is not None and place.environments.names() == [])
    assert place.environments.store.environments() == {}
