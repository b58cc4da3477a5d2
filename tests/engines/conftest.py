from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.engines.worlds import LocalWorld, MemoryWorld, World


@pytest.fixture(params=["memory", "local"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Each engine in turn; whatever runs is gone afterwards."""
    world = MemoryWorld() if request.param == "memory" else LocalWorld(tmp_path / "shop")
    try:
        yield world
    finally:
        await world.close()


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalWorld]:
    """Real processes only."""
    world = LocalWorld(tmp_path / "shop")
    try:
        yield world
    finally:
        await world.close()
