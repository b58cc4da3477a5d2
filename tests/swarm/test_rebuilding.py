"""A host of four does not come back: its members are rebuilt on another one. Then it does, with all that it had."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from redis import Redis, RedisError
from redis.sentinel import Sentinel

from tests.everup_cli import Everup
from tests.swarm.host import Host, until
from tests.swarm.image import TAG, everup_image
from tests.swarm.rig import Rig, missing

SPEC = """\
environment: shop
engine: swarm
services:
  redis01: {kind: redis, ha: true, replace_after: 5s}
  db01: {kind: postgres, ha: true, replace_after: 5s}
"""
PATIENCE_S = 300.0
Json = dict[str, Any]


@pytest.fixture(scope="module")
def four() -> Iterator[Rig]:
    """Four hosts of their own: who waits for a lost one needs a place elsewhere."""
    if reason := missing():
        pytest.skip(reason)
    with Rig(hosts=4, brisk=True) as rig:
        yield rig


@pytest.fixture
def everup(four: Rig) -> Iterator[Everup]:
    """The environment, up; the command and its control plane run on the fourth host."""
    here, image_id = four.hosts[3], four.load(everup_image(), TAG)
    environ = {"DOCKER_HOST": f"unix://{here.socket}", "EVERUP_IMAGE": image_id}
    with here.entered(), Everup(SPEC, environ=environ, down=False) as everup:
        everup("up", timeout_s=PATIENCE_S)
        yield everup


def members(everup: Everup) -> dict[str, Json]:
    """All that has a host of its own, the members of etcd included."""
    services = [one["label"] for one in everup.status()["services"]]
    nodes = [node for label in services for node in everup.nodes(label).values()]
    return {node["id"]: node for node in nodes if node["part"] != "endpoint"}


def homes(everup: Everup) -> dict[str, str]:
    return {node_id: node["host"] for node_id, node in members(everup).items()}


def volumes(host: Host, label: str) -> dict[str, str]:
    """Name of each volume there with that label -> its value."""
    found = host.docker.get("/volumes").raise_for_status().json()["Volumes"] or []
    return {one["Name"]: one["Labels"][label] for one in found if label in (one["Labels"] or {})}


def told_of(everup: Everup) -> list[str]:
    """The volumes of which events say that something is kept there."""
    said = map(json.loads, everup("events", "--json", "--lines", "500").stdout.splitlines())
    return [one["fields"]["volume"] for one in said if one["name"] == "node.kept"]


def written(to: Redis, key: str, value: str) -> bool:
    try:
        return bool(to.set(key, value))
    except RedisError:
        return False


def known_to(everup: Everup) -> list[tuple[int, int]]:
    """For each Sentinel, how many replicas and how many other Sentinels it knows of."""
    listed = everup.variables("redis01")["REDIS_SENTINEL_LIST"].split(",")
    addresses = [(host, int(port)) for host, _, port in (text.rpartition(":") for text in listed)]
    asked = Sentinel(addresses, socket_timeout=5).sentinels
    return [(len(one.sentinel_slaves("redis01")), len(one.sentinel_sentinels("redis01"))) for one in asked]


def test_members_of_a_host_that_does_not_come_back_are_rebuilt_and_what_it_had_is_set_aside(
    everup: Everup, four: Rig, record_property: Callable[[str, object], None]
):
    variables = {**everup.variables("redis01"), **everup.variables("db01")}
    plain = Redis.from_url(variables["REDIS_URL"], socket_timeout=5)
    plain.set("before", "1")
    with psycopg.connect(variables["DATABASE_URL"], autocommit=True) as session:
        session.execute("CREATE TABLE kept AS SELECT 1 AS n")
    before = homes(everup)
    able = [one for one in four.hosts[:3] if one.name in before.values() and one is not four.leader()]
    lost = min(able, key=lambda one: one.name != everup.primary("redis01")["host"])  # the primary's, where that may be
    moving = {node_id for node_id, name in before.items() if name == lost.name}
    assert moving

    lost.kill()
    killed_s = time.monotonic()
    until(lambda: lost.name not in homes(everup).values(), f"{sorted(moving)} are elsewhere", PATIENCE_S)
    everup.wait_healthy(PATIENCE_S)
    record_property("whole_again_s", time.monotonic() - killed_s)
    after = homes(everup)
    assert {node_id for node_id in after if after[node_id] != before[node_id]} == moving
    for group in ("redis01-sentinel-", "everup-etcd-"):
        assert len({name for node_id, name in after.items() if node_id.startswith(group)}) == 3
    assert len({after[f"db01-{n}"] for n in (1, 2, 3)}) == len({after[f"redis01-{n}"] for n in (1, 2, 3)}) == 3
    until(lambda: known_to(everup) == [(2, 2)] * 3, "no Sentinel remembers where they were", PATIENCE_S)
    until(lambda: written(plain, "after", "2"), "a write", PATIENCE_S)
    assert plain.get("before") == b"1"
    assert everup.json("plan")["changes"] == []

    lost.start()
    until(
        lambda: moving.isdisjoint(volumes(lost, "everup.node").values()), "nothing of theirs is left there", PATIENCE_S
    )
    kept = volumes(lost, "everup.aside")
    assert len(kept) == len({node_id for node_id in moving if node_id.rpartition("-")[0] in ("redis01", "db01")})
    until(lambda: kept.keys() <= set(told_of(everup)), "it is told what is kept", PATIENCE_S)
    everup.wait_healthy(PATIENCE_S)
    assert homes(everup) == after
    until(lambda: known_to(everup) == [(2, 2)] * 3, "nobody has come back to the Sentinels", PATIENCE_S)
    with psycopg.connect(everup.variables("db01")["DATABASE_URL"], autocommit=True) as session:
        assert session.execute("SELECT n FROM kept").fetchone() == (1,)
