"""A host's own kernel cuts it off from others, and lets go by itself: tried on a network that only this test has."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from everup.engines.swarm.seclusion import _plain, clear_away
from everup.engines.swarm.sight import LONGEST_S

PATIENCE_S = 60.0

ROOT = Path(__file__).parent.parent.parent

# Two networks, joined by a pair of interfaces; the other side answers on port 7777, over both protocols.
SCRIPT = """\
set -e
ip link set lo up
unshare --net sleep 600 & other=$!
trap 'kill $other $answering' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link add here type veth peer name there
ip link set there netns $other
there() { nsenter --net=/proc/$other/ns/net "$@"; }
ip address add 10.9.9.1/24 dev here; ip address add fd00:9::1/64 dev here nodad; ip link set here up
there ip address add 10.9.9.2/24 dev there; there ip address add fd00:9::2/64 dev there nodad
there ip link set there up
nsenter --net=/proc/$other/ns/net "$PYTHON" -m http.server 7777 --bind :: >/dev/null 2>&1 & answering=$!
"$PYTHON" -c "$STEPS"
"""

STEPS = """\
import asyncio, os, socket, time, uvloop
from everup.engines.swarm.cut import cut_off, let_go
from everup.model.errors import EngineError

def reached(address, within_s=0.5):
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        try:
            socket.create_connection((address, 7777), timeout=0.5).close()
            return True
        except OSError:
            time.sleep(0.05)
    return False

V4, V6 = "10.9.9.2", "fd00:9::2"
assert reached(V4, 60) and reached(V6, 60), "before"
cut_off([], 60)
assert reached(V4) and reached(V6), "nobody is cut off yet"
cut_off([V4, V6], 600)
assert not reached(V4) and not reached(V6), "cut off"
cut_off([V6], 600)
assert reached(V4) and not reached(V6), "a later cut replaces the one before"
let_go()
let_go()
assert reached(V4) and reached(V6), "let go"
uvloop.install()  # as in the agent
begun_s = time.monotonic()
if os.fork() == 0:  # whoever asked for it is dead while it lasts
    asyncio.run(asyncio.to_thread(cut_off, [V4], 2))
    os._exit(0)
assert os.wait()[1] == 0
assert not reached(V4) or time.monotonic() - begun_s > 2, "cut off by one who is dead"
assert reached(V4, 60), "the kernel let go by itself"
os.setgid(65534)
os.setuid(65534)
try:
    cut_off([V4], 2)
except EngineError as error:
    assert error.code == "engine.no_cut" and "CAP_NET_ADMIN" in error.hint
else:
    raise AssertionError("nobody may do this")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="needs root on Linux")
def test_a_cut_holds_both_ways_and_ends_by_itself():
    environ = {**os.environ, "PYTHON": sys.executable, "STEPS": STEPS, "PYTHONPATH": str(ROOT)}
    words = ["unshare", "--net", "--mount", "bash", "-c", SCRIPT]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("written", "plain"),
    [("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("fe80::1%eth0", "fe80::1"), ("fd00::1", "fd00::1")],
)
def test_an_address_is_compared_as_its_own_protocol_writes_it(written: str, plain: str):
    assert _plain(written) == plain


@pytest.mark.parametrize("ends_in_s", [-1e9, -100.0, 0.05])
def test_an_agent_takes_away_what_a_cut_of_the_one_before_has_left(tmp_path: Path, ends_in_s: float):
    cleared = threading.Event()
    (tmp_path / "cut").write_text(f"{time.time() + ends_in_s}")
    timer = clear_away(tmp_path, cleared.set)
    assert timer is not None
    assert cleared.wait(PATIENCE_S)
    timer.join(PATIENCE_S)
    assert list(tmp_path.iterdir()) == []


def test_where_nobody_was_cut_off_there_is_nothing_to_take_away(tmp_path: Path):
    assert clear_away(tmp_path) is None


def test_a_later_cut_is_not_ended_for_an_earlier_one(tmp_path: Path):
    ended: list[int] = []
    (tmp_path / "cut").write_text(f"{time.time() + 500}")
    timer = clear_away(tmp_path, lambda: ended.append(1))
    assert timer is not None
    timer.cancel()
    (tmp_path / "cut").write_text(f"{time.time() + 1000}")
    timer.function()
    assert ended == []
    assert (tmp_path / "cut").exists()


def test_a_note_that_cannot_be_read_is_waited_for_as_long_as_any_cut_lasts(tmp_path: Path):
    (tmp_path / "cut").write_text("soon")
    timer = clear_away(tmp_path)
    assert timer is not None
    timer.cancel()
    assert timer.interval > LONGEST_S
