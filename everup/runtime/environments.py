"""The environments under control: each with its controller and engine, taken up when the control plane starts."""

import asyncio
import os
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from everup.core.bindings import users_of_secrets
from everup.core.foresee import foresee
from everup.core.permission import check, unknown
from everup.core.plan import preview, view_of
from everup.model.access import OWNER, Caller
from everup.model.contracts import Engine, Kind
from everup.model.desired import Blueprint, Tcp
from everup.model.errors import EngineError, EverupError, NotFound, Refused
from everup.model.observed import Observed
from everup.model.picture import Change, Foresight
from everup.model.revisions import History
from everup.model.spec import Environment, Service, Source
from everup.runtime.controller import Controller
from everup.runtime.grants import AddressBook
from everup.runtime.journal import Hear, Journal
from everup.runtime.layout import Layout, overridden, refuse_unsettling
from everup.runtime.ledger import Ledger
from everup.runtime.store import Saved, Store

Parse = Callable[[Source], Environment]
FolderOf = Callable[[str], Path]

ADOPT_S = 3.0
"""How long a starting control plane takes, at most, to look at what runs before it answers questions about it."""


class Engines(Protocol):
    """Where environments run: `books` gives out addresses, by the name of the engine that an environment declares."""

    @property
    def books(self) -> Mapping[str, AddressBook]:
        """By the name of the engine."""
        ...

    async def ready(self, engine: str) -> None:
        """Return once that engine's book can give out addresses.

        Raises:
            EngineError: the engine cannot be reached.
        """
        ...

    def engine(self, name: str, environment: Environment) -> Engine:
        """The engine that runs the environment `name`."""
        ...

    async def close(self) -> None:
        """Let go of them; what runs goes on running."""
        ...


@dataclass
class Running:
    """One environment under control.

    Attributes:
        histories: the revisions of those of its services that have some.
        forsaken: addresses on lost hosts that its members wait for no longer.
    """

    environment: Environment
    saved: Saved
    controller: Controller
    engine: Engine
    task: asyncio.Task[None]
    destroying: bool = False
    histories: dict[str, History] = field(default_factory=dict)
    forsaken: Set[Tcp] = frozenset()


@dataclass(frozen=True)
class Draft:
    """An environment worked out and not yet in force: its blueprints, its grants, what it changes, whom that pauses."""

    environment: Environment
    saved: Saved
    blueprints: tuple[Blueprint, ...]
    granted: Mapping[str, Any]
    changes: tuple[Change, ...]
    pauses: tuple[Foresight, ...] = ()


