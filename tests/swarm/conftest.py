"""One rig for all tests that need several hosts; xdist keeps them on one worker (see the conftest of all tests)."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from everup.engines.swarm.pair import Pair, pair_in
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
    with Rig(hosts=3, zones=("a", "b", "c")) as rig:
        request.config.stash[_RIG] = rig
        yield rig


@pytest.fixture(scope="module", autouse=True)
def _unclaimed(request: pytest.FixtureRequest) -> Iterator[None]:
    """The control planes of one file do not look after the Swarm any more when the next one begins."""
    yield
    if rig := request.config.stash.get(_RIG, None):
        unclaim(rig)


@pytest.fixture(autouse=True)
def _mended(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test has broken is whole again for the next one."""
    yield
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
    """An agent on the first host; whatever a test starts there is gone afterwards."""
    with rig.entered():
        bench = Bench(rig.hosts[0], image_id, agent_pair)
        try:
            await bench.open()
            yield bench
        finally:
            await bench.close()
