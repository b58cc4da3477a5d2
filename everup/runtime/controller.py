"""The loop of one environment: observe, judge, plan, perform, and say what happened. Level-triggered throughout."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

from everup.core.health import Patience, asked_anew, judge, service_health, witness
from everup.core.ledger import compared, marked, to_be_compared
from everup.core.plan import plan, view_of, wind_down
from everup.core.tally import Meter
from everup.model.actions import Action, Hold
from everup.model.contracts import Consoled, Contested, Engine
from everup.model.desired import Blueprint, Node, NodeId, Part
from everup.model.errors import EverupError, Unavailable
from everup.model.observed import Attempt, Health, NodeEvent, NodeState, NodeStatus, Observed, Reading
from everup.runtime.executor import Confirm, Executor
from everup.runtime.journal import Journal
from everup.runtime.ledger import Ledger
from everup.runtime.narrator import Narrator
from everup.runtime.prober import Prober, differs
from everup.runtime.records import Records
from everup.runtime.store import Store
from everup.runtime.talk import consoles_in
from everup.runtime.wishes import Wishes

CALM_S = 1.0
BUSY_S = 0.1
"""How often to look again when nothing woke the loop: calmly while all is well, often while something is not."""


class Controller:
    """Keeps one environment as declared. One task runs `run`; everything else is told by `declare` and `wind_down`."""

    def __init__(self, name: str, engine: Engine, store: Store, journal: Journal, ledger: Ledger) -> None:
        self.name = name
        self.journal = journal
        self.ledger = ledger
        self.meter = Meter()
        self.blueprints: tuple[Blueprint, ...] = ()
        self.actions: tuple[Action, ...] = ()
        self.stopping = False
        self.stays: Mapping[NodeId, str] = {}  # as in `Observed`: whoever knows the hosts sets it
        self._engine = engine
        self._statuses: dict[NodeId, NodeStatus] = {}
        self._store = store
        self._records = Records(name, store)
        self._attempts: dict[str, dict[str, Attempt]] = {}
        self._engine_says: str | None = None  # why it does not answer
        self.looked = asyncio.Event()
        self._wake = asyncio.Event()
        self._narrator = Narrator(journal)
        self.wishes = Wishes(self.wake)
        self.console = engine.console if isinstance(engine, Consoled) else consoles_in(self.home)
        self._prober = Prober(self.console, self._hear)
        self._executor = Executor(engine, journal, self, self.console, _certain(store, engine))

    def declare(self, blueprints: tuple[Blueprint, ...]) -> None:
        """Want this from now on."""
        before = {node.id: node.probe for one in self.blueprints for node in one.known}
        self.blueprints = blueprints
        for node_id, status in self._statuses.items():
            node = self._node(node_id)
            if node and node_id in before and differs(before[node_id], node.probe):
                self._statuses[node_id] = asked_anew(status, time.monotonic())
        if self.stopping:  # from here on everything starts for the first time, in order of needs
            self._statuses = {node_id: replace(status, good_s=0.0) for node_id, status in self._statuses.items()}
        self.stopping = False
        self.wake()

    def wind_down(self) -> None:
        """Want nothing to run from now on."""
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """Observe and plan again, soon."""
        self._wake.set()

    def observed(self) -> Observed:
        """The newest snapshot."""
        known = (dict(self._statuses), dict(self._records.groups), self._attempts)
        return Observed(time.monotonic(), *known, self._engine_says is None, self._engine_says or "", self.stays)

    @property
    def settled(self) -> bool:
        """Looked at least once; nothing is under way."""
        return self.looked.is_set() and not self._executor.busy()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                tasks.create_task(self.journal.keep())
                tasks.create_task(self._loop())
        finally:
            self._prober.stop()
            await self._executor.stop()
            await self.journal.flush()

    async def _loop(self) -> None:
        while True:
            self._wake.clear()
            began_s = time.monotonic()
            try:
                await self._look()
                self._decide()
                self.meter.reconcile.observe(time.monotonic() - began_s)
            except Exception as error:  # a broken assumption costs this environment one turn, never the loop
                self.journal.say("internal.error", error=f"{type(error).__name__}: {error}"[:2000])
                await asyncio.sleep(BUSY_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(BUSY_S if self.actions else CALM_S):
                    await self._wake.wait()

    async def _look(self) -> None:
        try:
            await self._store.reassure()  # what must not be acted on is not planned either
            states = await self._engine.observe()
        except Unavailable as error:
            self._engine_says = error.message
            return
        self._engine_says = None
        self._narrator.hosts(states.values(), now_s := time.monotonic())
        for node_id in {*states, *self._statuses, *(node.id for one in self.blueprints for node in one.active)}:
            self._take(node_id, states.get(node_id, NodeState(running=False)), now_s)
        if not self.looked.is_set():
            running = [node_id for node_id, state in states.items() if state.running]
            await self._first_readings(running)
            self.looked.set()

    async def _first_readings(self, running: list[NodeId]) -> None:
        """Before the first plan, let every adopted node answer once, or show that it does not."""
        self._watch_nodes()
        deadline_s = time.monotonic() + 1.5
        while time.monotonic() < deadline_s:
            unread = [n for n in running if self._statuses[n].reading is None and not self._statuses[n].misses]
            if not any(self._node(node_id) for node_id in unread):
                return
            await asyncio.sleep(0.01)

    async def _watch(self) -> None:
        async for event in self._engine.watch():
            self._exited(event)
            await self._decide_now()

    def _exited(self, event: NodeEvent) -> None:
        """Say it. What it means is for a look at the engine to say: the node may have been started again already."""
        if status := self._statuses.get(event.node_id):
            stands_in = any(node.id == event.node_id for one in self.blueprints for node in one.stand_ins)
            self._narrator.happened(event, status.state.service, stands_in)
        self.wake()

    async def _decide_now(self) -> None:
        """Plan at once: a death need not wait for the loop's next turn. What was on the disk a second ago may be gone,
        and a node without its data must not be started, so that is looked at again."""
        if self.looked.is_set():
            try:
                await self._look()
                self._decide()
            except Exception as error:
                self.journal.say("internal.error", error=f"{type(error).__name__}: {error}"[:2000])

    def _decide(self) -> None:
        observed = self.observed()
        by_label = {blueprint.label: blueprint for blueprint in self.blueprints}
        views = {label: view_of(blueprint, observed) for label, blueprint in by_label.items()}
        self._watch_nodes()
        self.actions = (wind_down if self.stopping else plan)(self.blueprints, observed)
        holds = [action for action in self.actions if isinstance(action, Hold)]
        self._narrator.holds(holds, observed.now_s)
        for held in holds:
            self._prober.nudge(held.node_id or "")  # what is waited for is looked at again soon
        wishes = () if self.stopping else self.wishes.open()
        self._executor.dispatch((*wishes, *self.actions), by_label, views)
        if self.stopping:
            if self.settled and not any(status.state.running for status in self._statuses.values()):
                self._narrator.stopped()
        else:
            for label, blueprint in by_label.items():
                self._narrator.health(label, *service_health(blueprint, views[label]), observed.now_s)

    def _take(self, node_id: NodeId, state: NodeState, now_s: float) -> None:
        before = self._statuses.get(node_id, NodeStatus())
        after = witness(before, state, now_s)
        if not state.service and not state.running and not self._node(node_id):
            self._statuses.pop(node_id, None)
            return
        self._statuses[node_id] = after

    def _hear(self, node_id: NodeId, reading: Reading | None, sent_s: float, hang_s: float) -> Health:
        before, node, now_s = self._statuses.get(node_id), self._node(node_id), time.monotonic()
        if before is None or node is None:
            return Health.UNKNOWN
        after = judge(before, reading, now_s, sent_s, Patience(hang_s))
        self._statuses[node_id] = after
        self.meter.misses[node_id] += reading is None and before.health != Health.STARTING
        if after.health != before.health:
            self._narrator.turn(node, before, after, now_s)
        if after.health != before.health or after.role != before.role or before.reading is None:
            self._look_again(node)
            self.wake()
        return after.health

    def _look_again(self, node: Node) -> None:
        """A member changed: what the endpoint thinks of it is out of date."""
        blueprint = next((one for one in self.blueprints if one.label == node.service), None)
        if blueprint and blueprint.endpoint and node.part in (Part.DATA, Part.INSTANCE):
            self._prober.nudge(blueprint.endpoint.node)

    def _watch_nodes(self) -> None:
        running = {}
        for node_id, status in self._statuses.items():
            node = self._node(node_id)
            if node and status.state.running:
                running[node_id] = (node, status.state.pid)
        self._prober.watch(running)

    def _node(self, node_id: NodeId) -> Node | None:
        return next((node for one in self.blueprints if (node := one.node(node_id))), None)

    def home(self, node_id: NodeId) -> str | None:
        """Where the home of a node is, if it has one on this machine."""
        return self._statuses.get(node_id, NodeStatus()).state.home

    async def crown(
        self, service: str, node_id: NodeId, because: str, known: Mapping[str, int] | None = MappingProxyType({})
    ) -> None:
        """Record a new primary, durably; the generation becomes newer than any on record or on disk."""
        states = [status.state for status in self._statuses.values() if status.state.service == service]
        newest = max((state.generation or 0 for state in states), default=0)
        after = await self._records.crown(service, node_id, newest, known)
        if after is None:
            return
        fields: dict[str, object] = {"primary": node_id, "generation": after.generation, "because": because}
        self.journal.say("primary.changed", service, node_id, **fields)
        self.wake()

    async def marked(self, service: str, node_id: NodeId, generation: int) -> None:
        """Record that a node's data was marked with `generation`: it is what the primary's is."""
        group = self._records.of(service)
        if to_be_compared(group, node_id):
            because = "it follows already, and was not looked at before it did"
            self.journal.say("lost.unkept", service, node_id, successor=group.primary, because=because)
        await self._records.note(service, lambda one: marked(one, node_id, generation))

    async def may_start(self, node: Node) -> bool:
        """Keep what a former primary that is about to follow has alone; the plan to start it may be old by then."""
        running = self._statuses.get(node.id, NodeStatus()).state.running
        if running or not to_be_compared(self._records.of(node.service), node.id):
            return True
        await self.keep(node.service, node.id)
        return False

    async def keep(self, service: str, node_id: NodeId) -> None:
        """Keep what a node has and the primary does not."""
        blueprint = next((one for one in self.blueprints if one.label == service), None)
        group = self._records.of(service)
        if blueprint and blueprint.salvage and group.primary:
            state = self._statuses.get(node_id, NodeStatus()).state
            homes = (state.home if state.has_data else None, self.home(group.primary))
            await self.ledger.keep(blueprint, (node_id, group.primary), homes, group.deposed.get(node_id, {}))
        with suppress(EverupError):  # the store's disk may be full: it is remembered all the same
            await self._records.note(service, lambda one: compared(one, node_id))

    def attempted(self, service: str, operation: str, attempt: Attempt) -> None:
        """Remember how an operation ended, ask every node of the service again, and plan anew."""
        self._attempts.setdefault(service, {})[operation] = attempt
        self.wishes.ended(service, operation, attempt)
        for node_id, status in self._statuses.items():
            if status.state.service == service:
                self._prober.nudge(node_id)
        self.wake()


def _certain(store: Store, engine: Engine) -> Confirm:
    """What is asked before each act: store and engine both know of no other control plane that decides."""

    async def confirm() -> None:
        await store.confirm()
        if isinstance(engine, Contested):
            await engine.confirm()

    return confirm
