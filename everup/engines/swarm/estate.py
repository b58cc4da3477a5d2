"""The hosts of a Swarm as everybody else sees them, and the mark on those that are to be left."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from everup.engines.swarm.fleet import DRAINED, Fleet
from everup.engines.swarm.placement import ground_of
from everup.engines.swarm.rounds import Rounds
from everup.model.errors import EngineError
from everup.model.observed import Host


class SwarmEstate:
    """Implements `Estate`.

    Args:
        fleet: the Swarm.
        rounds: who answers there.
        confirm: returns if this control plane may act there; else raises `EngineError`.
    """

    def __init__(self, fleet: Fleet, rounds: Rounds, confirm: Callable[[], Awaitable[None]]) -> None:
        self._fleet = fleet
        self._rounds = rounds
        self._confirm = confirm

    def hosts(self) -> tuple[Host, ...]:
        """See `Estate.hosts`."""
        known = self._fleet.hosts
        grounds = {one.id: ground_of(known, one.id, self._rounds.silence(one.id) != "") for one in known}
        return tuple(Host(one.name, one.address, grounds[one.id], one.zone, one.votes, one.drained) for one in known)

    async def drain(self, host: str, drained: bool) -> None:
        """See `Estate.drain`."""
        await self._confirm()
        found = next((one for one in self._fleet.hosts if one.name == host), None)
        if found is None:
            raise EngineError(f"the Swarm has no host {host}", "See docker node ls.", code="engine.no_host")
        await self._fleet.docker.cluster.change_node(found.id, lambda spec: marked(spec, drained))
        await self._fleet.fresh(now=True)


def marked(spec: Mapping[str, Any], drained: bool) -> dict[str, Any]:
    """A host's specification with, or without, the mark that it is to be left."""
    labels = {name: text for name, text in (spec.get("Labels") or {}).items() if name != DRAINED}
    return {**spec, "Labels": {**labels, **({DRAINED: "yes"} if drained else {})}}
