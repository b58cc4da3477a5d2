"""Where requests are taken: applies specs, answers questions, and starts one controller per environment."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from everup.core.incident import latest
from everup.core.plan import preview
from everup.model.contracts import Engine, Fault, FaultInjector, Kind
from everup.model.desired import Blueprint
from everup.model.errors import EverupError, NotFound, Refused
from everup.model.events import Event
from everup.model.observed import Observed
from everup.model.picture import Change, Picture
from everup.model.spec import Environment, Source
from everup.runtime.controller import Controller
from everup.runtime.grants import AddressBook
from everup.runtime.journal import Journal
from everup.runtime.layout import Layout, overridden, refuse_unsettling
from everup.runtime.store import Saved, Store

Parse = Callable[[Source], Environment]
EngineFor = Callable[[str, Environment], Engine]

ADOPT_S = 3.0
"""How long a starting control plane takes, at most, to look at what runs before it answers questions about it."""


@dataclass
class Running:
    """One environment under control."""

    environment: Environment
    saved: Saved
    controller: Controller
    engine: Engine
    task: asyncio.Task[None]
    destroying: bool = False


class Desk:
    """The control plane as its API sees it. `open` takes up every environment that the store knows."""

    def __init__(
        self, store: Store, kinds: Mapping[str, Kind], book: AddressBook, parse: Parse, engine_for: EngineFor
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._layout = Layout(kinds, book)
        self._parse = parse
        self._engine_for = engine_for
        self._running: dict[str, Running] = {}
        self._changing = asyncio.Lock()
        self._since_utc = datetime.now(UTC).isoformat(timespec="seconds")

    async def open(self) -> None:
        """Adopt what an earlier control plane left behind, running or half-way."""
        for name, saved in self._store.environments().items():
            try:
                environment = overridden(self._parse(saved.source), saved.overrides)
                blueprints, _ = self._layout.draw(environment, saved, self._store.grants(name))
            except EverupError as error:
                print(
                    f"environment {name} is left alone, its stored spec is not understood: {error.message}", flush=True
                )
                continue
            self._take_up(name, environment, saved, blueprints)
        looks = [asyncio.create_task(running.controller.looked.wait()) for running in self._running.values()]
        if looks:
            await asyncio.wait(looks, timeout=ADOPT_S)

    async def close(self) -> None:
        """Let go of everything; what runs goes on running."""
        for running in self._running.values():
            running.task.cancel()
        await asyncio.gather(*(running.task for running in self._running.values()), return_exceptions=True)
        self._store.close()

    def environments(self) -> list[str]:
        """The names of all environments that were applied here and not destroyed."""
        return sorted(self._running)

    async def apply(self, source: Source) -> tuple[str, tuple[Change, ...]]:
        """Declare what runs from now on; returns the environment's name and what will change.

        Raises:
            SpecError: the source is wrong; nothing was changed.
        """
        async with self._changing:
            environment = self._parse(source)
            name = environment.environment
            before = self._store.environments().get(name)
            if name in self._running:
                refuse_unsettling(self._running[name].environment, environment)
            saved = Saved(source, {}, before.revisions if before else {}, stopped=False)
            blueprints, granted = self._layout.draw(environment, saved, self._store.grants(name))
            changes = preview(blueprints, self._observed(name))
            if before is None or before != saved or granted != self._store.grants(name):
                await self._store.save_grants(name, granted)
                await self._store.save_environment(name, saved)
            if name in self._running:
                self._change(self._running[name], environment, saved, blueprints)
            else:
                self._take_up(name, environment, saved, blueprints)
            if changes:
                self._running[name].controller.journal.say("spec.applied", services=list(environment.services))
            return name, changes

    async def plan(self, source: Source) -> tuple[Change, ...]:
        """What `apply` would change; issues nothing and changes nothing."""
        environment = self._parse(source)
        before = self._store.environments().get(environment.environment)
        if environment.environment in self._running:
            refuse_unsettling(self._running[environment.environment].environment, environment)
        saved = Saved(source, {}, before.revisions if before else {}, stopped=False)
        blueprints, _ = self._layout.draw(environment, saved, self._store.grants(environment.environment))
        return preview(blueprints, self._observed(environment.environment))

    def picture(self, environment: str) -> Picture:
        """The environment as declared and as observed, at this moment."""
        running = self._get(environment)
        controller = running.controller
        return Picture(
            environment=running.environment,
            source=running.saved.source,
            blueprints=controller.blueprints,
            observed=controller.observed(),
            actions=controller.actions,
            stopped=running.saved.stopped,
            incident=latest(controller.events()),
            control_pid=os.getpid(),
            control_since_utc=self._since_utc,
        )

    def variables(self, environment: str) -> dict[str, dict[str, str]]:
        """Label -> variables: a provider's own, and for those that need others what they are given."""
        running = self._get(environment)
        return self._layout.variables(running.environment, running.controller.blueprints)

    def connect(self, environment: str, label: str, language: str) -> str:
        """A snippet in `language` that connects to the service, with live values."""
        running = self._get(environment)
        blueprint = self._blueprint(running, label)
        kind = self._kinds[blueprint.kind]
        if language not in kind.connect:
            known = ", ".join(sorted(kind.connect)) or "none"
            raise NotFound(
                f"there is no {language} snippet for {kind.name}", f"Languages: {known}.", code="connect.language"
            )
        snippet = kind.connect[language]
        for suffix, value in blueprint.bindings.items():
            snippet = snippet.replace("{" + suffix + "}", value)
        return snippet

    async def scale(self, environment: str, label: str, count: int) -> Change:
        """Run `count` instances, within the limit."""
        running, service = self._scalable(environment, label)
        limit: int = service.limit
        if count > limit:
            raise Refused(
                f"{label} may run at most {limit} instances here",
                f"An operator can raise it: everup limit {label} {count}",
                code="refused.limit",
                label=label,
            )
        before: int = service.scale
        await self._override(running, label, {"scale": count})
        if before != count:
            running.controller.journal.say("scale.changed", label, before=before, after=count)
        return Change("scale", label, f"from {before} to {count} instances")

    async def limit(self, environment: str, label: str, count: int) -> Change:
        """Allow up to `count` instances."""
        running, service = self._scalable(environment, label)
        if count < service.scale:
            raise Refused(
                f"{label} runs {service.scale} instances, more than a limit of {count}",
                f"Scale it in first: everup scale {label} {count}",
                code="refused.limit",
                label=label,
            )
        before: int = service.limit
        await self._override(running, label, {"limit": count})
        if before != count:
            running.controller.journal.say("limit.changed", label, before=before, after=count)
        return Change("limit", label, f"from {before} to {count} instances")

    async def restart(self, environment: str, label: str) -> None:
        """Ask for a rolling restart; returns at once."""
        running = self._get(environment)
        self._blueprint(running, label)
        async with self._changing:
            revisions = {**running.saved.revisions, label: running.saved.revisions.get(label, 0) + 1}
            saved = replace(running.saved, revisions=revisions)
            await self._store.save_environment(environment, saved)
            blueprints, _ = self._layout.draw(running.environment, saved, self._store.grants(environment))
            running.controller.journal.say("restart.requested", label)
            self._change(running, running.environment, saved, blueprints)

    async def inject(self, environment: str, node: str, fault: str, for_s: float) -> None:
        """Break a node on purpose; `for_s` (seconds) bounds how long a lost node stays lost."""
        running = self._get(environment)
        if node not in running.controller.observed().nodes:
            raise NotFound(f"{environment} has no node {node}", "everup status names them.", node=node)
        injector: Any = running.engine
        known = sorted(getattr(injector, "faults", ()))
        if fault not in known:
            raise Refused(f"{fault} cannot be caused here", f"Possible: {', '.join(known)}.", code="refused.fault")
        breaker: FaultInjector = injector
        await breaker.inject(node, Fault(fault), for_s=for_s)

    async def stop(self, environment: str, *, destroy: bool) -> None:
        """Stop every node, and with `destroy` delete the data; returns at once, the picture tells the progress."""
        running = self._get(environment)
        async with self._changing:
            running.saved = replace(running.saved, stopped=True)
            await self._store.save_environment(environment, running.saved)
            running.controller.wind_down()
            if destroy and not running.destroying:
                running.destroying = True
                asyncio.create_task(self._destroy(environment, running))  # noqa: RUF006 - ends with the environment

    def events(self, environment: str, *, after: int, follow: bool) -> AsyncIterator[Event]:
        """Events numbered above `after`, oldest first; then, with `follow`, what comes."""
        return self._get(environment).controller.journal.follow(after, forever=follow)

    async def logs(self, environment: str, name: str, *, lines: int, follow: bool) -> AsyncIterator[tuple[str, str]]:
        """(node id, line) of one node, or of every node of a label."""
        running = self._get(environment)
        blueprint = next((one for one in running.controller.blueprints if one.label == name), None)
        known = running.controller.observed().nodes
        ids = (
            [node.id for node in blueprint.nodes if node.id in known] if blueprint else [name] if name in known else []
        )
        if not ids:
            raise NotFound(f"{environment} has no service or node {name}", "everup status names them.", label=name)
        async for pair in _merge(running.engine, ids, lines, follow):
            yield pair

    def _get(self, environment: str) -> Running:
        if environment not in self._running:
            known = ", ".join(self.environments()) or "none"
            raise NotFound(f"there is no environment {environment} here", f"Known: {known}.", environment=environment)
        return self._running[environment]

    def _blueprint(self, running: Running, label: str) -> Blueprint:
        for blueprint in running.controller.blueprints:
            if blueprint.label == label:
                return blueprint
        known = ", ".join(running.environment.services)
        raise NotFound(
            f"{running.environment.environment} has no service {label}", f"Its services: {known}.", label=label
        )

    def _scalable(self, environment: str, label: str) -> tuple[Running, Any]:
        running = self._get(environment)
        self._blueprint(running, label)
        service = running.environment.services[label]
        if not hasattr(service, "scale") or not hasattr(service, "limit"):
            raise Refused(
                f"{label} is of kind {service.kind}, which has no scale",
                "Its size is set by ha: in the spec.",
                code="refused.kind",
            )
        return running, service

    async def _override(self, running: Running, label: str, values: dict[str, int]) -> None:
        async with self._changing:
            overrides = {**running.saved.overrides, label: {**running.saved.overrides.get(label, {}), **values}}
            saved = replace(running.saved, overrides=overrides)
            environment = overridden(self._parse(saved.source), overrides)
            blueprints, granted = self._layout.draw(environment, saved, self._store.grants(environment.environment))
            await self._store.save_grants(environment.environment, granted)
            await self._store.save_environment(environment.environment, saved)
            self._change(running, environment, saved, blueprints)

    def _observed(self, name: str) -> Observed:
        return self._running[name].controller.observed() if name in self._running else Observed(0.0)

    def _take_up(self, name: str, environment: Environment, saved: Saved, blueprints: tuple[Blueprint, ...]) -> None:
        engine = self._engine_for(name, environment)
        controller = Controller(name, engine, self._store, Journal(name, self._store))
        controller.declare(blueprints)
        if saved.stopped:
            controller.wind_down()
        task = asyncio.create_task(controller.run(), name=f"controller {name}")
        self._running[name] = Running(environment, saved, controller, engine, task)
        controller.journal.say("control.started", pid=os.getpid())

    def _change(
        self, running: Running, environment: Environment, saved: Saved, blueprints: tuple[Blueprint, ...]
    ) -> None:
        running.environment, running.saved = environment, saved
        running.controller.declare(blueprints)
        if saved.stopped:
            running.controller.wind_down()

    async def _destroy(self, environment: str, running: Running) -> None:
        while True:
            await asyncio.sleep(0.05)
            if not running.saved.stopped:  # applied again meanwhile: nothing is deleted
                running.destroying = False
                return
            nodes = running.controller.observed().nodes
            if running.controller.settled and not any(status.state.running for status in nodes.values()):
                break
        for node_id in nodes:
            await running.engine.remove(node_id, keep_data=False)
        running.controller.journal.say("environment.stopped", destroyed=True)
        await running.controller.journal.flush()
        await self._store.forget_environment(environment)
        del self._running[environment]
        running.task.cancel()


async def _merge(engine: Engine, ids: list[str], lines: int, follow: bool) -> AsyncIterator[tuple[str, str]]:
    """The logs of several nodes: one after the other, or, when following, as the lines come."""
    if not follow:
        for node_id in ids:
            async for line in engine.logs(node_id, lines=lines, follow=False):
                yield node_id, line
        return
    queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(maxsize=1000)

    async def pour(node_id: str) -> None:
        async for line in engine.logs(node_id, lines=lines, follow=True):
            await queue.put((node_id, line))

    tasks = [asyncio.create_task(pour(node_id)) for node_id in ids]
    try:
        while True:
            yield await queue.get()
    finally:
        for task in tasks:
            task.cancel()
