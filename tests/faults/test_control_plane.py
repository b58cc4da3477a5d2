"""The control plane dies at a random instant: nothing stops, runs twice or is orphaned, all is adopted."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.everup_cli import Everup
from tests.faults.conftest import HA
from tests.faults.steady import Steady
from tests.faults.truth import REPEAT, Truth, events, leaders, marked, note, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SERVER = """\
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Page).serve_forever()
"""
APP = """\
environment: shop
services:
  redis01: {kind: redis, ha: true}
  web: {kind: app, run: python web.py, scale: 2, limit: 6, needs: [redis01]}
"""


ABSENCES_S = [2.0, 0.0, 15.0, *(0.0, 2.0) * 4][:REPEAT]
"""How long the control plane stays away after it died half-way; 15 s is longer than the Sentinels' own patience."""

UNNAMED = 100
"""Writes through REDIS_URL that a promoted node may take between the end of its pause and the Sentinels' order to
follow the one that they chose: some 70 ms, once, and only if the control plane died between two round trips."""


@pytest.fixture
def app() -> Iterator[Everup]:
    """A Redis group and a web app, not up yet."""
    with Everup(APP) as everup:
        (everup.folder / "web.py").write_text(SERVER)
        yield everup


def lock_holder(everup: Everup) -> int:
    """The pid of the control plane, from its lock file; 0 while there is none."""
    file = Path(everup.environ["EVERUP_HOME"]) / "everup.lock"
    text = file.read_text().strip() if file.exists() else ""
    return int(text) if text and lives(int(text)) else 0


