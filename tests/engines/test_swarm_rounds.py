"""What is known of nodes while hosts fall silent and are heard again; real hosts are in tests/swarm."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from everup.engines.swarm.acts import Acts
from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.placement import HostView
from everup.engines.swarm.rounds import Rounds
from everup.engines.swarm.services import Deployed
from everup.engines.swarm.sight import Sight
from everup.engines.swarm.track import Seen
from everup.model.desired import Tcp
from everup.model.errors import Unavailable

PATIENCE_S = 60.0
RUNS = Sight(running=True, service="db01", digest="d1", ticket=7, start=7, has_data=True)
AT = (Tcp("10.0.0.1", 5432),)
PRIMARY = Deployed("svc", "shop", "db01-1", "db01", "d1", "f1", ticket=7, host_id="b", wanted=True, addresses=AT)


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
        self.agents = agents
        self.hosts = [HostView(name, name, f"10.0.0.{number}", ready=False) for number, name in enumerate(agents)]
        self.keeping = Keeping(lambda error: None)
        self.ended: dict[str, Any] = {}

    def host(self, host_id: str) -> HostView | None:
        return next((host for host in self.hosts if host.id == host_id), None)

    def agent(self, host_id: str) -> Agent:
        return self.agents[host_id]

    def deployed(self, environment: str) -> dict[str, Deployed]:
        return {PRIMARY.node_id: PRIMARY}

    async def open(self) -> None:
        pass

    async def fresh(self) -> None:
        pass

    def remove(self, host_id: str) -> None:
        """`docker node rm`."""
        self.hosts = [host for host in self.hosts if host.id != host_id]

    def join(self, host_id: str, address: str, agent: Agent) -> None:
        self.hosts.append(HostView(host_id, host_id, address))
        self.agents[host_id] = agent


@asynccontextmanager
async def going_round(**agents: Agent) -> AsyncIterator[tuple[Rounds, Ground]]:
    fleet: Any = Ground(**agents)
    rounds = Rounds("shop", fleet, time.monotonic)
    try:
        await rounds.look()
        yield rounds, fleet
    finally:
        await rounds.close()


async def test_a_host_that_has_just_begun_to_answer_is_not_empty() -> None:
    late = Agent({"db01-1": RUNS}, answers=False)
    async with going_round(a=Agent({}, answers=True), b=late) as (rounds, _):
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
    async with going_round(a=Agent({}, answers=True), b=Agent({}, answers=True)) as (rounds, _):
        state = rounds.states()["db01-1"]
        assert (state.running, state.has_data, state.silent) == (False, False, "")


async def test_what_a_host_that_has_left_may_still_run_is_not_waited_for_and_not_dead() -> None:
    async with going_round(a=Agent({}, answers=True), b=Agent({"db01-1": RUNS}, answers=True)) as (rounds, fleet):
        fleet.remove("b")
        await rounds.look()
        state = rounds.states()["db01-1"]
        assert (state.running, state.dead, state.ended, state.has_data) == (False, None, False, True)
        assert "has left the Swarm" in state.silent
        acts = Acts("shop", fleet, rounds, str, time.monotonic)
        for work in (acts.fence(rounds.track("db01-1")), acts.remove(rounds.track("db01-1"), keep_data=True)):
            with pytest.raises(Unavailable, match="nobody can see whether it has ended"):
                await work


async def test_nobody_goes_on_to_clear_away_what_a_host_that_has_left_still_has() -> None:
    moved = Agent({"web-1": RUNS}, answers=True)
    async with going_round(a=Agent({}, answers=True), b=moved) as (rounds, fleet):
        rounds.track("web-1").left["b"] = Seen("b", RUNS)
        fleet.remove("b")
        await rounds.look()
        assert rounds.track("web-1").left == {}


async def test_an_end_that_was_seen_stays_one_when_the_host_leaves() -> None:
    over = RUNS.model_copy(update={"running": False, "exit_code": -9, "ended_age_s": 0.0})
    async with going_round(a=Agent({}, answers=True), b=Agent({"db01-1": over}, answers=True)) as (rounds, fleet):
        fleet.remove("b")
        await rounds.look()
        state = rounds.states()["db01-1"]
        assert (state.running, state.dead is None, state.ended) == (False, False, True)


async def test_the_host_that_has_its_address_by_now_says_what_data_there_are() -> None:
    async with going_round(a=Agent({}, answers=True), b=Agent({"db01-1": RUNS}, answers=True)) as (rounds, fleet):
        fleet.remove("b")
        fleet.join("c", "10.0.0.1", Agent({}, answers=True))
        async with asyncio.timeout(PATIENCE_S):
            while rounds.silence("c"):
                await rounds.look()
        state = rounds.states()["db01-1"]
        assert (state.running, state.ended, state.has_data) == (False, False, False)
        fleet.agents["c"].found = {"db01-1": RUNS}
        rounds.outdate()
        await rounds.look()
        state = rounds.states()["db01-1"]
        assert (state.running, state.silent, state.host) == (True, "", "c")
