"""Faults with real processes: every test here is marked, and what was measured is printed at the end."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.everup_cli import Everup
from tests.faults.truth import FIGURES, Truth, table

HA = """\
environment: shop
services:
  redis01: {kind: redis, ha: true}
"""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes that share the tests hands over what it measured."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = dict(FIGURES)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for name, values in getattr(node, "workeroutput", {}).get("figures", {}).items():
        FIGURES[name] += values


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
