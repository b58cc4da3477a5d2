"""One rig for all tests that need several hosts; xdist keeps them on one worker (see the conftest of all tests)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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
def rig() -> Iterator[Rig]:
    """Three hosts in zones a, b and c, one Swarm; whole at the beginning of each test."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with Rig(hosts=3, zones=("a", "b", "c")) as rig:
        yield rig


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
