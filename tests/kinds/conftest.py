"""What tests of kinds share: a place for real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kinds.real import Processes, processes


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as started:
        yield started
