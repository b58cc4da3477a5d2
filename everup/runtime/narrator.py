"""Says what changed: compares what is with what was said last, so that nothing is said twice."""

import re
import time
from collections.abc import Iterable

from everup.model.actions import Hold
from everup.model.desired import Node
from everup.model.observed import Health, NodeEvent, NodeState, NodeStatus
from everup.runtime.journal import Journal

SPEAK_AFTER_S = 1.0
"""A wait shorter than this is not worth an event."""

_SAID = -1.0


class Narrator:
    """Turns verdicts of one environment into events."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._healths: dict[str, tuple[str, float]] = {}
        self._held: dict[tuple[str, str | None, str], float] = {}
        self._silent: dict[str, float] = {}

    def turn(self, node: Node, before: NodeStatus, after: NodeStatus, now_s: float) -> None:
        """A node's health went from `before` to `after`."""
        seconds = round(now_s - before.since_s, 3)
        match (before.health, after.health):
            case (Health.STARTING, Health.READY):
                self._journal.say("node.ready", node.service, node.id, after_s=seconds)
            case (_, Health.READY):
                self._journal.say("node.recovered", node.service, node.id, after_s=seconds)
            case (_, Health.SUSPECT):
                self._journal.say("node.suspect", node.service, node.id, because=after.because)
            case (_, Health.HUNG):
                silent_s = round(now_s - (after.silent_since_s or now_s), 1)
                self._journal.say("node.hung", node.service, node.id, silent_s=silent_s)

    def health(self, label: str, health: str, because: str, now_s: float) -> None:
        """A service is judged; `after_s` of its recovery counts from the verdict before."""
        before, since_s = self._healths.get(label, ("", now_s))
        if health == before:
            return
        self._healths[label] = (health, now_s)
        if health == "healthy":
            self._journal.say("service.healthy", label, after_s=round(now_s - since_s, 3))
        elif health in ("degraded", "down") and before:
            self._journal.say(f"service.{health}", label, because=because)

    def happened(self, event: NodeEvent, service: str, stands_in: bool) -> None:
        """The engine saw a node end, or set something of it aside; `stands_in`: it serves while others are replaced."""
        if event.kept:
            host, volume = event.kept
            self._journal.say("node.kept", service, event.node_id, host=host, volume=volume)
        if event.dead:
            noticed_ms = round((time.monotonic() - event.dead.at_s) * 1000, 1)
            fields: dict[str, object] = {**event.dead.fields, "noticed_ms": noticed_ms}
            if stands_in:
                fields["stand_in"] = True
            self._journal.say("node.exited", service, event.node_id, **fields)

    def hosts(self, states: Iterable[NodeState], now_s: float) -> None:
        """Which hosts answer and which do not, as the engine says of what runs there."""
        silent = {state.host: state.silent for state in states if state.host and state.silent}
        for host in [host for host in self._silent if host not in silent]:
            self._journal.say("host.heard", host=host, after_s=round(now_s - self._silent.pop(host), 3))
        for host in [host for host in silent if host not in self._silent]:
            self._silent[host] = now_s
            self._journal.say("host.silent", host=host, because=silent[host])

    def stopped(self) -> None:
        """Nothing runs any more, as was asked for."""
        if self._healths:
            self._healths.clear()
            self._journal.say("environment.stopped")

    def holds(self, holds: Iterable[Hold], now_s: float) -> None:
        """Something is waited for: said once, when it takes longer than a moment."""
        held: dict[tuple[str, str | None, str], float] = {}
        for hold in holds:
            key = (hold.service, hold.node_id, re.sub(r"[\d.]+ s", "", hold.because))
            held[key] = self._held.get(key, now_s)
            if held[key] != _SAID and held[key] <= now_s - SPEAK_AFTER_S:
                self._journal.say("service.held", hold.service, hold.node_id, because=hold.because)
                held[key] = _SAID
        self._held = held
