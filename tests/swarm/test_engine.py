"""The Swarm engine keeps the contract of all engines, and some promises of its own."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from engines.test_contract import *  # noqa: F403  (the whole suite, over the world below)

from tests.swarm.rig import Rig
from tests.swarm.world import SwarmWorld, fleet_of

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one control plane; the agents know it by the pair in there."""
    return tmp_path_factory.mktemp("control-plane")


@pytest.fixture
async def world(rig: Rig, image_id: str, home: Path) -> AsyncIterator[SwarmWorld]:
    """An environment of its own for each test; whatever runs is gone afterwards."""
    with rig.entered():
        environment = f"shop{next(_NUMBERS)}"
        world = SwarmWorld(environment, rig, fleet_of(rig, image_id, home / "swarm"), home / environment)
        try:
            yield world
        finally:
            await world.close()
