"""The demo is the first thing that a newcomer runs: it must end well, and leave nothing behind when it is cut short."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.faults


def start_demo(folder: Path) -> "subprocess.Popen[str]":
    """Start the demo with a temporary folder of its own, by which its processes can be found."""
    environ = {**os.environ, "TMPDIR": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_behind(folder: Path) -> list[str]:
    """The command lines of live processes that have `folder` in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_the_demo_ends_well_and_cleans_up(tmp_path):
    with start_demo(tmp_path) as demo:
        out, _ = demo.communicate(timeout=110)
    assert demo.returncode == 0, out
    assert "HTTP requests failed               0 of" in out
    assert left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_takes_everything_down(tmp_path):
    with start_demo(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("kill -9"):
                break
        time.sleep(0.2)
        os.killpg(demo.pid, signal.SIGINT)
        out, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, out
    assert left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
