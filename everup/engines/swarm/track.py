"""What the engine knows of a node between two looks: what agents said of it, how it ended, when it may start again."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from everup.engines.local.pace import Pace, describe_exit
from everup.engines.swarm.services import Deployed
from everup.engines.swarm.sight import Sight
from everup.model.desired import Node, NodeId
from everup.model.observed import Confirmed, NodeState


@dataclass(frozen=True)
class Seen:
    """What the agent of a host says of a node."""

    host: str
    sight: Sight

    @property
    def state(self, deployed: Deployed | None, silent: str, now_s: float) -> NodeState | None:
        """What it is right now; None where there is nothing of it.

        A node of a host that does not answer is as it was last seen, or as it was declared.

        Args:
            deployed: its service.
            silent: why its host cannot be asked, "" where it can.
            now_s: monotonic.
        """
        again: dict[str, Any] = {
            "retry_at_s": max(self.pace.retry_at_s, self.lost_until_s),
            "failure": silent or self.pace.failure,
        }
        seen = self.newest()
        if seen is None:
            return self._unseen(deployed, silent, again)
        if not self.runs():
            return replace(seen.state, running=False, pid=None, dead=self.dead, **again)
        self.pace.calmed(now_s)
        return replace(seen.state, **again)

    def together(self, deployed: Deployed | None, now_s: float) -> NodeState | None:
        """What its copies are, as one: it runs while one of them does, and is then as the one that differs most.

        Args:
            deployed: its service.
            now_s: monotonic.
        """
        again: dict[str, Any] = {"retry_at_s": self.pace.retry_at_s, "failure": self.pace.failure}
        if not self.seen:
            return self._unseen(deployed, "", again)
        running = [one for one in self.seen.values() if one.sight.running]
        if not running:
            self.dead = self.dead or Confirmed(self.id, now_s, None)
            states = [one.state for one in self.seen.values()]
            return replace(max(states, key=_started), running=False, pid=None, dead=self.dead, host="", **again)
        self.dead = None
        self.pace.calmed(now_s)
        declared = (deployed.digest, self.node.files_digest if self.node else deployed.files_digest) if deployed else ()
        others = [one for one in running if (one.sight.digest, one.sight.files_digest) != declared]
        return replace((others or running)[0].state, host="", **again)

    def _unseen(self, deployed: Deployed | None, silent: str, again: Mapping[str, Any]) -> NodeState | None:
        if deployed is None:
            return NodeState(running=False, **again) if self.pace.failure else None
        presumed = bool(silent) and deployed.wanted
        return NodeState(
            running=presumed,
            service=deployed.service,
            digest=deployed.digest,
            files_digest=deployed.files_digest,
            has_data=presumed,
            **again,
        )


def _started(state: NodeState) -> str:
    return state.since_utc or ""


def _age_s(since_utc: str | None) -> float:
    """Seconds since a moment of the wall clock; at least 0."""
    if since_utc is None:
        return 0.0
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(since_utc)).total_seconds())
