"""The loss of a host, foreseen and rehearsed: what hangs on it, and how it is cut off from the others for a drill."""

import time
from collections.abc import Collection

from everup.engines.swarm.fleet import Fleet
from everup.engines.swarm.placement import HostView
from everup.engines.swarm.rounds import Rounds
from everup.engines.swarm.sight import Cut
from everup.engines.swarm.track import Track
from everup.model.contracts import Fault, Outage
from everup.model.desired import NodeId
from everup.model.errors import EngineError

CUTS = frozenset({Fault.PARTITION, Fault.HOST_LOSS})
"""Faults of a host."""

SILENT_S = 15.0
"""How soon after the order a host must have fallen silent."""


class Outages:
    """Of one environment; `fleet` is the Swarm, `rounds` what its agents say."""

    def __init__(self, environment: str, fleet: Fleet, rounds: Rounds) -> None:
        self._environment = environment
        self._fleet = fleet
        self._rounds = rounds

    async def foresee(self, node_ids: Collection[NodeId]) -> dict[NodeId, Outage]:
        """See `SwarmEngine.foresee`."""
        await self._rounds.look()
        own = str((await self._fleet.docker.itself())["Swarm"]["NodeID"])
        hosts = {node_id: self._host_of(self._rounds.track(node_id)) for node_id in node_ids}
        return {node_id: self._outage(host, own) for node_id, host in hosts.items() if host}

    async def cause(self, track: Track, fault: Fault, for_s: float) -> None:
        """Cut the host of a node off, and see that it is; with `HOST_LOSS` all of the environment there is killed.

        Raises:
            EngineError: it does not run, its host cannot be cut off, or is still heard of.
        """
        await self._rounds.look()
        host = self._host_of(track)
        if host is None or not track.runs():
            raise EngineError(f"{track.id} does not run", code="engine.not_running", node=track.id)
        lost = fault == Fault.HOST_LOSS
        for one in self._rounds.tracks.values():
            if lost and (seen := one.seen.get(host.id)):
                one.staged = seen.sight.start
        others = tuple(one.address for one in self._fleet.hosts if one.id != host.id)
        wish = Cut(addresses=others, for_s=for_s, killed=self._environment if lost else "")
        await self._rounds.agent(host.id).cut(wish)
        end_s = time.monotonic() + min(SILENT_S, for_s)
        while not self._rounds.silence(host.id):
            if time.monotonic() > end_s:
                raise EngineError(
                    f"{host.name} was to be cut off, and still answers",
                    "Its agent says more: docker service logs everup-agent",
                    code="engine.no_cut",
                )
            self._rounds.outdate()
            await self._rounds.ask([host.id])  # the Swarm itself may be slow to answer now: it may have lost its leader

    def _host_of(self, track: Track) -> HostView | None:
        """Where a node is that is on one host alone."""
        deployed = self._rounds.deployed(track.id)
        return self._fleet.host(deployed.host_id) if deployed and deployed.host_id else None

    def _outage(self, host: HostView, own: str) -> Outage:
        others = [one for one in self._fleet.hosts if one.id != host.id]
        voters = [one for one in self._fleet.hosts if one.votes]
        return Outage(
            host=host.name,
            here=host.id == own,
            unwell=tuple(filter(None, map(self._trouble, others))),
            voters=len(voters),
            left=sum(one.ready for one in voters if one.id != host.id),
            beside=tuple(sorted(self._fleet.residents(host.id) - {self._environment})),
        )

    def _trouble(self, host: HostView) -> str:
        """Why a host is no help to the others now, in words; "" when it is."""
        if not host.ready:
            return f"{host.name} is down"
        if not host.available:
            return f"{host.name} takes nothing, since it is drained or paused"
        return self._rounds.silence(host.id)