class Environments:
    """What is under control, by name. `draft` works out, `enforce` makes it so; nothing else changes a declaration."""

    def __init__(
        self,
        store: Store,
        kinds: Mapping[str, Kind],
        engines: Engines,
        parse: Parse,
        folder_of: FolderOf,
    ) -> None:
        self.store = store
        self.kinds = kinds
        self.layout = Layout(kinds, engines.books)
        self.parse = parse
        self._engines = engines
        self._folder_of = folder_of
        self._running: dict[str, Running] = {}
        self.hearers: list[Hear] = []

    async def open(self) -> None:
        """Adopt what an earlier control plane left behind, running or half-way."""
        for name, saved in self.store.environments().items():
            try:
                with suppress(EngineError):  # it may not be back yet; nothing needs a new address, as a rule
                    await self._engines.ready(self.parse(saved.source).engine)
                draft = self.draft(saved)
            except EverupError as error:
                print(f"environment {name} is left alone, its spec is not understood: {error.message}", flush=True)
                continue
            self._take_up(name, draft)
            if draft.granted != self.store.grants(name):  # an earlier Everup did not claim all of it
                await self.store.save_grants(name, draft.granted)
        looks = [asyncio.create_task(running.controller.looked.wait()) for running in self._running.values()]
        if looks:
            await asyncio.wait(looks, timeout=ADOPT_S)
        for name in [name for name, running in self._running.items() if running.saved.doomed]:
            with suppress(EverupError):  # the desk goes on with it; nobody else waits for that
                await self.erase(name)

    async def close(self) -> None:
        """Let go of everything; what runs goes on running."""
        for name in self.names():
            await self._let_go(name)
        await self._engines.close()
        await self.store.finish()
        self.store.close()

    def names(self) -> list[str]:
        """The names of all environments that were applied here and not destroyed."""
        return sorted(self._running)

    def holds(self, running: Running) -> bool:
        """It is under control still: not deleted, let go, or taken up anew."""
        return self._running.get(running.environment.environment) is running

    def get(self, name: str) -> Running:
        """The environment `name`; `NotFound` when there is none."""
        if name not in self._running:
            raise unknown(name, self.names())
        return self._running[name]

    def blueprint(self, running: Running, label: str) -> Blueprint:
        """The service `label`; `NotFound` when it has none."""
        for blueprint in running.controller.blueprints:
            if blueprint.label == label:
                return blueprint
        name, known = running.environment.environment, ", ".join(running.environment.services)
        raise NotFound(f"{name} has no service {label}", f"Its services: {known}.", label=label)

    async def draft_source(self, source: Source, caller: Caller = OWNER) -> Draft:
        """Work out what `source` means here.

        Raises:
            SpecError: it is wrong.
            NotFound, NotPermitted: the caller may not declare it.
            Refused: it changes what cannot change in place.
            NotFound: it uses a secret that is not set.
            EngineError: where it is to run cannot be reached.
        """
        environment = self.parse(source)
        self.require_secrets(environment.environment, environment.services)
        running = self._running.get(environment.environment)
        check(caller, running.environment if running else None, environment)
        if running:
            refuse_unsettling(running.environment, environment)
        await self._engines.ready(environment.engine)
        before = self.store.environments().get(environment.environment)
        if not source.directory or not source.path:
            source = source.model_copy(update=_own_place() if before is None else _place_of(before.source))
        return self.draft(Saved(source, {}, before.revisions if before else {}, stopped=False))

    def require_secrets(self, environment: str, services: Mapping[str, Service]) -> None:
        """Make sure that every secret that these services use is set.

        Raises:
            NotFound: says which is not, and how to set it.
        """
        users = users_of_secrets(services)
        if missing := self.store.vault.missing(environment, users):
            one = missing[0]
            raise NotFound(
                f"the secret {one}, which {' and '.join(users[one])} uses, is not set in {environment}",
                "\n".join(f"everup secret set {name}" for name in missing),
                code="secret.missing",
                name=one,
            )

    def draft(self, saved: Saved) -> Draft:
        """Work out blueprints and grants; nothing is stored or changed."""
        environment = overridden(self.parse(saved.source), saved.overrides)
        name = environment.environment
        forsaken = self._running[name].forsaken if name in self._running else frozenset()
        blueprints, granted = self.layout.draw(environment, saved, self.store.grants(name), forsaken)
        observed = self._running[name].controller.observed() if name in self._running else Observed(0.0)
        before = {one.label: one for one in self._running[name].controller.blueprints} if name in self._running else {}
        foreseen = (foresee(before.get(one.label), one, view_of(one, observed)) for one in blueprints)
        pauses = tuple(one for one in foreseen if one)
        return Draft(environment, saved, blueprints, granted, preview(blueprints, observed), pauses)

    def displaced(self, running: Running) -> bool:
        """Something of it is to be granted another address than it has; `draft` does that."""
        granted = self.store.grants(running.environment.environment)
        return self.layout.granted(running.environment, granted, running.forsaken) != granted

    async def enforce(self, draft: Draft) -> Running:
        """Store the draft, then declare it; a change of programs looks for them afresh. What was stopped stays so.

        Raises:
            Refused: the environment is being deleted.
        """
        name = draft.environment.environment
        running = self._running.get(name)
        if running and running.saved.doomed:
            hint = f"everup -e {name} events says what is waited for."
            raise Refused(f"{name} is being deleted, and some of it cannot be yet", hint, code="refused.doomed")
        if running is None or running.saved != draft.saved or draft.granted != self.store.grants(name):
            await self.store.save_grants(name, draft.granted)
            await self.store.save_environment(name, draft.saved)
        if running and running.environment.programs != draft.environment.programs:
            await self._let_go(name)
            running = None
        if running is None:
            return self._take_up(name, draft)
        running.environment, running.saved = draft.environment, draft.saved
        running.controller.declare(draft.blueprints)
        if draft.saved.stopped:
            running.controller.wind_down()
        return running

    async def erase(self, name: str) -> None:
        """Delete what is left of an environment of which nothing runs. A control plane that dies here is not the end:
        the next one deletes the rest, so that nobody ever applies half of what there was.

        Raises:
            EverupError: something could not be deleted, or not be forgotten. It can be called again.
        """
        running = self._running[name]
        running.saved = replace(running.saved, stopped=True, doomed=True)
        await self.store.save_environment(name, running.saved)
        for node_id in await running.engine.observe():
            await running.engine.remove(node_id, keep_data=False)
        await running.controller.ledger.discard()
        await _ended(running.task)
        await self.store.forget_environment(name)
        del self._running[name]

    async def _let_go(self, name: str) -> None:
        """Stop looking after an environment; what runs goes on running."""
        await _ended(self._running.pop(name).task)

    def _take_up(self, name: str, draft: Draft) -> Running:
        engine = self._engines.engine(name, draft.environment)
        journal = Journal(name, self.store, self.hearers)
        controller = Controller(name, engine, self.store, journal, Ledger(self._folder_of(name) / "lost", journal))
        controller.declare(draft.blueprints)
        if draft.saved.stopped:
            controller.wind_down()
        task = asyncio.create_task(controller.run(), name=f"controller {name}")
        self._running[name] = Running(draft.environment, draft.saved, controller, engine, task)
        controller.journal.say("control.started", pid=os.getpid())
        return self._running[name]


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _place_of(source: Source) -> dict[str, str]:
    return {"directory": source.directory, "path": source.path}


def _own_place() -> dict[str, str]:
    """Where apps run, and find their programs, that were declared from another machine."""
    return {"directory": str(Path.home()), "path": os.environ.get("PATH", os.defpath)}
