"""One rig for all tests of a worker that need several hosts, and what such tests begin with."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from everup.engines.swarm.pair import AGENT, Pair, pair_in
from tests.swarm.bench import Bench
from tests.swarm.image import TAG, everup_image
from tests.swarm.rig import Rig, missing
from tests.swarm.world import unclaim

LIMIT_S = 1500
"""For one test: the first also makes the image, on a machine that has nothing yet."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.swarm)
            item.add_marker(pytest.mark.timeout(LIMIT_S))


_RIG = pytest.StashKey[Rig]()


@pytest.fixture(scope="session")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Three hosts in zones a, b and c, one Swarm; whole at the beginning of each test."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with Rig(hosts=3, zones=("a", "b", "c"), brisk=True) as rig:
        request.config.stash[_RIG] = rig
        yield rig


@pytest.fixture(scope="module", autouse=True)
def _left_empty(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing that the tests of one file have started is there any more when the next one begins."""
    yield
    if rig := request.config.stash.get(_RIG, None):
        if rig.whole() and rig.services() <= {AGENT}:
            unclaim(rig)
        else:
            rig.renew()


@pytest.fixture(autouse=True)
def _mended(request: pytest.FixtureRequest) -> None:
    """What the test before has broken is whole again; after the last one of a file, all is new."""
    if "rig" in request.fixturenames:
        request.getfixturevalue("rig").mend()


@pytest.fixture(scope="session")
def image_id(rig: Rig) -> str:
    """Everup's image, on every host."""
    return rig.load(everup_image(), TAG)


@pytest.fixture(scope="session")
def agent_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """What an agent that a test starts by itself, and its client, hold."""
    return pair_in(tmp_path_factory.mktemp("agent"))


@pytest.fixture
async def bench(rig: Rig, image_id: str, agent_pair: Pair) -> AsyncIterator[Bench]:
    """An agent on a host that does not lead the Swarm; whatever a test starts there is gone afterwards."""
    with rig.entered():
        leader = rig.leader()
        bench = Bench(next(host for host in rig.hosts if host is not leader), image_id, agent_pair)
        try:
            await bench.open()
            yield bench
        finally:
            await bench.close()
