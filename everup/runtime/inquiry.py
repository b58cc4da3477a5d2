"""Questions about environments, answered from what is known already, also in the middle of a failover."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from everup.core.incident import latest
from everup.core.tally import Certified, Vitals
from everup.model.access import OWNER, Caller
from everup.model.contracts import Engine
from everup.model.errors import NotFound
from everup.model.events import Event
from everup.model.picture import Change, Foresight, Picture
from everup.model.spec import Source
from everup.runtime.environments import Environments
from everup.runtime.messenger import Messenger
from everup.runtime.telemetry import Telemetry, store_bytes


class Inquiry:
    """The half of the desk that changes nothing."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        self.telemetry = Telemetry()
        self.messenger = Messenger(environments)
        environments.hearers += [self.telemetry.hear, self.messenger.hear]
        self._since_utc = datetime.now(UTC).isoformat(timespec="seconds")

    def environments(self) -> list[str]:
        """The names of all environments that were applied here and not destroyed."""
        return self._environments.names()

    def vitals(self) -> Vitals:
        """What was counted since the control plane started."""
        names, store = self._environments.names(), self._environments.store
        controllers = {name: self._environments.get(name).controller for name in names}
        for name, controller in controllers.items():
            self.telemetry.tally.episodes.retain(name, [one.label for one in controller.blueprints])
        meters = {name: controller.meter for name, controller in controllers.items()}
        notices, waiting = self.messenger.courier.outcomes, self.messenger.courier.waiting
        telemetry = self.telemetry
        return Vitals(
            telemetry.tally,
            meters,
            telemetry.lag,
            store_bytes(store),
            self._since_utc,
            notices,
            waiting,
            telemetry.certificate,
        )

    def certified(self, now: Certified) -> None:
        """Take note of how the API's certificate stands, and say in every environment what became of a new one."""
        before, self.telemetry.certificate = self.telemetry.certificate, now
        if before in (None, now):
            return
        name, fields = "certificate.refused", {"because": now.refused}
        if not now.refused:
            expires = datetime.fromtimestamp(now.expires_s, UTC) if now.expires_s is not None else None
            name, fields = "certificate.renewed", {"expires_utc": expires.isoformat() if expires else ""}
        print(f"{name}: {', '.join(fields.values())}", flush=True)
        for environment in self._environments.names():
            self._environments.get(environment).controller.journal.say(name, **fields)

    async def plan(self, source: Source, caller: Caller = OWNER) -> tuple[tuple[Change, ...], tuple[Foresight, ...]]:
        """What `apply` would change, and how long writers would wait for it; issues nothing and changes nothing."""
        draft = await self._environments.draft_source(source, caller)
        return draft.changes, draft.pauses

    def picture(self, environment: str) -> Picture:
        """The environment as declared and as observed, at this moment."""
        running = self._environments.get(environment)
        controller = running.controller
        return Picture(
            environment=running.environment,
            source=running.saved.source,
            blueprints=controller.blueprints,
            observed=controller.observed(),
            actions=controller.actions,
            stopped=running.saved.stopped,
            incident=latest(controller.journal.recent()),
            histories=dict(running.histories),
            kept=controller.ledger.entries(),
            control_pid=os.getpid(),
            control_since_utc=self._since_utc,
        )

    def variables(self, environment: str) -> dict[str, dict[str, str]]:
        """Label -> variables: a provider's own, and for those that need others what they are given."""
        running = self._environments.get(environment)
        return self._environments.layout.variables(running.environment, running.controller.blueprints)

    def connect(self, environment: str, label: str, language: str) -> str:
        """A snippet in `language` that connects to the service, with live values."""
        running = self._environments.get(environment)
        blueprint = self._environments.blueprint(running, label)
        kind = self._environments.kinds[blueprint.kind]
        if language not in kind.connect:
            known = ", ".join(sorted(kind.connect)) or "none"
            raise NotFound(
                f"there is no {language} snippet for {kind.name}", f"Languages: {known}.", code="connect.language"
            )
        forms = kind.connect[language]
        missing = [set(re.findall(r"\{([A-Z_]+)\}", form)) - set(blueprint.bindings) for form in forms]
        snippet = forms[missing.index(set())]  # every kind has a form for what every service of it offers
        for suffix, value in blueprint.bindings.items():
            snippet = snippet.replace("{" + suffix + "}", value)
        return snippet

    def events(self, environment: str, *, after: int, follow: bool) -> AsyncIterator[Event]:
        """Events numbered above `after`, oldest first; then, with `follow`, what comes."""
        return self._environments.get(environment).controller.journal.follow(after, forever=follow)

    async def logs(self, environment: str, name: str, *, lines: int, follow: bool) -> AsyncIterator[tuple[str, str]]:
        """(node id, line) of one node, or of every node of a label."""
        running = self._environments.get(environment)
        blueprint = next((one for one in running.controller.blueprints if one.label == name), None)
        known = running.controller.observed().nodes
        ids = [name] if name in known else []
        if blueprint:
            standing_in = [node for node in blueprint.stand_ins if node.id in known and known[node.id].state.running]
            ids = [node.id for node in (*blueprint.nodes, *standing_in) if node.id in known]
        if not ids:
            raise NotFound(f"{environment} has no service or node {name}", "everup status names them.", label=name)
        async for pair in _merge(running.engine, ids, lines, follow):
            yield pair


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
