"""One spec file, `engine:` aside, on one machine and on three hosts: the same journey on both."""

import json
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from redis import Redis

from everup.model.observed import EVERYWHERE
from tests.everup_cli import Everup
from tests.http_load import HttpLoad
from tests.journal import longest_gap_s, lost
from tests.repeated import Repeated
from tests.sql_writers import SqlWriters
from tests.swarm.contained import contained
from tests.swarm.host import until
from tests.swarm.releases import release
from tests.swarm.rig import Rig, missing
from tests.writers import CLIENTS, Writer
from tests.writers import missing as missing_client

SERVER = """\
import http.server, json, os, signal, threading

class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        text = json.dumps(dict(os.environ)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *words):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    def handle_error(self, *words):
        pass

server = Server((os.environ["HOST"], int(os.environ["PORT"])), Page)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("hello")
server.serve_forever()
print("goodbye")
"""
"""An app that shows the variables it was given."""

BEATS = """\
import os, redis, time
client = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=2)
while True:
    try:
        client.incr("beats")
    except redis.RedisError:
        pass
    time.sleep(0.1)
"""
"""A worker that counts."""

SPEC = """\
environment: shop
engine: {engine}
services:
  redis01: {{kind: redis, ha: true}}
  db01: {{kind: postgres, ha: true}}
  web:
    kind: app
    image: {image}
    run: {server}
    env: {{ROUND: "{number}"}}
    health: /
    scale: 3
    limit: 4
    needs: [redis01, db01]
  beats: {{kind: worker, image: {image}, run: {beats}, needs: [redis01]}}
"""

Json = dict[str, Any]


def spec(engine: str, image: str = "shop:1", number: int = 1) -> str:
    """The spec file with that image of the user's, of which an engine without containers makes nothing."""
    server, beats = (json.dumps(f"python -c {shlex.quote(text)}") for text in (SERVER, BEATS))
    return SPEC.format(engine=engine, image=image, number=number, server=server, beats=beats)


@dataclass
class Ground:
    """Where the environment runs: its command, and how a node of it is killed behind everybody's back.

    `releases` are the IDs of the user's images, by tag.
    """

    everup: Everup
    kill: Callable[[Json], None]
    rig: Rig | None = None
    releases: Mapping[str, str] = field(default_factory=dict)

    def declare(self, image: str, number: int) -> None:
        """Write another release into the spec file."""
        self.everup.write_spec(spec("swarm" if self.rig else "local", image, number))

    def page(self) -> dict[str, str]:
        """The variables of the instance that answers next."""
        with urlopen(self.everup.variables("web")["WEB_URL"], timeout=60) as answer:
            found: dict[str, str] = json.loads(answer.read())
        return found

    def writer(self, name: str, folder: Path) -> Writer:
        """One of the seed's examples, which writes; in a container where there are some."""
        variables = self.everup.variables("redis01")
        if self.rig:
            return contained(CLIENTS[name], variables, self.rig.hosts[2], self.releases["shop:1"], folder)
        return Writer.of(CLIENTS[name], variables, folder)


@pytest.fixture(scope="module", params=["local", pytest.param("swarm", marks=pytest.mark.swarm)])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """The environment, up; with Swarm the command runs on the third host."""
    with ExitStack() as stack:
        if request.param == "local":
            everup = stack.enter_context(Everup(spec("local")))
            ground = Ground(everup, everup.kill)
        else:
            ground = on_hosts(request, stack)
        ground.everup("up", timeout_s=300)
        yield ground


def on_hosts(request: pytest.FixtureRequest, stack: ExitStack) -> Ground:
    if lack := missing():
        pytest.skip(lack)
    rig: Rig = request.getfixturevalue("rig")
    here, image_id = rig.hosts[2], request.getfixturevalue("image_id")
    releases = {f"shop:{number}": release(rig.hosts, image_id, f"shop:{number}", number) for number in (1, 2)}
    environ = {"DOCKER_HOST": f"unix://{here.socket}", "EVERUP_IMAGE": image_id}
    stack.enter_context(here.entered())
    everup = stack.enter_context(Everup(spec("swarm"), environ=environ))

    def kill(node: Json) -> None:
        host = next(one for one in rig.hosts if one.name == node["host"])
        (container,) = host.containers(f"shop_{node['id']}.")
        host.kill_container(container["Id"])

    return Ground(everup, kill, rig, releases)


