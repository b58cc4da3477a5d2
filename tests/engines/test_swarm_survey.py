"""What doctor says of a Docker that is not there, and of hosts that are too few; a real Swarm is in tests/swarm."""

import asyncio
from pathlib import Path

import pytest

from everup.engines.swarm.place import Place
from everup.engines.swarm.placement import HostView
from everup.engines.swarm.survey import _refusal, _swarm, survey
from everup.model.desired import Tcp


def hosts(count: int, votes: int | None = None, **last: bool) -> list[HostView]:
    """Hosts of a Swarm, the first of which are managers; the last one differs so."""
    made = [HostView(f"h{n}", f"node{n}", f"10.0.0.{n}", votes=n <= (votes or count)) for n in range(1, count + 1)]
    return [*made[:-1], HostView(**{**vars(made[-1]), **last})]


async def test_a_docker_that_is_not_there_is_named_with_the_command_that_brings_it(tmp_path: Path) -> None:
    (line,) = await survey(Place(f"unix://{tmp_path}/docker.sock", found_in="DOCKER_HOST"), "everup:1")
    assert (line.name, line.ok, line.needed) == ("docker", False, True)
    assert "from DOCKER_HOST" in line.found
    assert "apt-get install docker.io" in line.remedy


async def test_what_answers_and_is_no_docker_is_told_apart(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(lambda reader, writer: writer.close(), tmp_path / "docker.sock")
    async with server:
        (line,) = await survey(Place(f"unix://{tmp_path}/docker.sock"), "everup:1")
    assert not line.ok
    assert "docker info" in line.remedy


@pytest.mark.parametrize(("count", "votes", "ok"), [(3, 3, True), (5, 3, True), (1, 1, False), (3, 1, False)])
def test_fewer_than_three_managers_are_told_and_are_no_obstacle(count: int, votes: int, ok: bool) -> None:
    (line,) = _swarm(hosts(count, votes))
    assert (line.ok, line.needed) == (ok, False)
    assert f"{votes} of them managers" in line.found
    assert ("join-token manager" in line.remedy) is not ok


def test_hosts_on_which_nothing_can_be_started_are_named() -> None:
    assert _swarm(hosts(3, available=False))[1].found == "node3 is drained or paused"
    assert _swarm(hosts(3, available=False, ready=False))[1].found == "node3 is down"


async def test_a_port_that_is_reached_has_no_refusal_and_a_closed_one_says_why() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert await _refusal(Tcp("127.0.0.1", port)) == ""
    assert "refused" in await _refusal(Tcp("127.0.0.1", port))
