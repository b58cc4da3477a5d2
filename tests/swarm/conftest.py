"""One rig for all tests that need several hosts; xdist keeps them on one worker (see the conftest of all tests)."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from everup.engines.swarm.bootstrap import pair_in
from tests.swarm.bench import Bench
from tests.swarm.image import TAG, everup_image
from tests.swarm.rig import Rig, missing

LIMIT_S = 1500
"""For one test: the first also makes the image, on a machine that has nothing yet."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.swarm)
            item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.fixture(scope="session")
def several_hosts() -> Iterator[Rig]:
    """Three hosts in zones a, b and c, one Swarm."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with Rig(hosts=3, zones=("a", "b", "c")) as rig:
        yield rig


@pytest.fixture
def rig(several_hosts: Rig) -> Iterator[Rig]:
    """The rig, whole before and after the test."""
    yield several_hosts
    several_hosts.mend()


@pytest.fixture(scope="session")
def image_id(several_hosts: Rig) -> str:
    """Everup's image, on every host."""
    return several_hosts.load(everup_image(), TAG)


@pytest.fixture(scope="session")
def agent_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pair lies that agent and client hold."""
    place = tmp_path_factory.mktemp("agent")
    pair = pair_in(place)
    pair.cert.rename(place / "cert.pem")
    pair.key.rename(place / "key.pem")
    return place


@pytest.fixture
async def bench(several_hosts: Rig, image_id: str, agent_pair: Path) -> AsyncIterator[Bench]:
    with several_hosts.entered():
        bench = Bench(several_hosts.hosts[0], image_id, agent_pair)
        try:
            await bench.open()
            yield bench
        finally:
            await bench.close()