def lives(pid: int) -> bool:
    """It exists, and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill_control_plane(everup: Everup, after_s: float) -> bool:
    """SIGKILL it that long after now; False when there was none yet or any more."""
    time.sleep(after_s)
    pid = lock_holder(everup)
    if pid:
        os.kill(pid, signal.SIGKILL)
        until(lambda: not lives(pid), 5)
    return bool(pid)


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in err, err
    return out + err


def nothing_is_orphaned(everup: Everup) -> None:
    """Every process of a node belongs to a node that Everup knows and that runs."""
    body = everup.look()
    assert body
    known = {node["id"]: node["pid"] for service in body["services"] for node in service["nodes"]}
    known |= {node["id"]: node["pid"] for node in body["leaving"]}
    strays = [one for one in marked(everup) if not known.get(one.node)]
    assert not strays, (strays, known)
    assert leaders(everup) == {node_id: pid for node_id, pid in known.items() if pid}


def changes_nothing(everup: Everup) -> None:
    before = leaders(everup)
    answer = everup.json("up")
    assert answer["changes"] == []
    assert leaders(everup) == before


def test_killed_during_up(app: Everup):
    for _ in range(REPEAT):
        process = app.start("up")
        until(lambda: lock_holder(app), 10)
        killed = kill_control_plane(app, random.uniform(0.0, 1.2))
        survivors = leaders(app)
        finish(process)
        app("up")
        kept = {node_id: pid for node_id, pid in leaders(app).items() if node_id in survivors}
        assert not killed or kept == survivors
        nothing_is_orphaned(app)
        changes_nothing(app)
        app("down", "--destroy", "--yes")
        assert not marked(app)


def test_killed_during_scale(app: Everup):
    app("up")
    truth = Truth(app, "redis01")
    for turn in range(REPEAT):
        count = (5, 2)[turn % 2]
        before = leaders(app)
        process = app.start("scale", "web", str(count))
        kill_control_plane(app, random.uniform(0.25, 0.9))
        at_death = leaders(app)
        assert {n: pid for n, pid in before.items() if "redis01" in n} == {
            n: pid for n, pid in at_death.items() if "redis01" in n
        }
        finish(process)
        app("scale", "web", str(count))
        app.wait_healthy()
        after = leaders(app)
        assert sum(1 for node_id in after if node_id.startswith("web-") and "endpoint" not in node_id) == count
        assert all(after[node_id] == pid for node_id, pid in at_death.items() if node_id in after)
        nothing_is_orphaned(app)
    truth.whole()


def test_killed_during_down(app: Everup):
    for _ in range(REPEAT):
        app("up")
        with Truth(app, "redis01").by_url() as client:
            client.set("kept", "yes")
        process = app.start("down", "--yes")
        kill_control_plane(app, random.uniform(0.25, 1.2))
        finish(process)
        app("down", "--yes")
        assert not marked(app)
        app("up")
        with Truth(app, "redis01").by_url() as client:
            assert client.get("kept") in ("yes", b"yes")
        nothing_is_orphaned(app)
        changes_nothing(app)


def test_killed_during_destroy(app: Everup):
    for _ in range(REPEAT):
        app("up")
        with Truth(app, "redis01").by_url() as client:
            client.set("kept", "yes")
        process = app.start("down", "--destroy", "--yes")
        kill_control_plane(app, random.uniform(0.25, 1.6))
        finish(process)
        app("up")  # whatever was left: the environment comes up, with all of its data or with none of it
        truth = Truth(app, "redis01")
        truth.whole()
        with truth.by_url() as client:
            assert client.get("kept") in (None, "yes")
        nothing_is_orphaned(app)
        changes_nothing(app)


def test_killed_during_a_rolling_restart():
    with Everup(HA) as everup:
        everup("up")
        truth = Truth(everup, "redis01")
        for turn in range(REPEAT):
            truth.whole(60)
            before = leaders(everup)
            with Steady.by_sentinels(truth, f"rolling-{turn}") as writer:
                writer.wait(20)
                process = everup.start("restart", "redis01")
                kill_control_plane(everup, random.uniform(0.4, 2.0))
                finish(process)
                everup("status", codes=(0, 3))
                everup.wait_healthy(60)
                note("rolling restart, control plane killed: whole", truth.whole(60))
                writer.wait(20, after_s=time.monotonic())
            assert not writer.lost(truth)
            after = leaders(everup)
            moved = {node_id for node_id in before if before[node_id] != after[node_id]}
            data = {node["id"] for node in truth.part("data")}
            assert data <= moved or not data & moved, (before, after)


def test_killed_again_and_again_while_it_starts(app: Everup):
    app("up")
    before = leaders(app)
    for _ in range(REPEAT * 2):
        kill_control_plane(app, 0)
        process = app.start("status")
        kill_control_plane(app, random.uniform(0.2, 0.8))
        finish(process)
        assert leaders(app) == before
    app("status")
    changes_nothing(app)


@pytest.mark.parametrize("failpoint", ["failover.voted", "failover.promoted", "failover.published"])
def test_a_failover_that_was_begun_is_finished(failpoint: str):
    with Everup(HA) as everup:
        everup("up")
        truth = Truth(everup, "redis01")
        truth.whole()
        for turn, away_s in enumerate(ABSENCES_S):
            kill_control_plane(everup, 0)
            everup.environ["EVERUP_FAILPOINT"] = failpoint
            everup("status")
            del everup.environ["EVERUP_FAILPOINT"]
            doomed = lock_holder(everup)
            old = everup.primary("redis01")
            url = Steady.by_url(truth, f"{failpoint}-{turn}-url")
            with Steady.by_sentinels(truth, f"{failpoint}-{turn}") as writer, url:
                writer.wait(50)
                url.wait(50)
                killed_s = everup.kill(old)
                until(lambda doomed=doomed: lock_holder(everup) != doomed, 5, f"died at {failpoint}")
                time.sleep(away_s)
                back_s = time.monotonic()
                everup("status", codes=(0, 3))
                took_s = truth.whole(40)
                writer.wait(50, after_s=back_s)
                url.wait(50, after_s=back_s)
            note(f"{failpoint}, REDIS_URL: acknowledged writes lost (count)", len(url.lost(truth)))
            assert len(url.lost(truth)) <= (3 if away_s < 10 else UNNAMED)
            note(f"{failpoint}, back after {away_s:.0f} s: no write", writer.gap_s(killed_s))
            note(f"{failpoint}, back after {away_s:.0f} s: whole after the return", took_s)
            note(f"{failpoint}: acknowledged writes lost (count)", len(writer.lost(truth)))
            assert everup.primary("redis01")["id"] != old["id"]
            assert len(writer.lost(truth)) <= 3


def test_the_sentinels_fail_over_alone_and_everup_accepts_it():
    with Everup(HA) as everup:
        everup("up")
        truth = Truth(everup, "redis01")
        for turn in range(max(1, REPEAT // 2)):
            truth.whole(40)
            mark = events(everup)[-1]["seq"]
            old = everup.primary("redis01")
            kill_control_plane(everup, 0)
            url = Steady.by_url(truth, f"alone-{turn}-url")
            with Steady.by_sentinels(truth, f"alone-{turn}") as writer, url:
                writer.wait(50)
                url.wait(50)
                killed_s = everup.kill(old)
                writer.wait(50, after_s=killed_s + 1, within_s=120)
                url.wait(50, after_s=killed_s + 1)
                time.sleep(1)  # under their sole rule, before Everup is back
                everup("status", codes=(0, 3))
                note("Sentinels alone, then Everup: whole after its return", truth.whole(60))
            gap_s = writer.gap_s(killed_s)
            note("Sentinels alone: no write", gap_s)
            assert gap_s <= 40
            note("Sentinels alone, REDIS_URL: no write", url.gap_s(killed_s))
            assert len(url.lost(truth)) <= 3
            assert everup.primary("redis01")["id"] != old["id"]
            told = [event for event in events(everup, mark) if event["name"] in ("primary.changed", "node.stopped")]
            assert any(event["name"] == "primary.changed" for event in told)
            restarted = [event["node"] for event in told if event["name"] == "node.stopped"]
            assert all("sentinel" in node for node in restarted)
            assert len(restarted) == len(set(restarted))
            assert len(writer.lost(truth)) <= 3
