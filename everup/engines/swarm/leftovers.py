"""Clearing away what is left of a node on a host that it has moved away from; data are set aside there."""

import time

from everup.engines.background import Background
from everup.engines.swarm.fleet import Fleet
from everup.engines.swarm.rounds import Rounds
from everup.engines.swarm.track import Track
from everup.model.errors import EngineError
from everup.model.observed import NodeEvent

_AGAIN_S = 5.0


class Leftovers:
    """Ends what hosts still have of nodes that run elsewhere by now: a lost host returns with them.

    It is deleted, but for data: a former primary may have acknowledged what its successor never had.

    Args:
        environment: its name.
        fleet: the Swarm.
        rounds: what the agents say.
        work: where that goes on.
    """

    def __init__(self, environment: str, fleet: Fleet, rounds: Rounds, work: Background) -> None:
        self._environment = environment
        self._fleet = fleet
        self._rounds = rounds
        self._work = work
        self._not_before_s: dict[tuple[str, str], float] = {}

    def clear(self) -> None:
        """Begin to clear all that the newest look has shown; what cannot be done now is tried again."""
        now_s = time.monotonic()
        for track in self._rounds.tracks.values():
            for host_id in track.left:
                key = (track.id, host_id)
                if now_s >= self._not_before_s.get(key, 0.0):
                    self._not_before_s[key] = now_s + _AGAIN_S
                    self._work.begin(self._clear(track, host_id))

    async def _clear(self, track: Track, host_id: str) -> None:
        async with track.lock:
            seen, deployed = track.left.get(host_id), self._rounds.deployed(track.id)
            if seen is None or deployed is None or deployed.host_id == host_id:
                return
            barred = max(seen.sight.ticket, seen.sight.start) if deployed.secrets else None
            host = self._fleet.host(host_id)
            try:
                agent = self._rounds.agent(host_id)
                if seen.sight.running:
                    await agent.fence(self._environment, track.id, barred)
                if host and host.ready:  # until then Swarm may yet start there what it last knew of
                    aside = deployed.given_up if deployed.keeps and seen.sight.has_data else 0
                    volume = await agent.discard(self._environment, track.id, aside)
                    track.left.pop(host_id, None)
                    if volume:
                        self._rounds.events.put_nowait(NodeEvent(track.id, "set aside", kept=(host.name, volume)))
            except EngineError:
                return  # it is found again
            finally:
                self._rounds.outdate()
