"""Follows new revisions of apps and workers until they are good, and brings the former one back where they are not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from everup.core.plan import view_of
from everup.core.rollout import Progress, advance, verdict
from everup.model.errors import EverupError
from everup.model.revisions import KEYS, History, Revision, Trial
from everup.runtime.environments import Environments, Running

LOOK_S = 0.1

Undo = Callable[[str, str, Revision], Awaitable[None]]
"""Declares, in an environment and for a label, that revision again."""


class Rollouts:
    """One task per revision that is being rolled out. `undo` is called when one has failed after another was good."""

    def __init__(self, environments: Environments, undo: Undo) -> None:
        self._environments = environments
        self._undo = undo
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._left: dict[tuple[str, str], int] = {}

    async def note(self, running: Running, because: str = "its declaration changed") -> None:
        """Take in what an environment declares now: number what is new, follow what is being rolled out."""
        name = running.environment.environment
        stored = self._environments.store.revisions(name)
        for label, service in running.environment.services.items():
            if all(hasattr(service, key) for key in KEYS):
                before = running.histories.get(label) or History(stored.get(label, ()))
                declared = self._declared(running, service)
                running.histories[label] = await self._note_one(running, label, declared, before)
                self._tell(running, label, before.current, because)
        for label in set(running.histories) - set(running.environment.services):
            del running.histories[label]

    async def _note_one(self, running: Running, label: str, declared: dict[str, Any], before: History) -> History:
        """The history with what is declared now as its current revision."""
        number = 1 + max((one.number for one in before.revisions), default=0)
        serial = running.saved.revisions.get(label, 0)
        new = Revision(number, declared, serial, datetime.now(UTC).isoformat(timespec="seconds"))
        known = next((one for one in reversed(before.revisions) if one.digest == new.digest), None)
        if known is None:
            await self._save(running, label, new)
            return History((*before.revisions, new), number)
        if known.number == before.current or not before.current:
            return replace(before, current=known.number)
        if before.now and before.now.trial == Trial.FAILED and known.trial == Trial.GOOD:
            return replace(before, current=known.number)  # it was rolled back to: most instances never left it
        return await self._set(running, label, replace(before, current=known.number), Trial.ROLLING, "")

    def _declared(self, running: Running, service: Any) -> dict[str, Any]:
        """What makes a revision, with `cwd` as an absolute path; None where the image says it."""
        found: dict[str, Any] = service.model_dump(include=set(KEYS))
        if found["cwd"] is None and self._environments.layout.spread(running.environment.engine):
            return found
        return found | {"cwd": str(PurePosixPath(running.saved.source.directory) / (service.cwd or "."))}

    def _tell(self, running: Running, label: str, before: int, because: str) -> None:
        history = running.histories[label]
        now, key = history.now, (running.environment.environment, label)
        if before and history.current != before:
            self._left[key] = before
            running.controller.journal.say("revision.declared", label, number=history.current, because=because)
        if now is None or now.trial == Trial.GOOD or running.saved.stopped:
            return
        task = self._tasks.get(key)
        if history.current != before or task is None or task.done():
            if task:
                task.cancel()
            self._tasks[key] = asyncio.create_task(self._follow(running, label, now), name=f"rollout {label}")

    async def _follow(self, running: Running, label: str, one: Revision) -> None:
        """Look again and again until the revision is good or has failed; one with none before it may take for ever."""
        progress = Progress.beginning(time.monotonic())
        trial, because = one.trial, one.because
        while trial == Trial.ROLLING:
            await asyncio.sleep(LOOK_S)
            if running.saved.stopped or running.task.done():
                return
            former = self._former(running, label)
            patience_s = getattr(running.environment.services.get(label), "ready_within", 0.0)
            blueprint = next((each for each in running.controller.blueprints if each.label == label), None)
            if blueprint is None:
                return
            view = view_of(blueprint, running.controller.observed())
            progress = advance(progress, blueprint, view)
            trial, because = verdict(progress, blueprint, view, patience_s)
            trial = Trial.ROLLING if trial == Trial.FAILED and former is None else trial
        await self._end(running, label, trial, because, time.monotonic() - progress.begun_s)

    async def _end(self, running: Running, label: str, trial: Trial, because: str, took_s: float) -> None:
        history = await self._set(running, label, running.histories[label], trial, because)
        running.histories[label] = history
        say = running.controller.journal.say
        if trial == Trial.GOOD:
            say("revision.good", label, number=history.current, took_s=round(took_s, 3))
        elif former := self._former(running, label):
            say("revision.failed", label, number=history.current, because=because, back_to=former.number)
            try:
                await self._undo(running.environment.environment, label, former)
            except EverupError as error:
                say("service.held", label, because=f"revision {former.number} cannot come back: {error}")

    def _former(self, running: Running, label: str) -> Revision | None:
        """Where a failed revision leads back to: to what ran before it, as far as is known, if that was good."""
        history = running.histories[label]
        left = history.find(self._left.get((running.environment.environment, label), 0))
        good = left is not None and left.trial == Trial.GOOD and left.number != history.current
        return left if good else history.former

    async def _set(self, running: Running, label: str, history: History, trial: Trial, because: str) -> History:
        """The history with its current revision at `trial`, stored."""
        revisions = [
            replace(one, trial=trial, because=because) if one.number == history.current else one
            for one in history.revisions
        ]
        changed = History(tuple(revisions), history.current)
        if changed.now:
            await self._save(running, label, changed.now)
        return changed

    async def _save(self, running: Running, label: str, one: Revision) -> None:
        await self._environments.store.save_revision(running.environment.environment, label, one)
