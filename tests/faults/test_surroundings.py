"""The machine and the user in the way: full disks, taken addresses, commands that cross each other, odd settings."""

import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Iterator

import pytest
import redis

from tests.everup_cli import Everup
from tests.faults.conftest import HA, fill, on_a_small_disk
from tests.faults.steady import Steady
from tests.faults.truth import REPEAT, SYNCED_S, Truth, marked, note, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


def spec(words: str) -> str:
    return f"environment: shop\nservices:\n  redis01: {{kind: redis, {words}}}\n"


@pytest.fixture
def small_disk() -> Iterator[Everup]:
    """An `EVERUP_HOME` on a file system of 40 MB."""
    with on_a_small_disk(HA, "40m") as everup:
        yield everup


def test_a_full_disk_is_told_and_survived(small_disk: Everup):
    small_disk("up")
    truth = Truth(small_disk, "redis01")
    truth.whole()
    with truth.by_url() as client:
        client.mset({f"key:{n}": n for n in range(200)})
    time.sleep(SYNCED_S)
    ballast = fill(small_disk)
    victim = next(node for node in truth.part("data") if node["id"] != small_disk.primary("redis01")["id"])
    small_disk.kill(victim)
    small_disk.kill(small_disk.primary("redis01"))
    said = until(
        lambda: [w for node in small_disk.nodes("redis01").values() if "No space left" in (w := node["failure"])], 10
    )
    assert said
    answer = small_disk("up", "--timeout", "5s", codes=(0, 1))
    assert "Traceback" not in answer.stdout + answer.stderr
    ballast.unlink()
    note("full disk: whole again once there is room", truth.whole(40))
    with truth.by_url() as client:
        assert client.dbsize() >= 200
        client.set("after", "1")
    os.kill(small_disk.control_plane(), signal.SIGKILL)
    small_disk("up")
    truth.whole()


def test_two_ups_at_once():
    with Everup(HA) as everup:
        for _ in range(2):
            both = [everup.start("up") for _ in range(2)]
            for process in both:
                out, err = process.communicate(timeout=240)
                assert process.returncode == 0, out + err
            Truth(everup, "redis01").whole()


def test_up_while_down_runs():
    with Everup(HA) as everup:
        for turn in range(REPEAT):
            everup("up")
            destroy = ["--destroy"] if turn % 2 else []
            down = everup.start("down", "--yes", *destroy)
            time.sleep(random.uniform(0.3, 1.0))
            everup("up")
            _, err = down.communicate(timeout=240)
            assert "Traceback" not in err
            until(lambda: everup.status()["health"] == "healthy", 10)
            Truth(everup, "redis01").whole()


def test_a_question_asked_meanwhile_does_not_end_the_control_plane_of_up():
    with Everup(spec("")) as everup:
        everup("up")
        for _ in range(REPEAT):
            everup("down", "--yes")
            up = everup.start("up")
            while up.poll() is None:
                everup("status", codes=(0, 3))
            _, err = up.communicate()
            assert up.returncode == 0, err


def test_an_interrupted_up_leaves_a_consistent_state():
    with Everup(HA) as everup:
        for _ in range(REPEAT):
            process = everup.start("up")
            time.sleep(random.uniform(0.4, 1.4))  # before that, it is Python's own start that is interrupted
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=240)
            assert "Traceback" not in out + err, out + err
            everup("up")
            Truth(everup, "redis01").whole()
            assert everup.json("up")["changes"] == []
            everup("down", "--destroy", "--yes")
            assert not marked(everup)


def test_an_address_in_use_is_named():
    with Everup(HA) as everup:
        everup("up")
        truth = Truth(everup, "redis01")
        node = truth.nodes["redis01-2"]
        everup("down", "--yes")
        with socket.create_server((node["address"], node["port"])):
            answer = everup("up", "--timeout", "20s", codes=(1,))
            assert f"{node['address']}:{node['port']}" in answer.stderr
            assert f"process {os.getpid()}" in answer.stderr
        truth.whole()


def test_two_environments_and_two_homes_side_by_side():
    with Everup(HA) as one, Everup(HA) as other:
        one("up")
        other("up")
        second = one.folder / "second.yaml"
        second.write_text(HA.replace("shop", "depot"))
        one("-f", str(second), "up")
        urls = {
            one.json("-e", "shop", "env", "redis01")["REDIS_URL"],
            one.json("-e", "depot", "env", "redis01")["REDIS_URL"],
            other.variables("redis01")["REDIS_URL"],
        }
        assert len(urls) == 3
        for url in urls:
            with redis.Redis.from_url(url, socket_timeout=2) as client:
                assert client.set("mine", url)
        for url in urls:
            with redis.Redis.from_url(url, socket_timeout=2, decode_responses=True) as client:
                assert client.get("mine") == url
        one("-e", "depot", "down", "--destroy", "--yes")
        assert one.json("-e", "shop", "status")["health"] == "healthy"
        assert other.status()["health"] == "healthy"


def survives_a_kill(everup: Everup, name: str) -> Truth:
    truth = Truth(everup, "redis01")
    truth.whole()
    with Steady.by_sentinels(truth, "writes") as writer, Steady.by_url(truth, "by-url") as plain:
        writer.wait(50)
        plain.wait(50)
        old = everup.primary("redis01")
        killed_s = everup.kill(old)
        for one in (writer, plain):
            one.wait(50, after_s=killed_s + 0.2)
        truth.whole()
    assert everup.primary("redis01")["id"] != old["id"]
    for one in (writer, plain):
        note(f"crash with {name}: no write", one.gap_s(killed_s))
        assert one.gap_s(killed_s) < 30
        assert len(one.lost(truth)) <= 3
    return truth


def test_ports_instead_of_addresses():
    with Everup(HA, environ={"EVERUP_LOOPBACK": "ports"}) as everup:
        everup("up")
        truth = survives_a_kill(everup, "ports on 127.0.0.1")
        assert {node["address"] for node in truth.nodes.values()} == {"127.0.0.1"}


def test_a_password():
    with Everup(spec("ha: true, auth: true")) as everup:
        everup("up")
        truth = survives_a_kill(everup, "a password")
        password = truth.variables["REDIS_PASSWORD"]
        assert f":{password}@" in truth.variables["REDIS_URL"]
        for node in (*truth.part("data"), *truth.part("voter")):
            for wrong in (None, "wrong"):
                client = redis.Redis(node["address"], node["port"], password=wrong, socket_timeout=60, retry=None)
                with client, pytest.raises(redis.AuthenticationError):
                    client.ping()
        out = everup("status", "--nodes").stdout + everup("events", "--json").stdout
        assert password not in out


def test_safe_durability_refuses_writes_that_no_replica_confirms():
    with Everup(spec("ha: true, durability: safe")) as everup:
        everup("up")
        truth = survives_a_kill(everup, "durability: safe")
        with truth.by_url() as client:
            client.set("before", "1")
            replicas = [one for one in truth.part("data") if one["id"] != everup.primary("redis01")["id"]]
            for one in replicas:
                os.kill(one["pid"], signal.SIGSTOP)
            refused = until(lambda: _refusal(client), 5)
            assert "NOREPLICAS" in refused
            truth.whole()
            assert client.set("after", "1")


def _refusal(client: "redis.Redis") -> str:
    try:
        client.set("during", "1")
    except redis.ResponseError as error:
        return str(error)
    return ""


REAL = shutil.which("redis-server")

if REAL:

    def test_a_real_redis():
        with Everup(f"programs: {{redis-server: {REAL}}}\n{HA}") as everup:
            everup("up")
            survives_a_kill(everup, "redis-server")