def test_a_second_up_changes_nothing(ground: Ground):
    assert ground.everup.json("plan")["changes"] == []
    before = pids(ground.everup)
    ground.everup("up")
    assert pids(ground.everup) == before


def test_members_of_a_group_are_on_hosts_of_their_own(ground: Ground):
    nodes = ground.everup.nodes("redis01")
    for name in ("redis01-{}", "redis01-sentinel-{}"):
        hosts = {nodes[name.format(number)]["host"] for number in (1, 2, 3)}
        assert len(hosts) == (3 if ground.rig else 1)


@pytest.mark.parametrize("name", ["redis-py", "ioredis"])
def test_a_client_example_goes_on_writing_after_the_primary_is_killed(ground: Ground, name: str, tmp_path: Path):
    if lack := missing_client(CLIENTS[name]):
        pytest.skip(f"{name}: {lack}")
    everup = ground.everup
    everup.wait_healthy()
    with ground.writer(name, tmp_path) as writer:
        writer.wait_for_acks(50)
        before, killed_s = everup.primary("redis01"), time.monotonic()
        ground.kill(before)
        writer.wait_for_acks(50, after_s=killed_s + 0.5, timeout_s=120)
        everup.wait_healthy()
    assert everup.primary("redis01")["id"] != before["id"]


def test_the_endpoint_follows_the_primary(ground: Ground, record_property: Callable[[str, object], None]):
    everup = ground.everup
    everup.wait_healthy()
    plain = Redis.from_url(everup.variables("redis01")["REDIS_URL"], socket_timeout=2)
    with Repeated(lambda n: plain.set(f"n{n}", n)) as client:
        client.wait(50)
        before, killed_s = everup.primary("redis01"), time.monotonic()
        ground.kill(before)
        client.wait(50, after_s=killed_s + 0.5)
    record_property("no_write_s", client.gap_s(killed_s))
    everup.wait_healthy()
    assert everup.primary("redis01")["id"] != before["id"]


def test_postgres_goes_on_without_its_primary_and_nothing_acknowledged_is_lost(
    ground: Ground, record_property: Callable[[str, object], None]
):
    everup = ground.everup
    everup.wait_healthy()
    before = everup.primary("db01")
    with SqlWriters(everup.variables("web")["DATABASE_URL"], pause_s=0.005) as writers:
        writers.wait_for(50)
        killed_s = time.monotonic()
        ground.kill(before)
        writers.wait_for(1)  # perhaps one that was under way
        writers.wait_for(50)
    record_property("no_commit_s", longest_gap_s(writers.writes, killed_s))
    everup.wait_healthy()
    assert everup.primary("db01")["id"] != before["id"]
    assert lost(writers.writes, writers.survivors()) == []


def test_an_app_gets_its_variables(ground: Ground):
    given, page = ground.everup.variables("web"), ground.page()
    names = ("REDIS_URL", "REDIS_SENTINEL_LIST", "REDIS_SENTINEL_MASTER", "DATABASE_URL", "ROUND")
    assert {name: page[name] for name in names} == {name: given[name] for name in names}
    addresses = [(node["address"], str(node["port"])) for node in ground.everup.nodes("web").values()]
    assert (page["HOST"], page["PORT"]) in addresses
    assert page.get("RELEASE") == ("1" if ground.rig else None)


def test_what_has_an_image_runs_from_just_that_image_and_its_words_can_be_read(ground: Ground):
    everup = ground.everup
    everup.wait_healthy()
    assert "hello" in everup("logs", "web").stdout
    for host in ground.rig.hosts if ground.rig else ():
        for name in ("shop_web-", "shop_beats-"):
            found = [one for one in host.containers(name) if "endpoint" not in one["Names"][0]]
            assert {one["ImageID"] for one in found} <= {ground.releases["shop:1"]}


