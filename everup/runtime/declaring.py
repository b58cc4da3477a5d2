"""Changing one service otherwise than by its spec file: what every such change has in common."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from everup.core.health import service_health
from everup.core.plan import preview, view_of
from everup.model.errors import Refused
from everup.model.picture import Foresight
from everup.model.revisions import LATER, Revision
from everup.runtime.drills import Rehearsal
from everup.runtime.environments import Draft, Environments, Running
from everup.runtime.pulse import beats_until, pause_of
from everup.runtime.rollouts import Rollouts

MEASURED_S = 300.0
"""A change that takes longer than this is measured no further."""

SAME = "its declaration changed"


class Declaring(Rehearsal):
    """Declares, one change at a time; numbers revisions, and measures the pauses that changes cause."""

    def __init__(self, environments: Environments) -> None:
        super().__init__(environments)
        self._changing = asyncio.Lock()
        self._rollouts = Rollouts(environments, self._undo)
        self._measurements: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Go on with the rollouts that an earlier control plane began."""
        async with self._changing:
            for name in self._environments.names():
                await self._rollouts.note(self._environments.get(name))

    def _able(self, environment: str, label: str, keys: tuple[str, ...], what: str, hint: str) -> tuple[Running, Any]:
        """The environment and the declaration of a service that has all these `keys`."""
        running = self._environments.get(environment)
        self._environments.blueprint(running, label)
        service = running.environment.services.get(label)
        if not all(hasattr(service, key) for key in keys):
            kind = f"of kind {service.kind}" if service else "a service of Everup's own"
            raise Refused(f"{label} is {kind}, which has no {what}", hint, code="refused.kind", label=label)
        return running, service

    async def _declare(self, draft: Draft, because: str = SAME) -> Running:
        """Put a draft in force, follow its revisions, and measure the pauses that it foresees."""
        running = await self._environments.enforce(draft)
        await self._rollouts.note(running, because)
        for foresight in draft.pauses:
            task = asyncio.create_task(self._measure(running, foresight), name=f"pause of {foresight.label}")
            self._measurements.add(task)
            task.add_done_callback(self._measurements.discard)
        return running

    async def _override(
        self,
        running: Running,
        label: str,
        values: Mapping[str, object],
        because: str = SAME,
        serials: Mapping[str, int] | None = None,
    ) -> Draft:
        """Declare a service with other `values` than the spec file's, until that is applied again."""
        overrides = {**running.saved.overrides, label: {**running.saved.overrides.get(label, {}), **values}}
        revisions = running.saved.revisions if serials is None else serials
        draft = self._environments.draft(replace(running.saved, overrides=overrides, revisions=revisions))
        await self._declare(draft, because)
        return draft

    async def _bring_back(self, running: Running, label: str, one: Revision, because: str) -> None:
        """Declare a revision that was declared before."""
        serials = {**running.saved.revisions, label: one.serial}
        declared = {**dict.fromkeys(LATER), **one.declared}
        await self._override(running, label, declared, because, serials)

    async def _undo(self, environment: str, label: str, one: Revision) -> None:
        async with self._changing:
            await self._bring_back(self._environments.get(environment), label, one, "the newer one failed")

    async def _measure(self, running: Running, foresight: Foresight) -> None:
        """Write where clients do until the service is as declared, and say how long that had to wait."""
        controller, label = running.controller, foresight.label

        def blueprint() -> Any:
            return next((one for one in controller.blueprints if one.label == label), None)

        def done() -> bool:
            view = view_of(blueprint(), controller.observed()) if blueprint() else None
            return view is None or (
                service_health(blueprint(), view)[0] == "healthy"
                and not preview([blueprint()], replace(controller.observed(), nodes=view.nodes))
            )

        answered = await beats_until(done, blueprint().pauses.beat, controller.console, MEASURED_S)
        if (found := pause_of(answered)) and not running.task.done():
            pause_s, usual_s = found
            fields: dict[str, Any] = {
                "pause_s": round(pause_s, 3),
                "usual_s": round(usual_s, 3),
                "predicted_s": foresight.pause_s,
            }
            controller.journal.say("pause.measured", label, **fields, writes=len(answered))
