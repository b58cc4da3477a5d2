"""Where requests are taken: the desk itself applies specs, hands over, breaks and stops; its bases do the rest."""

import asyncio
from dataclasses import replace
from typing import Any

from everup.core.rehearsal import admit
from everup.model.access import OWNER, Caller
from everup.model.actions import Operate
from everup.model.contracts import Fault, FaultInjector
from everup.model.desired import Part
from everup.model.errors import EngineError, EverupError, NotFound, Refused
from everup.model.observed import Group
from everup.model.picture import Change
from everup.model.spec import Source
from everup.runtime.environments import Environments, Running
from everup.runtime.places import Places
from everup.runtime.secrets import Secrets

SWITCHOVER_S = 25.0
"""How long somebody who asked for a switchover waits, at most; their connection gives up after 30 s."""


LOOK_S, AGAIN_S = 0.05, 1.0
"""How often it is looked whether all has stopped that is to be deleted, and after it could not be deleted."""


class Desk(Places):
    """The control plane as its API sees it. Changes are made one at a time."""

    def __init__(self, environments: Environments) -> None:
        super().__init__(environments)
        self._destructions: set[asyncio.Task[None]] = set()
        self.trail = environments.store.audit
        self.secrets = Secrets(environments)

    async def open(self) -> None:
        """Go on with what an earlier control plane began."""
        await super().open()
        for name in self._environments.names():
            running = self._environments.get(name)
            if running.saved.doomed:
                self._begin_to_destroy(name, running)

    async def apply(self, source: Source, caller: Caller = OWNER) -> tuple[str, tuple[Change, ...]]:
        """Declare what runs from now on; returns the environment's name and what will change.

        Raises:
            SpecError: the source is wrong; nothing was changed.
            NotFound, NotPermitted: the caller may not declare it; nothing was changed.
        """
        async with self._changing:
            draft = await self._environments.draft_source(source, caller)
            running = await self._declare(draft)
            if draft.changes:
                running.controller.journal.say("spec.applied", services=list(draft.environment.services))
            return draft.environment.environment, draft.changes

    async def switchover(self, environment: str, label: str, to: str | None) -> str:
        """Hand the role of the primary to the node `to`, or the best one; returns how that went, in words."""
        running = self._environments.get(environment)
        blueprint = self._environments.blueprint(running, label)
        members = [node.id for node in blueprint.of(Part.DATA)]
        if "switchover" not in blueprint.operations or len(members) < 2:
            hint = f"Declare {label} with ha: true first." if members else "Only services with a primary have one."
            raise Refused(f"{label} has nobody to hand over to", hint, code="refused.switchover", label=label)
        if to is not None and to not in members:
            raise NotFound(f"{label} has no server {to}", f"Its servers: {', '.join(members)}.", node=to)
        if to is not None and to == running.controller.observed().groups.get(label, Group()).primary:
            raise Refused(f"{to} is the primary already", code="refused.switchover", label=label)
        wish = Operate(label, "switchover", "somebody asked for it", to)
        attempt = await running.controller.wishes.fulfil(wish, SWITCHOVER_S)
        if not attempt.done:
            hint = f"everup status {label} --nodes shows who is in sync."
            raise Refused(
                f"{label} was not handed over: {attempt.because}", hint, code="refused.switchover", label=label
            )
        return attempt.because

    async def inject(self, environment: str, node: str, fault: str, for_s: float) -> None:
        """Break a node on purpose; `for_s` (seconds) bounds how long a lost node stays lost, or a host cut off."""
        running = self._environments.get(environment)
        if node not in running.controller.observed().nodes:
            raise NotFound(f"{environment} has no node {node}", "everup status names them.", node=node)
        injector: Any = running.engine
        known = sorted(getattr(injector, "faults", ()))
        if fault not in known:
            raise Refused(f"{fault} cannot be caused here", f"Possible: {', '.join(known)}.", code="refused.fault")
        for outage in (await self._foresee(running, fault, [node])).values():
            admit(outage, running.controller.observed().nodes[node].state.service, confirmed=True)
        breaker: FaultInjector = injector
        await self._environments.store.confirm()
        try:
            await breaker.inject(node, Fault(fault), for_s=for_s)
        except EngineError as error:
            if error.code != "engine.not_running":
                raise
            raise Refused(error.message, "everup status says why.", code="refused.not_running", node=node) from error

    async def stop(self, environment: str, *, destroy: bool) -> None:
        """Stop every node, and with `destroy` delete the data; returns at once, the picture tells the progress."""
        async with self._changing:
            running = self._environments.get(environment)
            running.saved = replace(running.saved, stopped=True)
            await self._environments.store.save_environment(environment, running.saved)
            running.controller.wind_down()
            if destroy and not running.destroying:
                self._begin_to_destroy(environment, running)

    def _begin_to_destroy(self, environment: str, running: Running) -> None:
        running.destroying = True
        task = asyncio.create_task(self._destroy(environment, running), name=f"destroy {environment}")
        self._destructions.add(task)
        task.add_done_callback(self._destructions.discard)

    async def _destroy(self, environment: str, running: Running) -> None:
        """Delete everything once nothing runs; applying the environment again before that saves it."""
        pause_s, told = LOOK_S, ""
        while running.saved.stopped:
            await asyncio.sleep(pause_s)
            async with self._changing:
                if not self._environments.holds(running):
                    return
                nodes = running.controller.observed().nodes
                busy = not running.controller.settled or any(status.state.running for status in nodes.values())
                if busy or not running.saved.stopped:
                    continue
                try:
                    await self._environments.erase(environment)
                    return
                except EverupError as error:  # a host with some of its data, or the store, does not answer for now
                    if error.message != told:
                        told = error.message
                        running.controller.journal.say("environment.held", because=told, hint=error.hint)
                    pause_s = AGAIN_S
        running.destroying = False
