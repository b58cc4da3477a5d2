"""What is known of nodes while hosts fall silent and are heard again; real hosts are in tests/swarm."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.placement import HostView
from everup.engines.swarm.rounds import Rounds
from everup.engines.swarm.services import Deployed
from everup.engines.swarm.sight import Sight
from everup.model.errors import Unavailable

PATIENCE_S = 60.0
RUNS = Sight(running=True, service="db01", digest="d1", ticket=7, start=7, has_data=True)
PRIMARY = Deployed("svc", "shop", "db01-1", "db01", "d1", "f1", ticket=7, host_id="b", wanted=True)


class Agent:
    """The agent of a host, which answers once it is told to."""

    def __init__(self, nodes: dict[str, Sight], *, answers: bool) -> None:
        self.found = nodes
        self.answers = answers
        self.heard = asyncio.Event()

    async def nodes(self, environment: str) -> dict[str, Sight]:
        self._check()
        return self.found

    async def exits(self, environment: str) -> AsyncIterator[None]:
        self._check()
        yield None
        self.heard.set()
        await asyncio.Event().wait()

    def _check(self) -> None:
        if not self.answers:
            raise Unavailable("nothing came")


class Ground:
    """A Swarm of some hosts, in which the primary runs on the host `b`."""

    def __init__(self, **agents: Agent) -> None:
        self.hosts = [HostView(name, name, f"10.0.0.{number}", ready=False) for number, name in enumerate(agents)]
        self.keeping = Keeping(lambda error: None)
        self.ended: dict[str, Any] = {}
        self._agents = agents

    def host(self, host_id: str) -> HostView | None:
        return next((host for host in self.hosts if host.id == host_id), None)

    def agent(self, host_id: str) -> Agent:
        return self._agents[host_id]

    def deployed(self, environment: str) -> dict[str, Deployed]:
        return {PRIMARY.node_id: PRIMARY}

    async def open(self) -> None:
        pass

    async def fresh(self) -> None:
        pass


@asynccontextmanager
async def going_round(**agents: Agent) -> AsyncIterator[Rounds]:
    fleet: Any = Ground(**agents)
    rounds = Rounds("shop", fleet, time.monotonic)
    try:
        await rounds.look()
        yield rounds
    finally:
        await rounds.close()


async def test_a_host_that_has_just_begun_to_answer_is_not_empty() -> None:
    late = Agent({"db01-1": RUNS}, answers=False)
    async with going_round(a=Agent({}, answers=True), b=late) as rounds:
        assert rounds.states()["db01-1"].running
        late.answers = True
        async with asyncio.timeout(PATIENCE_S):
            await late.heard.wait()
        state = rounds.states()["db01-1"]
        assert (state.running, state.silent) == (True, "b has not said yet what runs there")
        assert [host.id for host in rounds.answering()] == ["a"]
        with pytest.raises(Unavailable, match="has not said yet"):
            rounds.agent("b")
        await rounds.look()
        state = rounds.states()["db01-1"]
        assert (state.running, state.has_data, state.silent) == (True, True, "")
        assert [host.id for host in rounds.answering()] == ["a", "b"]


async def test_a_host_that_has_said_that_nothing_runs_there_is_believed() -> None:
    async with going_round(a=Agent({}, answers=True), b=Agent({}, answers=True)) as rounds:
        state = rounds.states()["db01-1"]
        assert (state.running, state.has_data, state.silent) == (False, False, "")
