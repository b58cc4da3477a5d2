"""Other passwords for the clients of a service, with an overlap in which the former one works too."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

from everup.core.plan import view_of
from everup.core.rollout import left_behind
from everup.model.desired import Ask, NodeId, ReplyError, Silence
from everup.model.errors import Refused
from everup.model.renewal import Renewal, Turn
from everup.runtime.environments import Running
from everup.runtime.sizes import Sizes
from everup.runtime.talk import Reply, ask

QUIET_S, LOOK_S = 10.0, 0.01
"""An environment that never comes to rest does not keep a leaked password alive."""


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
            await self._take(running, label, renewal.begin(secrets.token_urlsafe(24)))
            running.controller.journal.say("password.renewed", label, user=renewal.login, former=renewal.current)
            users = tuple(one.label for one in running.controller.blueprints if label in one.needs)
            return renewal.login, renewal.current, users

    async def finish_rotation(self, environment: str, label: str, cut: bool) -> tuple[str, int]:
        """End the former password, and with `cut` the sessions that may have begun with it; its name and their number.

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
            replies = await self._take(running, label, renewal.finish(cut))
            sessions = sum(map(renewal.sessions, replies))
            running.controller.journal.say("password.ended", label, user=renewal.former, sessions=sessions, cut=cut)
            return renewal.former, sessions

    def _renewable(self, environment: str, label: str) -> tuple[Running, Renewal]:
        running = self._environments.get(environment)
        blueprint = self._environments.blueprint(running, label)
        if blueprint.renewal is None:
            raise Refused(
                f"{label} is of kind {blueprint.kind}, and has no password that can be rotated",
                "PostgreSQL has, and a Redis with auth: true.",
                code="refused.kind",
                label=label,
            )
        return running, blueprint.renewal

    async def _take(self, running: Running, label: str, turn: Turn) -> list[tuple[Any, ...]]:
        """Take one step, whose end is granted only once every node that runs has done it; what they answered.

        Raises:
            Refused: in the words of who did not.
        """
        if turn.before:
            await self._grant(running, label, turn.before)
            await _quiet(running)
        nodes = running.controller.observed().nodes
        asks = {node_id: one for node_id, one in turn.asks.items() if node_id in nodes and nodes[node_id].state.running}
        if not asks:
            hint = "everup up starts them; then try again."
            raise Refused(f"no node of {label} runs", hint, code="refused.rotation", label=label)
        replies = await _told(running, label, asks)
        if turn.then:
            more = {node_id: one for node_id, reply in replies.items() if (one := turn.then(node_id, reply))}
            await _told(running, label, more)
        await self._grant(running, label, turn.after)
        return list(replies.values())

    async def _grant(self, running: Running, label: str, grants: Mapping[str, str]) -> None:
        """Keep what is granted from now on, and declare what follows from it."""
        name = running.environment.environment
        await self._environments.store.save_grants(name, {f"{label}/{key}": value for key, value in grants.items()})
        await self._declare(self._environments.draft(running.saved))


async def _quiet(running: Running) -> None:
    """Wait until nothing is under way any more that was decided by what was granted before, at most `QUIET_S`."""
    for _ in range(round(QUIET_S / LOOK_S)):
        if running.controller.settled:
            return
        await asyncio.sleep(LOOK_S)


async def _told(running: Running, label: str, asks: Mapping[NodeId, Ask]) -> dict[NodeId, tuple[Any, ...]]:
    """Ask them all at the same time; `Refused` in the words of who did not do it."""
    answers = await asyncio.gather(*(ask(one, running.controller.console) for one in asks.values()))
    if wrong := [
        f"{node_id}: {words}" for node_id, reply in zip(asks, answers, strict=True) if (words := _wrong(reply))
    ]:
        raise Refused(
            f"{label} did not do it: {'; '.join(wrong)}",
            "The password that clients have now works all the same. When it is well, try again: everup status",
            code="refused.rotation",
            label=label,
        )
    return {node_id: reply for node_id, reply in zip(asks, answers, strict=True) if not isinstance(reply, Silence)}


def _wrong(reply: Reply) -> str:
    """What a node objected to, or why it did not answer; "" when it has done all."""
    if isinstance(reply, Silence):
        return reply.because
    return next((str(one) for one in reply if isinstance(one, ReplyError)), "")
