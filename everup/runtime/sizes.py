"""Changing how large a service is: scale, limit, high availability."""

from typing import Any

from everup.model.errors import Refused
from everup.model.picture import Change, Foresight
from everup.runtime.releases import Releases

SERVERS = (3, 7)
"""The sizes that a group with a primary may have: it survives the loss of a server, and everybody copies one."""


class Sizes(Releases):
    """The part of the desk that adds and takes away nodes."""

    async def scale(self, environment: str, label: str, count: int) -> Change:
        """Run `count` instances, within the limit; or, of a group with a primary, `count` servers."""
        async with self._changing:
            running, service = self._able(
                environment, label, ("needs",), "scale", "Its size follows from who needs it."
            )
            if hasattr(service, "ha"):
                self._check_servers(label, service, count)
            else:
                self._check_limit(label, service.limit, count)
            before = service.size
            await self._override(running, label, service.sized(count))
            if before != count:
                running.controller.journal.say("scale.changed", label, before=before, after=count)
            return Change("scale", label, f"from {before} to {count}")

    async def limit(self, environment: str, label: str, count: int) -> Change:
        """Allow up to `count` instances."""
        async with self._changing:
            running, service = self._able(environment, label, ("limit",), "limit", f"Its size: everup scale {label} 3")
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

    async def ha(self, environment: str, label: str, enabled: bool) -> tuple[Change, Foresight | None]:
        """Make one server a group that survives the loss of any one, or a group one server, while clients write.

        A group gets the size that the spec file gives it, if it gives one. Returns what changes and the pause foreseen.
        """
        async with self._changing:
            hint = f"More instances of it survive the loss of one: everup scale {label} 2"
            running, service = self._able(environment, label, ("ha",), "ha", hint)
            declared: Any = self._environments.parse(running.saved.source).services.get(label)
            values: dict[str, object] = {"ha": (getattr(declared, "ha", False) or True) if enabled else False}
            if hasattr(service, "replace_after"):  # which a single server has none of
                values["replace_after"] = getattr(declared, "replace_after", None) if enabled else None
            values = type(service).model_validate({**service.model_dump(), **values}).model_dump(include=set(values))
            if bool(service.ha) == enabled:
                return Change("ha", label, f"it is {_word(enabled)} already"), None
            draft = await self._override(running, label, values)
            running.controller.journal.say("ha.changed", label, ha=_word(enabled))
            foresight = next((one for one in draft.pauses if one.label == label), None)
            return Change("ha", label, f"it is to be {_word(enabled)}"), foresight

    def _check_limit(self, label: str, limit: int, count: int) -> None:
        if count > limit:
            raise Refused(
                f"{label} may run at most {limit} instances here",
                f"An operator can raise it: everup limit {label} {count}",
                code="refused.limit",
                label=label,
            )

    def _check_servers(self, label: str, service: Any, count: int) -> None:
        least, most = SERVERS
        if not service.ha:
            hint = f"Make it a group first: everup ha enable {label}"
            raise Refused(f"{label} is one server", hint, code="refused.single", label=label)
        if count < least:
            hint = f"To have one server only: everup ha disable {label}"
            why = f"{label} cannot lose a server and stay redundant with {count}"
            raise Refused(f"{why}; a group has {least} or more", hint, code="refused.quorum", label=label)
        if count > most:
            why = f"{label} may have at most {most} servers: each of them copies the primary"
            raise Refused(why, "Nobody can raise that; split the load over several services.", code="refused.limit")


def _word(enabled: bool) -> str:
    return "highly available" if enabled else "one server"
