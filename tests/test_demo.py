"""The demo is the first thing that a newcomer runs: it must end well, and leave nothing behind when it is cut short."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.faults


@pytest.fixture
def demo(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """The demo, running, with a temporary folder of its own by which its processes can be found."""
    environ = {**os.environ, "TMPDIR": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield process
    for pid in (process.pid, *left_behind(tmp_path)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.communicate()


def left_behind(folder: Path) -> dict[int, str]:
    """Live processes with `folder` in their environment or as part of their working directory: pid -> command line."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = ((process / "environ").read_bytes(), bytes((process / "cwd").readlink()))
            if any(str(folder).encode() in text for text in told):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def test_the_demo_ends_well_and_cleans_up(demo: "subprocess.Popen[str]", tmp_path: Path):
    out, _ = demo.communicate(timeout=400)
    assert demo.returncode == 0, out
    for promise in ("acknowledged orders lost", "HTTP requests failed"):
        assert re.search(rf"{promise} +0 of \d", out), out
    assert left_behind(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_takes_everything_down(demo: "subprocess.Popen[str]", tmp_path: Path):
    assert demo.stdout is not None
    seen = ""
    for line in demo.stdout:
        seen += line
        if "db01-1 is ready" in line:  # in the middle of things: standbys and web instances are being started
            break
    os.killpg(demo.pid, signal.SIGINT)
    out, _ = demo.communicate(timeout=400)
    assert demo.returncode == 130, seen + out
    assert left_behind(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
