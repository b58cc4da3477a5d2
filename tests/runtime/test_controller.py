"""The loop of one environment, over an engine that pretends."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from everup.engines.memory import MemoryEngine
from everup.model.contracts import Fault
from everup.model.desired import Blueprint, Part, Salvage
from everup.model.errors import Unavailable
from everup.model.observed import Attempt, Group, NodeEvent
from everup.runtime.controller import Controller
from everup.runtime.journal import Journal
from everup.runtime.ledger import Ledger
from everup.runtime.store import Store
from tests.worlds import web


class Engine(MemoryEngine):
    """A memory engine that may stop answering."""

    def __init__(self) -> None:
        super().__init__(time.monotonic)
        self.answers = True
        self.ensured: list[str] = []
        self.late_s = 0.0

    async def watch(self) -> AsyncIterator[NodeEvent]:
        async for event in super().watch():
            await asyncio.sleep(self.late_s)
            yield event

    async def observe(self) -> Any:
        if not self.answers:
            raise Unavailable("the engine does not answer")
        return await super().observe()

    async def ensure(self, node: Any, extra_args: tuple[str, ...] = ()) -> None:
        self.ensured.append(node.id)
        await super().ensure(node, extra_args)


class Place:
    """A store and an engine that outlive the control planes which come and go over them."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.engine = Engine()
        self.tasks: list[asyncio.Task[None]] = []

    def control(self, *blueprints: Blueprint) -> Controller:
        """A new control plane takes over."""
        journal = Journal("shop", self.store)
        made = Controller("shop", self.engine, self.store, journal, Ledger(self.store.path.parent / "lost", journal))
        made.declare(blueprints)
        self.tasks.append(asyncio.create_task(made.run()))
        return made

    async def leave(self) -> None:
        """The control plane ends; what runs goes on."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    async def running(self) -> set[str]:
        return {node_id for node_id, state in (await MemoryEngine.observe(self.engine)).items() if state.running}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path / "store.db")
    try:
        yield made
    finally:
        await made.leave()
        made.store.close()


async def until(true: Callable[[], Any], within_s: float = 90.0) -> None:
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, "it did not come about"
        await asyncio.sleep(0.005)


def names(controller: Controller, node: str | None = None) -> list[str]:
    return [event.name for event in controller.journal.recent() if node is None or event.node == node]


def ready(controller: Controller) -> set[str]:
    return {node_id for node_id, status in controller.observed().nodes.items() if status.ready}


ALL = {"web-1", "web-2", "web-endpoint"}


async def test_what_is_declared_comes_up_and_is_then_left_alone(place: Place):
    controller = place.control(web(2))
    await until(lambda: ready(controller) == ALL)
    await until(lambda: "service.healthy" in names(controller))
    await asyncio.sleep(0.2)
    assert sorted(place.engine.ensured) == sorted(ALL)
    assert controller.actions == ()
    assert names(controller, "web-1") == ["node.started", "node.ready"]


async def test_a_node_that_ends_is_started_again_at_once(place: Place):
    controller = place.control(web(2))
    await until(lambda: "service.healthy" in names(controller))
    place.engine.kill("web-2")
    began_s = time.monotonic()
    await until(lambda: place.engine.ensured.count("web-2") == 2)
    assert time.monotonic() - began_s < 20.0
    await until(lambda: names(controller).count("service.healthy") == 2)
    story = [name for name in names(controller) if name.split(".")[0] in ("node", "service")][-5:]
    assert story == ["node.exited", "service.degraded", "node.started", "node.ready", "service.healthy"]


async def test_an_end_is_told_even_when_a_look_found_it_first(place: Place):
    controller = place.control(web(1))
    await until(lambda: "service.healthy" in names(controller))
    place.engine.late_s = 0.1
    place.engine.kill("web-1")
    controller.wake()
    await until(lambda: place.engine.ensured.count("web-1") == 2)
    assert names(controller, "web-1").count("node.exited") == 0
    await until(lambda: names(controller, "web-1").count("node.exited") == 1)
    await asyncio.sleep(0.05)
    assert "web-1" in ready(controller)


async def test_a_lost_node_is_started_when_it_can_be(place: Place):
    controller = place.control(web(2))
    await until(lambda: ready(controller) == ALL)
    await place.engine.inject("web-1", Fault.NODE_LOSS, for_s=0.4)
    await asyncio.sleep(0.2)
    assert ready(controller) == {"web-2", "web-endpoint"}
    await until(lambda: ready(controller) == ALL)


async def test_less_is_stopped_and_more_is_started(place: Place):
    controller = place.control(web(3))
    await until(lambda: len(ready(controller)) == 4)
    controller.declare((web(1),))
    await until(lambda: len(ready(controller)) == 2)
    assert await place.running() == {"web-1", "web-endpoint"}
    controller.declare((web(2),))
    await until(lambda: len(ready(controller)) == 3)
    assert place.engine.ensured.count("web-1") == 1


async def test_winding_down_stops_everything_and_declaring_brings_it_back(place: Place):
    controller = place.control(web(2))
    await until(lambda: ready(controller) == ALL)
    controller.wind_down()
    await until(lambda: not ready(controller))
    await asyncio.sleep(0.15)
    assert await place.running() == set()
    controller.declare((web(2),))
    await until(lambda: ready(controller) == ALL)


async def test_a_control_plane_that_comes_back_adopts_what_runs(place: Place):
    first = place.control(web(2))
    await until(lambda: ready(first) == ALL)
    await place.leave()
    assert await place.running() == ALL
    place.engine.kill("web-2")
    second = place.control(web(2))
    await until(lambda: ready(second) == ALL)
    assert place.engine.ensured.count("web-1") == 1
    assert place.engine.ensured.count("web-2") == 2


async def test_the_silence_of_an_engine_changes_nothing(place: Place):
    controller = place.control(web(2))
    await until(lambda: ready(controller) == ALL)
    place.engine.answers = False
    controller.wake()
    await until(lambda: controller.actions)
    assert ready(controller) == ALL
    assert {action.because for action in controller.actions} == {"the engine does not answer; nothing is touched"}
    place.engine.answers = True
    await until(lambda: not controller.actions)
    assert sorted(place.engine.ensured) == sorted(ALL)


async def test_a_new_primary_is_recorded_once_and_survives(place: Place):
    controller = place.control(web(1))
    await asyncio.gather(*(controller.crown("redis01", "redis01-2", "it leads") for _ in range(3)))
    assert names(controller).count("primary.changed") == 1
    assert place.store.groups("shop") == {"redis01": Group("redis01-2", 1, 0)}
    await asyncio.gather(
        controller.marked("redis01", "redis01-2", 1), controller.crown("redis01", "redis01-1", "it leads")
    )
    record = Group("redis01-1", 2, 1, {"redis01-2": {}})
    assert controller.observed().groups["redis01"] == place.store.groups("shop")["redis01"] == record


async def test_a_former_primary_is_compared_once_before_it_starts_again(place: Place):
    blueprint = replace(web(2), salvage=Salvage("redis_lost", waited=False))
    controller = place.control(blueprint)
    await until(lambda: ready(controller) == ALL)
    first, second = blueprint.of(Part.INSTANCE)
    await controller.crown("web", first.id, "it leads")
    assert await controller.may_start(first)
    await controller.crown("web", second.id, "it leads", {"offset": 7})
    assert place.store.groups("shop")["web"].deposed == {first.id: {"offset": 7}}
    assert await controller.may_start(first)  # it runs: nobody may look at what it writes
    assert "lost.unkept" not in names(controller, first.id)
    controller.wind_down()
    await until(lambda: not ready(controller))
    assert [await controller.may_start(first) for _ in range(3)] == [False, True, True]
    assert [name for name in names(controller, first.id) if name.startswith("lost")] == ["lost.unkept"]
    assert place.store.groups("shop")["web"].deposed == {}


async def test_a_former_primary_that_follows_already_is_told_of(place: Place):
    controller = place.control(web(2))
    for node_id in ("web-1", "web-2"):
        await controller.crown("web", node_id, "it leads")
    await controller.marked("web", "web-2", 1)
    assert "lost.unkept" not in names(controller)
    await controller.marked("web", "web-1", 2)
    await controller.marked("web", "web-1", 2)
    assert names(controller).count("lost.unkept") == 1
    assert place.store.groups("shop")["web"] == Group("web-2", 2, 2)


async def test_who_handed_over_everything_is_compared_with_nobody(place: Place):
    controller = place.control(web(2))
    await controller.crown("web", "web-1", "it leads")
    await controller.crown("web", "web-2", "it was handed over", None)
    assert place.store.groups("shop")["web"].deposed == {}


async def test_a_generation_is_newer_than_any_on_disk(place: Place):
    controller = place.control(web(2))
    await until(lambda: ready(controller) == ALL)
    await place.engine.mark("web-2", 7)
    controller.wake()
    await until(lambda: controller.observed().nodes["web-2"].state.generation == 7)
    await controller.crown("web", "web-1", "the record was lost")
    assert controller.observed().groups["web"].generation == 8


async def test_an_operation_that_ended_is_remembered(place: Place):
    controller = place.control(web(1))
    controller.attempted("web", "switchover", Attempt(5.0, True, "done"))
    assert controller.observed().attempts["web"]["switchover"].because == "done"


async def test_a_rule_that_breaks_costs_a_turn_and_not_the_loop(place: Place):
    broken = True

    def rule(blueprint: Blueprint, view: Any) -> Any:
        if broken:
            raise ZeroDivisionError("a broken assumption")
        return ()

    controller = place.control(replace(web(1), rules=(rule,)))
    await until(lambda: "internal.error" in names(controller))
    broken = False
    await until(lambda: ready(controller) == {"web-1", "web-endpoint"})


async def test_everything_said_is_stored_when_it_ends(place: Place):
    controller = place.control(web(1))
    await until(lambda: "service.healthy" in names(controller))
    said = len(controller.journal.recent())
    with contextlib.suppress(asyncio.CancelledError):
        await place.leave()
    assert len(place.store.events("shop", 0)) >= said
