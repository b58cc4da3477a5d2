"""A control plane is killed while it writes, or its disk is full: the store opens, and nothing acknowledged is gone."""

import subprocess
import sys
from pathlib import Path

KILLS = 20


def test_nothing_acknowledged_is_missing_after_kills_and_full_disks(tmp_path: Path):
    program = [sys.executable, "-m", "tests.runtime.killed_writers", str(tmp_path / "everup.sqlite"), str(KILLS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=500, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= KILLS  # each of them acknowledged something first
