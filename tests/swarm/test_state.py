"""What a Swarm keeps for a control plane, and that there is one keeper at a time, whoever is cut off from whom."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from everup.engines.swarm.docker import Docker
from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.manifest import LABEL, manifest_in, without_manifest
from everup.engines.swarm.newest import DEPOSED
from everup.engines.swarm.place import Place
from everup.engines.swarm.state import FORMER, LEASE_S, MARGIN_S, PART_BYTES, SwarmShelf
from everup.engines.swarm.wire import Wire
from everup.model.errors import EngineError, EverupError, Unavailable
from tests.swarm.host import Host
from tests.swarm.rig import Rig

PATIENCE_S = 180.0


class Keepers:
    """Keepers of one Swarm, each at a host of its own choice; `lost` says who was told that it is none any more."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.lost: list[SwarmShelf] = []
        self._dockers: list[Docker] = []

    def docker(self, host: Host) -> Docker:
        self._dockers.append(Docker(Wire(Place(f"unix://{host.socket}"))))
        return self._dockers[-1]

    def at(self, host: Host) -> SwarmShelf:
        shelf = SwarmShelf(self.docker(host), Keeping(lambda error: self.lost.append(shelf)))
        return shelf

    async def take(self, shelf: SwarmShelf) -> dict[str, bytes]:
        """Take over, as often as it needs until the Swarm answers."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(Unavailable):
                    return await shelf.take()
                await asyncio.sleep(0.2)

    async def close(self) -> None:
        for docker in self._dockers:
            await docker.close()


@pytest.fixture
async def keepers(rig: Rig) -> AsyncIterator[Keepers]:
    found = Keepers(rig)
    docker = found.docker(rig.hosts[0])
    before = manifest_in((await docker.cluster.inspect())["Spec"])
    assert not before.pieces, "a control plane is installed in this rig"
    await docker.cluster.change(without_manifest)  # that of a control plane which has ended by now
    try:
        yield found
    finally:
        if rig.whole():
            await docker.cluster.change(without_manifest)
            for one in await docker.configs.list({"label": [LABEL]}):
                await docker.configs.remove(one["ID"])
        else:
            rig.renew()
        await found.close()


async def test_what_one_keeper_puts_is_what_the_next_one_finds(keepers: Keepers) -> None:
    first, second = keepers.at(keepers.rig.hosts[0]), keepers.at(keepers.rig.hosts[1])
    assert await first.take() == {}
    large = bytes(range(256)) * (2 * PART_BYTES // 256 + 1)
    await first.put({"state": b"one", "audit-1-1": b"a", "large": large}, ())
    await first.put({"state": b"two"}, {"audit-1-1"})
    await first.release()
    began_s = time.monotonic()
    assert await second.take() == {"state": b"two", "large": large}
    assert time.monotonic() - began_s < LEASE_S + MARGIN_S  # the first one has let go: nobody need wait
    assert keepers.lost == []


async def test_what_counts_no_more_is_deleted_but_for_the_newest(keepers: Keepers) -> None:
    shelf, docker = keepers.at(keepers.rig.hosts[0]), keepers.docker(keepers.rig.hosts[0])
    await shelf.take()
    for number in range(10):
        await shelf.put({"state": str(number).encode()}, ())
    assert len(await docker.configs.list({"label": [LABEL]})) == 1 + FORMER


async def test_a_keeper_that_was_replaced_can_change_nothing_and_is_told(keepers: Keepers) -> None:
    first, second = keepers.at(keepers.rig.hosts[0]), keepers.at(keepers.rig.hosts[1])
    await first.take()
    await first.put({"state": b"one"}, ())
    began_s = time.monotonic()
    assert await second.take() == {"state": b"one"}
    assert time.monotonic() - began_s >= LEASE_S + MARGIN_S  # until the first one cannot act any more
    await second.put({"state": b"two"}, ())
    for act in (first.put({"state": b"late"}, ()), first.confirm(), first.look()):
        with pytest.raises(EngineError) as refused:
            await act
        assert refused.value.code == DEPOSED
    assert set(keepers.lost) == {first}
    await second.release()
    third = keepers.at(keepers.rig.hosts[2])
    assert await third.take() == {"state": b"two"}


async def test_of_two_that_begin_at_the_same_time_one_is_the_keeper(keepers: Keepers) -> None:
    shelves = [keepers.at(host) for host in keepers.rig.hosts]
    await asyncio.gather(*(keepers.take(shelf) for shelf in shelves))
    outcomes = await asyncio.gather(*(shelf.put({"state": b"mine"}, ()) for shelf in shelves), return_exceptions=True)
    assert sorted(isinstance(one, EverupError) for one in outcomes) == [False, True, True]


async def test_a_keeper_that_is_cut_off_is_sure_of_nothing_even_where_its_host_leads(keepers: Keepers) -> None:
    rig = keepers.rig
    leader = rig.leader()
    other = next(host for host in rig.hosts if host is not leader)
    first, second = keepers.at(leader), keepers.at(other)
    await first.take()
    await first.put({"state": b"kept"}, ())
    leader.cut()
    stale = manifest_in((await keepers.docker(leader).cluster.inspect())["Spec"])
    assert stale.pieces  # it still answers by what it knew: a question alone would prove nothing

    sure_s: list[float] = []  # moments at which the first one was sure
    taken: list[float] = []

    async def act() -> None:
        while not keepers.lost:
            with suppress(EverupError):
                await first.confirm()
                sure_s.append(time.monotonic())
            await asyncio.sleep(0.1)

    acting = asyncio.create_task(act())
    assert await keepers.take(second) == {"state": b"kept"}
    taken.append(time.monotonic())
    await second.put({"state": b"changed"}, ())
    with pytest.raises(EverupError):
        await first.put({"state": b"split"}, ())
    leader.heal()
    async with asyncio.timeout(PATIENCE_S):
        await acting
    assert keepers.lost[0] is first
    assert not sure_s or max(sure_s) < taken[0]
    await second.confirm()
    await second.release()
    assert await keepers.take(keepers.at(leader)) == {"state": b"changed"}
