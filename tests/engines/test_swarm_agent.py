"""Whom an agent answers; what it does is in tests/swarm, on real hosts."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from everup.engines.swarm.agent import Own, Verbs, application
from everup.engines.swarm.newest import HEADER, MEANT, Newest
from everup.engines.swarm.volume import heard


class Engine:
    """A Docker that is the host `here` of its Swarm."""

    async def itself(self) -> dict[str, Any]:
        return {"Swarm": {"NodeID": "here"}}


class Premises:
    """A host on which nothing ever ran."""

    async def nodes(self, environment: str) -> dict[str, Any]:
        return {}


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    fakes: Any = Premises()
    docker: Any = Engine()
    app = application(Verbs(fakes, fakes, fakes), Newest(tmp_path), Own(docker))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agent") as client:
        yield client


async def asked(agent: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await agent.get("/v1/nodes", params={"environment": "shop"}, headers=headers)


@pytest.mark.parametrize("headers", [{}, {MEANT: ""}, {MEANT: "here"}])
async def test_who_means_this_host_is_answered(agent: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await asked(agent, **headers)).json() == {}


async def test_a_host_says_nothing_in_the_name_of_the_one_that_had_its_address(
    agent: httpx.AsyncClient, tmp_path: Path
) -> None:
    answer = await asked(agent, **{MEANT: "former", HEADER: "7"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "engine.other_host")
    assert heard(tmp_path) == 0  # whoever meant another host has said nothing to this one
    assert (await asked(agent, **{MEANT: "here", HEADER: "7"})).status_code == 200
    assert heard(tmp_path) == 7