def test_a_killed_worker_goes_on(ground: Ground):
    everup = ground.everup
    everup.wait_healthy()
    client = Redis.from_url(everup.variables("redis01")["REDIS_URL"], socket_timeout=2, decode_responses=True)
    before = everup.nodes("beats")["beats-1"]
    ground.kill(before)
    until(lambda: everup.nodes("beats")["beats-1"]["restarts"] == before["restarts"] + 1, "it was started again")
    count = int(client.get("beats") or 0)
    until(lambda: int(client.get("beats") or 0) > count + 5, "it counts")


def test_a_killed_instance_of_an_app_costs_no_request(ground: Ground):
    everup = ground.everup
    everup.wait_healthy()
    with HttpLoad(everup.variables("web")["WEB_URL"]) as load:
        while len(load.requests()) < 50:
            time.sleep(0.02)
        ground.kill(everup.nodes("web")["web-2"])
        count = len(load.requests())
        while len(load.requests()) < count + 200:
            time.sleep(0.02)
        everup.wait_healthy()
    assert [one.error for one in load.requests() if one.error] == []


def test_an_app_is_scaled_within_its_limit(ground: Ground):
    everup = ground.everup
    everup("scale", "web", "4")
    everup.wait_healthy()
    assert len([one for one in everup.nodes("web").values() if one["health"] == "ready"]) == 5
    everup("scale", "web", "5", codes=(1,))
    everup("scale", "web", "3")
    everup.wait_healthy()


def test_a_deploy_and_a_rollback_of_another_release_cost_no_request(ground: Ground):
    everup = ground.everup
    everup.wait_healthy()
    with HttpLoad(everup.variables("web")["WEB_URL"]) as load:
        ground.declare("shop:2", 2)
        everup("deploy", "web")
        pages = [ground.page() for _ in range(6)]
        assert {one["ROUND"] for one in pages} == {"2"}
        assert {one.get("RELEASE") for one in pages} == {"2" if ground.rig else None}
        ground.declare("shop:1", 1)
        assert "shop:1" in everup("rollback", "web").stdout
        assert {one.get("RELEASE") for one in [ground.page() for _ in range(6)]} == {"1" if ground.rig else None}
    assert [one.error for one in load.requests() if one.error] == []


@pytest.mark.parametrize("ground", [pytest.param("swarm", marks=pytest.mark.swarm)], indirect=True)
def test_an_image_that_is_nowhere_is_named_and_the_former_release_stays(ground: Ground):
    everup = ground.everup
    everup.wait_healthy()
    with HttpLoad(everup.variables("web")["WEB_URL"]) as load:
        ground.declare("nowhere:9", 1)
        said = everup("deploy", "web", codes=(1,)).stderr
        everup.wait_healthy()
    ground.declare("shop:1", 1)
    assert "there is no image nowhere:9" in said
    assert [one.error for one in load.requests() if one.error] == []
    assert {one["RELEASE"] for one in [ground.page() for _ in range(3)]} == {"1"}


def test_doctor_looks_at_docker_where_the_environment_is_of_a_swarm(ground: Ground):
    ground.everup.wait_healthy()
    found = {check["name"]: check for check in ground.everup.json("doctor")["checks"]}
    if ground.rig is None:
        assert "docker" not in found
        return
    looked = ("docker", "image of everup", "swarm", "agents", "ports of nodes")
    assert {name: found[name]["ok"] for name in looked} == dict.fromkeys(looked, True), found
    assert "3 hosts, 3 of them managers" in found["swarm"]["found"]


def test_a_control_plane_that_is_killed_finds_everything_again(ground: Ground):
    everup = ground.everup
    everup.wait_healthy()
    before = pids(everup)
    os.kill(everup.control_plane(), signal.SIGKILL)
    everup.wait_healthy()
    assert pids(everup) == before


def pids(everup: Everup) -> dict[str, int]:
    """Of each node, but for those of which every host has a copy: which of their processes is named, is not settled."""
    nodes = [node for service in everup.status()["services"] for node in service["nodes"]]
    return {node["id"]: node["pid"] for node in nodes if node["host"] != EVERYWHERE}
