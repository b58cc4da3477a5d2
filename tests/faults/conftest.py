"""Faults with real processes: every test here is marked, and what was measured is printed at the end."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
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


@contextlib.contextmanager
def on_a_small_disk(spec: str, size: str) -> Iterator[Everup]:
    """An `EVERUP_HOME` on a file system of that size; skips where nobody may mount one."""
    everup = Everup(spec)
    place = everup.home / "state"
    place.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        shutil.rmtree(everup.home)
        pytest.skip(f"only root may mount a small file system: {mounted.stderr.strip()}")
    try:
        yield everup
    finally:
        everup.close()
        subprocess.run(["umount", "-l", place], check=True)
        shutil.rmtree(everup.home)


def fill(everup: Everup) -> Path:
    """Leave no room on the file system of its home; deleting what is returned brings it back."""
    ballast = everup.home / "state" / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
    return ballast


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
