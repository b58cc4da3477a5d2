"""Performing actions: never two on one node, never two operations on one service, never a failure in a tight loop."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from everup.engines.memory import MemoryEngine
from everup.model.actions import Accept, Fence, Hold, Mark, Operate, StartNode, StopNode
from everup.model.desired import Ask, Blueprint, Crown, Keep, Milestone, Node, Outcome, Pause, Silence, Tcp, Together
from everup.model.errors import Unavailable
from everup.model.observed import Attempt, View
from everup.runtime.executor import FAILPOINT, Executor
from everup.runtime.journal import Journal
from everup.runtime.store import Store
from tests.worlds import web

WEB = web(2)
FIRST, SECOND = WEB.nodes[0], WEB.nodes[1]
VIEW = {"web": View(0.0, {})}
NOBODY = Tcp("127.0.0.1", 9)


class SlowEngine(MemoryEngine):
    """A memory engine whose `ensure` takes until it is let go, and that counts how many are under way per node."""

    def __init__(self) -> None:
        super().__init__(time.monotonic, missing={"missing"})
        self.go = asyncio.Event()
        self.go.set()
        self.calls: list[str] = []

    async def ensure(self, node: Node, extra_args: tuple[str, ...] = ()) -> None:
        self.calls.append(node.id)
        await self.go.wait()
        if node.program == "broken":
            raise ZeroDivisionError("a broken assumption")
        await super().ensure(node, extra_args)


class Bench:
    """An executor with all that it works on, and what it told the world."""

    def __init__(self, store: Store) -> None:
        self.engine = SlowEngine()
        self.journal = Journal("shop", store)
        self.executor = Executor(self.engine, self.journal, self, lambda node: None, self.confirm)
        self.told: list[tuple[object, ...]] = []
        self.former: set[str] = set()
        self.decides = True
        self.blueprint = WEB

    async def crown(self, service: str, node_id: str, because: str, known: Any = None) -> None:
        self.told.append(("crown", service, node_id, because))

    async def marked(self, service: str, node_id: str, generation: int) -> None:
        self.told.append(("marked", service, generation))

    async def may_start(self, node: Node) -> bool:
        return node.id not in self.former

    async def keep(self, service: str, node_id: str) -> None:
        self.told.append(("kept", service, node_id))

    def attempted(self, service: str, operation: str, attempt: Attempt) -> None:
        self.told.append(("attempted", operation, attempt.done, attempt.because))

    async def confirm(self) -> None:
        if not self.decides:
            raise Unavailable("nobody can tell who decides")

    def wake(self) -> None:
        self.told.append(("wake",))

    def dispatch(self, *actions: Any) -> None:
        self.executor.dispatch(actions, {"web": self.blueprint}, VIEW)

    def operations(self, **recipes: Any) -> None:
        self.blueprint = replace(WEB, operations=recipes)

    async def idle(self) -> None:
        for _ in range(500):
            if not self.executor.busy():
                return
            await asyncio.sleep(0.005)
        raise AssertionError("still busy")

    def said(self) -> list[str]:
        return [event.name for event in self.journal.recent()]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    with contextlib.closing(Store(tmp_path / "store.db")) as store:
        made = Bench(store)
        try:
            yield made
        finally:
            await made.executor.stop()


def recipe(*steps: Any, done: bool = True) -> Any:
    """A recipe that takes these steps and ends with their replies as its reason."""

    def run(blueprint: Blueprint, view: View, subject: str | None) -> Generator[Any, Any, Outcome]:
        replies = []
        for step in steps:
            replies.append((yield step))
        return Outcome(done, repr(replies))

    return run


def start(node: Node = FIRST, **changes: Any) -> StartNode:
    return StartNode(replace(node, **changes), "it does not run")


async def test_actions_reach_the_engine_and_the_journal(bench: Bench):
    bench.dispatch(start(), start(SECOND), Hold("web", "wait"))
    await bench.idle()
    bench.dispatch(StopNode("web-1", "web", "no longer"), Mark("web-2", "web", 4))
    await bench.idle()
    states = await bench.engine.observe()
    assert (states["web-1"].running, states["web-2"].running, states["web-2"].generation) == (False, True, 4)
    assert ("marked", "web", 4) in bench.told
    bench.dispatch(Fence("web-2", "web", "it hangs"), Accept("web", "web-1", "it leads"))
    await bench.idle()
    assert not (await bench.engine.observe())["web-2"].running
    assert ("crown", "web", "web-1", "it leads") in bench.told
    assert bench.said() == ["node.started"] * 2 + ["node.stopped", "node.fenced"]


async def test_the_same_node_is_never_worked_on_twice_at_once(bench: Bench):
    bench.engine.go.clear()
    for _ in range(5):
        bench.dispatch(start(), start(SECOND), StopNode("web-1", "web", ""), Fence("web-1", "web", ""))
        await asyncio.sleep(0.001)
    assert bench.engine.calls == ["web-1", "web-2"]
    bench.engine.go.set()
    await bench.idle()
    assert bench.said() == ["node.started", "node.started"]


async def test_one_operation_at_a_time_and_nothing_else_on_what_it_is_about(bench: Bench):
    bench.operations(one=recipe(Pause(0.05)), two=recipe())
    bench.dispatch(Operate("web", "one", "", "web-1"))
    await asyncio.sleep(0.01)
    bench.dispatch(Operate("web", "two", "", "web-2"), start(), start(SECOND))
    await asyncio.sleep(0.01)
    assert bench.engine.calls == ["web-2"]
    await bench.idle()
    assert [told[1] for told in bench.told if told[0] == "attempted"] == ["one"]
    bench.dispatch(Operate("web", "two", "", "web-2"), start())
    await bench.idle()
    assert bench.engine.calls == ["web-2", "web-1"]
    assert [told[1] for told in bench.told if told[0] == "attempted"] == ["one", "two"]


async def test_nobody_is_accepted_as_primary_while_an_operation_may_make_another_one(bench: Bench):
    bench.operations(one=recipe(Pause(0.05)))
    bench.dispatch(Operate("web", "one", "", "web-1"))
    await asyncio.sleep(0.01)
    bench.dispatch(Accept("web", "web-1", "it led before"))
    await bench.idle()
    assert not [told for told in bench.told if told[0] == "crown"]
    bench.dispatch(Accept("web", "web-2", "it leads"))
    await bench.idle()
    assert ("crown", "web", "web-2", "it leads") in bench.told


async def test_an_operation_waits_while_its_node_is_being_started(bench: Bench):
    bench.operations(one=recipe())
    bench.engine.go.clear()
    bench.dispatch(start())
    await asyncio.sleep(0)
    bench.dispatch(Operate("web", "one", "", "web-1"))
    bench.engine.go.set()
    await bench.idle()
    assert not [told for told in bench.told if told[0] == "attempted"]


async def test_steps_are_performed_in_order_and_answered(bench: Bench):
    asks = Together((Ask(NOBODY, (("PING",),)), Ask(NOBODY, (("PING",),))))
    bench.operations(move=recipe(Milestone("failover.voted", {"epoch": 4}), asks, Crown("web-2"), Pause(0.001)))
    bench.dispatch(Operate("web", "move", "it must", "web-1"))
    await bench.idle()
    assert bench.said() == ["operation.started", "failover.voted", "operation.ended"]
    voted, ended = bench.journal.recent()[1:]
    assert (voted.service, voted.node, voted.fields) == ("web", "web-1", {"epoch": 4})
    assert (ended.fields["operation"], ended.fields["done"]) == ("move", True)
    assert ("crown", "web", "web-2", "it must") in bench.told
    (attempt,) = [told for told in bench.told if told[0] == "attempted"]
    assert attempt[1:3] == ("move", True)
    assert str(attempt[3]).count(Silence.__name__) == 2


@pytest.mark.parametrize(("program", "name"), [("missing", "node.failed"), ("broken", "internal.error")])
async def test_what_failed_is_said_and_tried_again_ever_later(bench: Bench, program: str, name: str):
    began_s, moments = time.monotonic(), []
    while len(moments) < 3 and time.monotonic() < began_s + 10:
        bench.dispatch(start(program=program))
        await bench.idle()
        if len(bench.engine.calls) > len(moments):
            moments.append(time.monotonic() - began_s)
        await asyncio.sleep(0.002)
    assert set(bench.said()) == {name}
    assert len(moments) == 3  # after waits of 0.1 and 0.2 s, at least
    assert moments[1] >= 0.1 and moments[2] >= 0.3


async def test_an_operation_that_was_not_done_waits_and_keeps_no_other_waiting(bench: Bench):
    bench.operations(fails=recipe(done=False), works=recipe())
    for _ in range(3):
        bench.dispatch(Operate("web", "fails", "", "web-1"))
        await bench.idle()
    bench.dispatch(Operate("web", "works", ""), start())
    await bench.idle()
    assert [told[1] for told in bench.told if told[0] == "attempted"] == ["fails", "works"]
    assert bench.engine.calls == ["web-1"]


async def test_a_success_ends_the_waiting(bench: Bench):
    bench.dispatch(start(program="missing"))
    await bench.idle()
    await asyncio.sleep(0.11)
    for _ in range(3):
        bench.dispatch(start())
        await bench.idle()
    assert bench.engine.calls == ["web-1"] * 4


async def test_a_recipe_that_breaks_has_ended_undone(bench: Bench):
    def breaks(blueprint: Blueprint, view: View, subject: str | None) -> Generator[Any, Any, Outcome]:
        yield Pause(0.0)
        raise ZeroDivisionError("a broken assumption")

    bench.operations(breaks=breaks)
    bench.dispatch(Operate("web", "breaks", ""))
    await bench.idle()
    assert bench.said() == ["operation.started", "operation.ended", "internal.error"]
    assert ("attempted", "breaks", False, "it was broken off") in bench.told
    assert bench.told[-1] == ("wake",)


async def test_a_recipe_can_have_kept_what_a_node_has_alone(bench: Bench):
    bench.operations(follow=recipe(Keep("web-2")))
    bench.dispatch(Operate("web", "follow", ""))
    await bench.idle()
    assert ("kept", "web", "web-2") in bench.told


async def test_a_node_that_was_looked_at_is_started_by_the_next_plan_only(bench: Bench):
    bench.former.add("web-1")
    bench.dispatch(start())
    await bench.idle()
    assert (bench.engine.calls, bench.said(), bench.told) == ([], [], [("wake",)])
    bench.former.clear()
    bench.dispatch(start())
    await bench.idle()
    assert (bench.engine.calls, bench.said()) == (["web-1"], ["node.started"])


async def test_what_is_under_way_can_be_broken_off(bench: Bench):
    bench.operations(long=recipe(Pause(60)))
    bench.engine.go.clear()
    bench.dispatch(Operate("web", "long", ""), start())
    await asyncio.sleep(0.01)
    await bench.executor.stop()
    assert not bench.executor.busy()
    assert bench.journal.recent()[-1].fields["because"] == "it was broken off"


FAIL_HERE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from everup.model.actions import Operate
from everup.model.desired import Milestone
from everup.runtime.store import Store
from tests.runtime.test_executor import Bench, recipe

async def main():
    bench = Bench(Store(Path(sys.argv[1])))
    bench.operations(move=recipe(Milestone("failover.voted"), Milestone("failover.promoted")))
    bench.dispatch(Operate("web", "move", ""))
    await bench.idle()
    print("survived")

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("milestone", "code"), [("failover.voted", -signal.SIGKILL), ("failover.published", 0), (None, 0)]
)
def test_a_failpoint_kills_the_process_at_that_milestone(tmp_path: Path, milestone: str | None, code: int):
    env = os.environ | ({FAILPOINT: milestone} if milestone else {})
    words = [sys.executable, "-c", FAIL_HERE, str(tmp_path / "store.db"), str(Path(__file__).parents[2])]
    ended = subprocess.run(words, env=env, capture_output=True, text=True, timeout=240)
    assert (ended.returncode, ended.stdout) == (code, "survived\n" if code == 0 else ""), ended.stderr


async def test_nothing_is_done_while_nobody_can_tell_who_decides(bench: Bench):
    bench.decides = False
    bench.operations(nudge=recipe(Crown("web-1", {})))
    bench.dispatch(StartNode(FIRST, "it is down"), Operate("web", "nudge", "web-1 died"))
    await bench.idle()
    assert bench.engine.calls == []
    assert bench.said().count("node.failed") == 2
    assert "operation.started" not in bench.said()


async def test_a_recipe_goes_no_further_once_nobody_can_tell_who_decides(bench: Bench):
    def doubtful(*_: Any) -> Any:
        yield Milestone("failover.voted", {})
        bench.decides = False
        yield Crown("web-1", {})
        return Outcome(True, "never")

    bench.operations(nudge=doubtful)
    bench.dispatch(Operate("web", "nudge", "web-1 died"))
    await bench.idle()
    assert not any(what[0] == "crown" for what in bench.told)
    assert ("attempted", "nudge", False, "it was broken off") in bench.told
