"""The seed's promise, end to end: each of its client examples writes, loses the primary, and goes on writing."""

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.everup_cli import Everup
from tests.journal import acknowledged, lost
from tests.writers import CLIENTS, Writer, missing

SPEC = """\
environment: seed
services:
  {label}: {{kind: redis, ha: true}}
"""
ASYNC_REPLICATION = 3  # acknowledged in the last moment before a kill: what `docs/why` says can be lost without WAIT

Group = tuple[Everup, str]


@pytest.fixture(scope="module", params=["redis01", "redis_01"])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """A running Redis HA service under one of the labels that the seed uses."""
    with Everup(SPEC.format(label=request.param)) as everup:
        everup("up")
        yield everup, request.param


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    """The name of a client example; skipped where its program is missing."""
    if lack := missing(CLIENTS[request.param]):
        pytest.skip(f"{request.param}: {lack}")
    name: str = request.param
    return name


@pytest.mark.faults
def test_the_variables_are_in_the_seeds_format(group: Group):
    everup, label = group
    variables = everup.variables(label)
    entries = variables["REDIS_SENTINEL_LIST"].split(",")
    assert len(entries) == 3
    assert all(entry.endswith(":26379") and entry.count(":") == 1 and " " not in entry for entry in entries)
    assert len(set(entries)) == 3
    assert variables["REDIS_SENTINEL_URL"] == f"redis-sentinel://{entries[0]}"
    assert variables["REDIS_SENTINEL_MASTER"] == label


@pytest.mark.faults
@pytest.mark.system
def test_a_client_example_goes_on_writing_after_the_primary_is_killed(group: Group, client: str, tmp_path):
    everup, label = group
    everup.wait_healthy()
    variables = everup.variables(label)
    with Writer.of(CLIENTS[client], variables, tmp_path) as writer:
        writer.wait_for_acks(50)
        before = everup.primary(label)
        killed_s = everup.kill(before)
        writer.wait_for_acks(50, after_s=killed_s + 0.5, timeout_s=120)
        everup.wait_healthy()
        writes = writer.stop()
    assert everup.primary(label)["id"] != before["id"]
    with Redis.from_url(variables["REDIS_URL"], socket_timeout=5) as plain:
        survivors = {int(number) for number in plain.smembers(writer.key)}
    last_moment = [write.n for write in acknowledged(writes) if write.ended_s <= killed_s + 0.05][-ASYNC_REPLICATION:]
    assert set(lost(writes, survivors)) <= set(last_moment)
