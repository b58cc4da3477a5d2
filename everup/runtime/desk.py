"""Where requests are taken: applies specs, scales, restarts, stops; questions go to `inquiry`."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from everup.model.actions import Operate
from everup.model.contracts import Fault, FaultInjector
from everup.model.desired import Part
from everup.model.errors import NotFound, Refused
from everup.model.observed import Group
from everup.model.picture import Change
from everup.model.revisions import KEYS, History, Revision
from everup.model.spec import Source
from everup.runtime.environments import Environments, Running
from everup.runtime.inquiry import Inquiry
from everup.runtime.layout import declared_anew
from everup.runtime.rollouts import Rollouts

SWITCHOVER_S = 25.0
"""How long somebody who asked for a switchover waits, at most; their connection gives up after 30 s."""


class Desk(Inquiry):
    """The control plane as its API sees it. Changes are made one at a time."""

    def __init__(self, environments: Environments) -> None:
        super().__init__(environments)
        self._changing = asyncio.Lock()
        self._rollouts = Rollouts(environments, self._undo)
        self._destructions: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Go on with the rollouts that an earlier control plane began."""
        async with self._changing:
            for name in self._environments.names():
                await self._rollouts.note(self._environments.get(name))

    async def apply(self, source: Source) -> tuple[str, tuple[Change, ...]]:
        """Declare what runs from now on; returns the environment's name and what will change.

        Raises:
            SpecError: the source is wrong; nothing was changed.
        """
        async with self._changing:
            draft = self._environments.draft_source(source)
            running = await self._environments.enforce(draft)
            await self._rollouts.note(running)
            if draft.changes:
                running.controller.journal.say("spec.applied", services=list(draft.environment.services))
            return draft.environment.environment, draft.changes

    async def scale(self, environment: str, label: str, count: int) -> Change:
        """Run `count` instances, within the limit."""
        async with self._changing:
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
        async with self._changing:
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

    async def restart(self, environment: str, label: str) -> int | None:
        """Ask for a rolling restart; returns at once, with the number of the revision that this makes of an app."""
        async with self._changing:
            running = self._environments.get(environment)
            self._environments.blueprint(running, label)
            running.controller.journal.say("restart.requested", label)
            return await self._renew(running, label, {}, "somebody asked for a restart")

    async def deploy(self, environment: str, label: str, source: Source | None) -> int | None:
        """Start every instance anew as `source`, the spec file, now declares it; returns the revision's number."""
        async with self._changing:
            running, service = self._revised(environment, label)
            values: dict[str, Any] = {}
            if source is not None:
                values = declared_anew(environment, label, service, self._environments.parse(source))
            return await self._renew(running, label, values, "somebody asked for a deploy")

    async def rollback(self, environment: str, label: str, to: int | None) -> int:
        """Declare a former revision again: number `to`, or the newest other one that was good."""
        async with self._changing:
            running, _ = self._revised(environment, label)
            history = running.histories.get(label, History())
            one = history.find(to) if to is not None else history.former
            if one is None:
                known = ", ".join(str(one.number) for one in history.revisions)
                what = f"no revision {to}" if to is not None else "no former revision that was good"
                raise NotFound(f"{label} has {what}", f"Known: {known or 'none'}.", code="no_revision", label=label)
            if one.number == history.current:
                raise Refused(f"{label} runs revision {one.number} already", code="refused.revision", label=label)
            await self._bring_back(running, label, one, "somebody asked for a rollback")
            return one.number

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
        """Break a node on purpose; `for_s` (seconds) bounds how long a lost node stays lost."""
        running = self._environments.get(environment)
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
        async with self._changing:
            running = self._environments.get(environment)
            running.saved = replace(running.saved, stopped=True)
            await self._environments.store.save_environment(environment, running.saved)
            running.controller.wind_down()
            if destroy and not running.destroying:
                running.destroying = True
                task = asyncio.create_task(self._destroy(environment, running), name=f"destroy {environment}")
                self._destructions.add(task)
                task.add_done_callback(self._destructions.discard)

    def _scalable(self, environment: str, label: str) -> tuple[Running, Any]:
        return self._able(environment, label, ("scale", "limit"), "scale", "Its size is set by ha: in the spec.")

    def _revised(self, environment: str, label: str) -> tuple[Running, Any]:
        hint = f"Restart its servers one after another: everup restart {label}"
        return self._able(environment, label, KEYS, "revisions", hint)

    def _able(self, environment: str, label: str, keys: tuple[str, ...], what: str, hint: str) -> tuple[Running, Any]:
        """The environment and the declaration of a service that has all these `keys`."""
        running = self._environments.get(environment)
        self._environments.blueprint(running, label)
        service = running.environment.services.get(label)
        if not all(hasattr(service, key) for key in keys):
            kind = f"of kind {service.kind}" if service else "a service of Everup's own"
            raise Refused(f"{label} is {kind}, which has no {what}", hint, code="refused.kind", label=label)
        return running, service

    async def _renew(self, running: Running, label: str, values: dict[str, Any], because: str) -> int | None:
        """Restart every node of a service, with `values` from now on; returns the number of the revision, if it has."""
        history = running.histories.get(label, History())
        newest = max((one.number for one in history.revisions), default=running.saved.revisions.get(label, 0))
        serials = {**running.saved.revisions, label: newest + 1}
        await self._enforce(running, label, values, because, serials)
        return running.histories[label].current if label in running.histories else None

    async def _bring_back(self, running: Running, label: str, one: Revision, because: str) -> None:
        """Declare a revision that was declared before."""
        await self._enforce(running, label, dict(one.declared), because, {**running.saved.revisions, label: one.serial})

    async def _undo(self, environment: str, label: str, one: Revision) -> None:
        async with self._changing:
            await self._bring_back(self._environments.get(environment), label, one, "the newer one failed")

    async def _override(self, running: Running, label: str, values: dict[str, Any]) -> None:
        await self._enforce(running, label, values, "its declaration changed", running.saved.revisions)

    async def _enforce(
        self, running: Running, label: str, values: dict[str, Any], because: str, serials: Mapping[str, int]
    ) -> None:
        """Declare a service with other `values` than the spec file's, until that is applied again."""
        overrides = {**running.saved.overrides, label: {**running.saved.overrides.get(label, {}), **values}}
        saved = replace(running.saved, overrides=overrides, revisions=serials)
        await self._rollouts.note(await self._environments.enforce(self._environments.draft(saved)), because)

    async def _destroy(self, environment: str, running: Running) -> None:
        """Delete everything once nothing runs; applying the environment again meanwhile saves it."""
        while running.saved.stopped:
            await asyncio.sleep(0.05)
            async with self._changing:
                nodes = running.controller.observed().nodes
                busy = not running.controller.settled or any(status.state.running for status in nodes.values())
                if busy or not running.saved.stopped:
                    continue
                await self._environments.erase(environment)
                return
        running.destroying = False
