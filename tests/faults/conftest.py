"""Faults with real processes: every test here is marked, and what was measured is printed at the end."""

from collections.abc import Iterator

import pytest

from tests.everup_cli import Everup
from tests.faults.truth import Truth, table

HA = """\
environment: shop
services:
  redis01: {kind: redis, ha: true}
"""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = list(table())
    if lines:
        terminalreporter.section("measured (seconds unless said)")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def shop() -> Iterator[Everup]:
    """A running Redis group that all tests of a module share; each must leave it whole."""
    with Everup(HA) as everup:
        everup("up")
        yield everup


@pytest.fixture
def group(shop: Everup) -> Truth:
    """The group of `shop`, whole."""
    truth = Truth(shop, "redis01")
    truth.whole()
    return truth
