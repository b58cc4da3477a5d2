"""Changing the revision that a service runs: restart, deploy, rollback."""

from typing import Any

from everup.model.errors import NotFound, Refused
from everup.model.revisions import KEYS, History
from everup.model.spec import Source
from everup.runtime.declaring import Declaring
from everup.runtime.environments import Running
from everup.runtime.layout import declared_anew


class Releases(Declaring):
    """The part of the desk that starts nodes anew."""

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
                spec = self._environments.parse(source)
                values = declared_anew(environment, label, service, spec)
                self._environments.require_secrets(environment, {label: spec.services[label]})
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

    def _revised(self, environment: str, label: str) -> tuple[Running, Any]:
        hint = f"Restart its servers one after another: everup restart {label}"
        return self._able(environment, label, KEYS, "revisions", hint)

    async def _renew(self, running: Running, label: str, values: dict[str, Any], because: str) -> int | None:
        """Restart every node of a service, with `values` from now on; returns the number of the revision, if it has."""
        history = running.histories.get(label, History())
        newest = max((one.number for one in history.revisions), default=running.saved.revisions.get(label, 0))
        serials = {**running.saved.revisions, label: newest + 1}
        await self._override(running, label, values, because, serials)
        return running.histories[label].current if label in running.histories else None
