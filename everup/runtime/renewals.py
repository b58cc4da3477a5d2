"""Other passwords for the clients of a service, with an overlap in which the former one works too."""

import secrets
from collections.abc import Mapping
from typing import Any

from everup.core.plan import view_of
from everup.core.rollout import left_behind
from everup.model.desired import Ask, Renewal, ReplyError, Silence
from everup.model.errors import Refused
from everup.runtime.environments import Running
from everup.runtime.sizes import Sizes
from everup.runtime.talk import ask


class Renewals(Sizes):
    """The part of the desk that rotates passwords. Each step may be repeated after one that went wrong half-way."""

    async def rotate(self, environment: str, label: str) -> tuple[str, str, tuple[str, ...]]:
        """Give the clients of a service another password; the former one goes on working.

        Returns the name they log in with from now on, the former one, and the services that are restarted for it.
        """
        async with self._changing:
            running, renewal = self._renewable(environment, label)
            if renewal.former:
                raise Refused(
                    f"a rotation of {label} is under way: {renewal.former} can still log in",
                    f"When nobody uses it any more: everup rotate {label} --finish",
                    code="refused.rotation",
                    label=label,
                )
            password = secrets.token_urlsafe(24)
            await self._tell(running, label, renewal.begin(password))
            grants = {key: value.replace("{password}", password) for key, value in renewal.begun.items()}
            await self._grant(running, label, grants)
            running.controller.journal.say("password.renewed", label, user=renewal.login, former=renewal.current)
            users = tuple(one.label for one in running.controller.blueprints if label in one.needs)
            return renewal.login, renewal.current, users

    async def finish_rotation(self, environment: str, label: str, cut: bool) -> tuple[str, int]:
        """End the former password, and with `cut` the sessions that began with it; its name and how many there were.

        Without `cut` it is refused while an instance still runs with the variables of before.
        """
        async with self._changing:
            running, renewal = self._renewable(environment, label)
            if not renewal.former:
                hint = f"Begin one: everup rotate {label}"
                raise Refused(f"no rotation of {label} is under way", hint, code="refused.rotation", label=label)
            observed = running.controller.observed()
            users = [one for one in running.controller.blueprints if label in one.needs]
            late = [node_id for one in users for node_id in left_behind(one, view_of(one, observed))]
            if late and not cut:
                raise Refused(
                    f"with the variables of before still run: {', '.join(late)}",
                    "They are being replaced: everup status. --cut does not wait for them.",
                    code="refused.rotation",
                    label=label,
                )
            replies = await self._tell(running, label, renewal.finish(cut))
            sessions = int(replies[1][0][0])
            await self._grant(running, label, renewal.finished)
            running.controller.journal.say("password.ended", label, user=renewal.former, sessions=sessions, cut=cut)
            return renewal.former, sessions

    def _renewable(self, environment: str, label: str) -> tuple[Running, Renewal]:
        running = self._environments.get(environment)
        blueprint = self._environments.blueprint(running, label)
        if blueprint.renewal is None:
            raise Refused(
                f"{label} is of kind {blueprint.kind}, which has no password that can be rotated",
                "PostgreSQL has. A Redis gets another one under another label.",
                code="refused.kind",
                label=label,
            )
        return running, blueprint.renewal

    async def _tell(self, running: Running, label: str, question: Ask) -> tuple[Any, ...]:
        """Have the service do it; `Refused` in its own words where it does not."""
        reply = await ask(question, running.controller.console)
        trouble = (
            reply.because
            if isinstance(reply, Silence)
            else next((str(one) for one in reply if isinstance(one, ReplyError)), "")
        )
        if trouble or isinstance(reply, Silence):
            hint = "Nothing changes for clients. When it is well, try again: everup status"
            raise Refused(f"{label} did not do it: {trouble}", hint, code="refused.rotation", label=label)
        return reply

    async def _grant(self, running: Running, label: str, grants: Mapping[str, str]) -> None:
        """Keep what is granted from now on, and declare what follows from it."""
        name = running.environment.environment
        await self._environments.store.save_grants(name, {f"{label}/{key}": value for key, value in grants.items()})
        await self._declare(self._environments.draft(running.saved))
