"""Performs actions: at most one at a time per node, and one operation at a time per service."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from everup.model.actions import Accept, Action, Fence, Hold, Mark, Operate, StartNode, StopNode
from everup.model.contracts import Engine
from everup.model.desired import (
    Ask,
    Blueprint,
    Crown,
    Halt,
    Keep,
    Milestone,
    Node,
    NodeId,
    Outcome,
    Pause,
    Recipe,
    Step,
    Together,
)
from everup.model.errors import EngineError, EverupError
from everup.model.observed import Attempt, View
from everup.runtime.journal import Journal
from everup.runtime.talk import Console, ask

COOL_S = 0.1
COOL_LIMIT_S = 10.0
"""After a failed action the same one waits 100 ms, doubling to 10 s; one that was calm for 10 s begins anew."""

NOW = (0.0, 0.0)

FAILPOINT = "EVERUP_FAILPOINT"
"""Names a milestone (`failover.voted`): the control plane kills itself there, so that tests can prove the recovery."""


class World(Protocol):
    """What the executor tells the controller."""

    async def crown(
        self, service: str, node_id: NodeId, because: str, known: Mapping[str, int] | None = MappingProxyType({})
    ) -> None:
        """Record a new primary, durably; `known` as in `Crown`."""
        ...

    async def marked(self, service: str, node_id: NodeId, generation: int) -> None:
        """Record that the data of a node was marked with `generation`."""
        ...

    async def may_start(self, node: Node) -> bool:
        """Whether a node may start at once; no, once what a former primary has alone was kept: plan anew then."""
        ...

    async def keep(self, service: str, node_id: NodeId) -> None:
        """Keep what a node has alone, whatever it was; never raises."""
        ...

    def attempted(self, service: str, operation: str, attempt: Attempt) -> None:
        """Remember how an operation ended, look at the service again, and plan anew."""
        ...

    def wake(self) -> None:
        """Observe and plan again."""
        ...


Confirm = Callable[[], Awaitable[None]]
"""Returns if it is certain that this control plane decides, and no other; else raises `EverupError`."""


class Executor:
    """Turns actions into calls of the engine and conversations with nodes."""

    def __init__(self, engine: Engine, journal: Journal, world: World, console: Console, confirm: Confirm) -> None:
        self._engine = engine
        self._journal = journal
        self._world = world
        self._console = console
        self._confirm = confirm
        self._running: dict[str, asyncio.Task[None]] = {}
        self._cooling: dict[str, tuple[float, float]] = {}  # name -> (not before, how long the last wait was)
        self._told: dict[str, str] = {}

    def dispatch(self, actions: Iterable[Action], desired: Mapping[str, Blueprint], views: Mapping[str, View]) -> None:
        """Begin every action that nothing under way forbids; the others come again with the next plan."""
        for action in actions:
            if isinstance(action, Hold):
                continue
            keys = _keys(action)
            if any(key in self._running for key in keys) or time.monotonic() < self._cooling.get(_name(action), NOW)[0]:
                continue
            work: Callable[[], Coroutine[Any, Any, bool]]
            if isinstance(action, Operate):
                recipe = desired[action.service].operations[action.operation]
                work = self._operation(action, recipe, desired[action.service], views[action.service])
            else:
                work = self._simple(action)
            task = asyncio.create_task(self._guarded(action, work), name=_name(action))
            self._running |= dict.fromkeys(keys, task)

    def busy(self) -> bool:
        """Something is being performed."""
        return bool(self._running)

    async def stop(self) -> None:
        """Break off what is under way; a later control plane continues from what it finds."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, action: Action, work: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        name = _name(action)
        try:
            await self._confirm()
            if await work():
                self._cooling.pop(name, None)
                self._told.pop(name, None)
            else:
                self._cool(name)
        except EverupError as error:
            self._cool(name)
            if self._told.get(name) != error.message:  # tried again and again, said once
                self._told[name] = error.message
                fields = {"because": error.message, "hint": error.hint}
                self._journal.say("node.failed", _service(action), _subject(action), **fields)
        except Exception as error:
            self._cool(name)
            self._journal.say(
                "internal.error", _service(action), error=f"{type(error).__name__}: {error} in {action!r}"[:2000]
            )
        finally:
            mine = asyncio.current_task()
            self._running = {key: task for key, task in self._running.items() if task is not mine}
            self._world.wake()

    def _cool(self, name: str) -> None:
        now_s = time.monotonic()
        until_s, before_s = self._cooling.get(name, NOW)
        wait_s = min(before_s * 2, COOL_LIMIT_S) if now_s < until_s + COOL_LIMIT_S and before_s else COOL_S
        self._cooling[name] = (now_s + wait_s, wait_s)

    def _simple(self, action: Action) -> Callable[[], Coroutine[Any, Any, bool]]:
        async def perform() -> bool:
            match action:
                case StartNode(node=node, because=because, extra_args=extra_args):
                    if await self._world.may_start(node):
                        await self._engine.ensure(node, extra_args)
                        self._journal.say("node.started", node.service, node.id, because=because)
                case StopNode(node_id=node_id, service=service, because=because, keep_data=keep_data):
                    await self._engine.remove(node_id, keep_data=keep_data)
                    self._journal.say("node.stopped", service, node_id, because=because)
                case Fence(node_id=node_id, service=service, because=because):
                    await self._engine.fence(node_id)
                    self._journal.say("node.fenced", service, node_id, because=because)
                case Mark(node_id=node_id, service=service, generation=generation):
                    await self._engine.mark(node_id, generation)
                    await self._world.marked(service, node_id, generation)
                case Accept(service=service, node_id=node_id, because=because):
                    await self._world.crown(service, node_id, because)
                case _:
                    raise EngineError(f"nobody knows how to perform {action!r}")
            return True

        return perform

    def _operation(
        self, action: Operate, recipe: Recipe, blueprint: Blueprint, view: View
    ) -> Callable[[], Coroutine[Any, Any, bool]]:
        async def perform() -> bool:
            began_s = time.monotonic()
            self._journal.say(
                "operation.started", action.service, action.subject, operation=action.operation, because=action.because
            )
            outcome = Outcome(False, "it was broken off")
            try:
                outcome = await self._follow(recipe, blueprint, view, action)
            finally:
                took_ms = round((time.monotonic() - began_s) * 1000, 1)
                fields = {
                    "operation": action.operation,
                    "done": outcome.done,
                    "because": outcome.because,
                    "took_ms": took_ms,
                }
                self._journal.say("operation.ended", action.service, action.subject, **fields)
                self._world.attempted(
                    action.service, action.operation, Attempt(time.monotonic(), outcome.done, outcome.because)
                )
            return outcome.done

        return perform

    async def _follow(self, recipe: Recipe, blueprint: Blueprint, view: View, action: Operate) -> Outcome:
        steps = recipe(blueprint, view, action.subject)
        reply: Any = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            reply = await self._step(step, action)

    async def _step(self, step: Step, action: Operate) -> Any:
        await self._confirm()
        match step:
            case Together(asks=asks):
                return await self._ask_all(asks)
            case Pause(seconds=seconds):
                await asyncio.sleep(seconds)
            case Halt(node=node_id):
                return await self._halt(node_id, action)
            case Crown(node=node_id, known=known):
                await self._world.crown(action.service, node_id, action.because, known)
            case Keep(node=node_id):
                await self._world.keep(action.service, node_id)
            case Milestone(name=name, fields=fields):
                self._journal.say(name, action.service, action.subject, **fields)
                if os.environ.get(FAILPOINT) == name:
                    os.kill(os.getpid(), signal.SIGKILL)
        return None

    async def _halt(self, node_id: NodeId, action: Operate) -> bool:
        """Stop a node for a recipe, and have it to ourselves until that ends; False when it is not known to be gone."""
        current = asyncio.current_task()
        assert current is not None
        if self._running.setdefault(node_id, current) is not current:
            return False  # it is being started or stopped by somebody else
        try:
            await self._engine.remove(node_id, keep_data=True)
        except EngineError as error:
            self._journal.say("node.failed", action.service, node_id, because=error.message, hint=error.hint)
            return False
        self._journal.say("node.stopped", action.service, node_id, because=action.because)
        return True

    async def _ask_all(self, asks: tuple[Ask, ...]) -> tuple[Any, ...]:
        return tuple(await asyncio.gather(*(ask(one, self._console) for one in asks)))


def _keys(action: Action) -> tuple[str, ...]:
    """What the action has for itself while it is performed: an operation, its service and the node it is about.

    While an operation may change who is primary, what was read before it says nothing of that: nobody is accepted.
    """
    match action:
        case Operate(service=service, subject=subject):
            return (f"{service}/operation", subject) if subject else (f"{service}/operation",)
        case Accept(service=service):
            return (f"{service}/operation",)
        case Mark(node_id=node_id):
            return (f"{node_id}/mark",)
        case StartNode(node=node):
            return (node.id,)
        case StopNode(node_id=node_id) | Fence(node_id=node_id):
            return (node_id,)
        case Hold():
            return ()


def _name(action: Action) -> str:
    """What waits after a failure: this action, and no other of the same service or node."""
    operation = action.operation if isinstance(action, Operate) else type(action).__name__
    return f"{_service(action)}/{operation}/{_subject(action)}"


def _service(action: Action) -> str:
    return action.node.service if isinstance(action, StartNode) else action.service


def _subject(action: Action) -> NodeId | None:
    if isinstance(action, StartNode):
        return action.node.id
    return action.subject if isinstance(action, Operate) else getattr(action, "node_id", None)
