"""What the engine knows of a node between two looks: what agents said of it, how it ended, when it may start again."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from everup.engines.local.pace import Pace, describe_exit
from everup.engines.swarm.services import Deployed
from everup.engines.swarm.sight import Sight
from everup.model.desired import Node, NodeId
from everup.model.observed import EVERYWHERE, Confirmed, NodeState


@dataclass(frozen=True)
class Seen:
    """What the agent of a host says of a node."""

    host: str
    sight: Sight

    @property
    def state(self) -> NodeState:
        """In the words of all engines, without what only this engine knows: its end, when it may start again."""
        sight = self.sight
        return NodeState(
            running=sight.running,
            service=sight.service,
            digest=sight.digest,
            files_digest=sight.files_digest,
            pid=sight.pid,
            since_utc=sight.since_utc,
            has_data=sight.has_data,
            generation=sight.generation,
            restarts=sight.restarts,
            free_bytes=sight.free_bytes,
            disk_bytes=sight.disk_bytes,
            host=self.host,
        )


@dataclass
class Track:
    """One node, as far as this control plane knows it.

    Attributes:
        node: as it was ensured last.
        seen: id of a host -> the newest answer of its agent, if that knows the node.
        ticket: the largest that this engine gave out.
        asked: ends of starts up to this ticket were asked for.
        staged: a drill ended the start with this ticket.
        dead: the end of the start `dead_start`.
        lost_until_s: a drill keeps it lost until then.
        mute: hosts (ids) whose copy did not answer when it was asked last, as their agents say.
        unheard: nobody could even be asked the last time: that says nothing of the node.
        left: id of a host -> what its agent says is left there of it, since it was moved to another.
        given_up: the largest ticket of what began anew on another host; 0 for what never did.
    """

    id: NodeId
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    node: Node | None = None
    seen: dict[str, Seen] = field(default_factory=dict)
    ticket: int = 0
    asked: int = 0
    staged: int = 0
    dead: Confirmed | None = None
    dead_start: int = 0
    lost_until_s: float = 0.0
    pace: Pace = field(default_factory=Pace)
    mute: set[str] = field(default_factory=set)
    unheard: bool = False
    left: dict[str, Seen] = field(default_factory=dict)
    given_up: int = 0

    def newest(self) -> Seen | None:
        """What is known of its newest start, wherever that was; None where no agent ever knew of it."""
        return max(self.seen.values(), key=lambda one: (one.sight.running, one.sight.start), default=None)

    def newest_start(self) -> int:
        """The ticket of its newest start that an agent has told of; 0 for none."""
        seen = self.newest()
        return seen.sight.start if seen else 0

    def largest(self) -> int:
        """The largest ticket that is known to have been given out or taken."""
        return max([self.ticket, *(max(one.sight.ticket, one.sight.start) for one in self.seen.values())])

    def take(self, host_id: str, seen: Seen, now_s: float) -> Confirmed | None:
        """Take in an agent's newest answer; the proof of an end that is news and that nobody had asked for.

        What had ended before this control plane first looked is no news.
        """
        first = not self.seen and not self.ticket
        self.seen[host_id] = seen
        sight = seen.sight
        if first and sight.running:
            self.pace.started(now_s - age_s(sight.since_utc))
        if sight.running or sight.failure or not sight.start:
            return None
        if first:
            self.asked = sight.start
        at_s = now_s - (sight.ended_age_s or 0.0)
        return self.ended(sight.start, sight.exit_code, at_s, sight.last_line, sight.killed_at_bytes)

    def ended(
        self, start: int, exit_code: int | None, at_s: float, last_line: str = "", killed_at_bytes: int | None = None
    ) -> Confirmed | None:
        """Take in that a start has ended; the proof, where that is news and nobody had asked for it.

        Args:
            start: its ticket.
            exit_code, killed_at_bytes: as in `Confirmed`.
            at_s: when; monotonic.
            last_line: what it said last.
        """
        if self.dead and start <= self.dead_start:
            return None
        self.dead, self.dead_start = Confirmed(self.id, at_s, exit_code, killed_at_bytes), start
        if start <= self.asked:
            return None
        if start != self.staged:
            self.pace.failed(at_s, describe_exit(exit_code, killed_at_bytes), last_line)
        return self.dead

    def runs_at(self, host_id: str) -> bool:
        """Something of it runs on a host, as far as is known."""
        seen = self.seen.get(host_id)
        return seen is not None and seen.sight.running

    def runs(self) -> bool:
        """Its newest start has not ended, as far as is known."""
        seen = self.newest()
        return seen is not None and seen.sight.running and not (self.dead and seen.sight.start <= self.dead_start)

    def leave(self, host_id: str, ticket: int) -> None:
        """It moves away from a host that does not answer: what becomes of starts up to `ticket` there is no news."""
        self.asked = self.ticket = max(self.largest(), ticket)
        self.seen.pop(host_id, None)

    def remains(self, host_id: str, seen: Seen, deployed: Deployed | None) -> bool:
        """What a host says is of a start before it moved to another; then it is noted as that, and as nothing else.

        What holds data moves only to begin anew: other data than what was given up then are for a person to look at.
        """
        if deployed is None or deployed.host_id == host_id or seen.sight.start >= deployed.outdated:
            self.left.pop(host_id, None)
            return False
        self.seen.pop(host_id, None)
        self.left[host_id] = seen
        return True

    def forget(self) -> None:
        """All of it was deleted; tickets are not given out again all the same."""
        self.seen.clear()
        self.dead, self.dead_start, self.lost_until_s, self.pace = None, 0, 0.0, Pace()

    def state(self, deployed: Deployed | None, silent: str, now_s: float) -> NodeState | None:
        """What it is right now; None where there is nothing of it.

        A node of a host that does not answer is as it was last seen, or as it was declared.

        Args:
            deployed: its service.
            silent: why its host cannot be asked, "" where it can.
            now_s: monotonic.
        """
        seen = self.newest()
        if self.runs():
            self.pace.calmed(now_s)
        failure = silent or self.pace.failure or (seen.sight.failure if seen else "")
        again = {"retry_at_s": max(self.pace.retry_at_s, self.lost_until_s), "failure": failure, "silent": silent}
        if seen is None:
            return self._unseen(deployed, silent, again)
        if not self.runs():
            return _stated(seen, again, running=False, pid=None, dead=self.dead)
        return _stated(seen, again)

    def together(self, deployed: Deployed | None, answering: Collection[str], now_s: float) -> NodeState | None:
        """What its copies are, as one: it runs while one of them does, and is then as one that differs, if any does.

        Args:
            deployed: its service.
            answering: hosts (ids) that can be asked; what others said last counts only while there is none.
            now_s: monotonic.
        """
        heard = [one for host_id, one in self.seen.items() if host_id in answering] or list(self.seen.values())
        running = [one for one in heard if one.sight.running]
        if running:
            self.dead = None
            self.pace.calmed(now_s)
        again = {"retry_at_s": self.pace.retry_at_s, "failure": self.pace.failure, "host": EVERYWHERE}
        if not self.seen:
            return self._unseen(deployed, "", again)
        if not running:
            self.dead = self.dead or Confirmed(self.id, now_s, None)
            newest = max(heard, key=lambda one: (one.sight.start, one.sight.since_utc or ""))
            return _stated(newest, again, running=False, pid=None, dead=self.dead)
        others = [one for one in running if deployed and not self._matches(deployed, one)]
        return _stated((others or running)[0], again)

    def _matches(self, deployed: Deployed, one: Seen) -> bool:
        """A copy is what its service declares, with the newest files."""
        files_digest = self.node.files_digest if self.node else deployed.files_digest
        return (one.sight.digest, one.sight.files_digest) == (deployed.digest, files_digest)

    def _unseen(self, deployed: Deployed | None, silent: str, again: Mapping[str, Any]) -> NodeState | None:
        if deployed is None:
            return NodeState(running=False, **again) if self.pace.failure else None
        dead = self.dead if self.dead_start >= deployed.ticket else None
        presumed = bool(silent) and deployed.wanted
        return NodeState(
            running=presumed and dead is None,
            dead=dead,
            service=deployed.service,
            digest=deployed.digest,
            files_digest=deployed.files_digest,
            has_data=presumed,
            **again,
        )


def _stated(seen: Seen, again: Mapping[str, Any], **more: Any) -> NodeState:
    return replace(seen.state, **{**again, **more})


def age_s(since_utc: str | None) -> float:
    """Seconds since a moment of the wall clock; at least 0."""
    if since_utc is None:
        return 0.0
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(since_utc)).total_seconds())
