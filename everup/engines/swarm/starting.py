"""Choosing a host for a node, and starting it there."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from everup.engines.background import Background
from everup.engines.local.launch import Reveal, confided
from everup.engines.swarm import images
from everup.engines.swarm.deploy import await_start, deploy, discard_orders
from everup.engines.swarm.fleet import Fleet
from everup.engines.swarm.placement import HostView, at_addresses
from everup.engines.swarm.rounds import Rounds
from everup.engines.swarm.services import Start, is_everywhere
from everup.engines.swarm.track import Track
from everup.model.desired import Node, NodeId
from everup.model.errors import NodeFailed, Unavailable


class Starter:
    """Starts nodes; whoever calls sees to it that nothing else is done with the same one.

    Args:
        environment: its name.
        fleet: the Swarm.
        rounds: what the agents say.
        reveal: gives the values of secrets; blocks.
        clock: monotonic seconds.

    Attributes:
        work: what goes on behind.
    """

    def __init__(
        self, environment: str, fleet: Fleet, rounds: Rounds, reveal: Reveal, clock: Callable[[], float]
    ) -> None:
        self.work = Background()
        self._environment = environment
        self._fleet = fleet
        self._rounds = rounds
        self._reveal = reveal
        self._clock = clock
        self._chosen: dict[NodeId, str] = {}

    async def start(self, track: Track, node: Node, extra_args: tuple[str, ...], hosts: Collection[HostView]) -> None:
        """Start a node that does not run, on the first of `hosts`, or on all of them; returns once it is seen there.

        Raises:
            NodeFailed: it cannot be started; says why.
            EngineError: Docker refuses, or a host does not answer any more.
        """
        track.pace.started(self._clock())
        before = self._rounds.deployed(track.id)
        try:
            for host in hosts:
                fits(node, host)
            track.ticket = max(track.largest(), before.ticket if before else 0, time.time_ns() // 1_000_000) + 1
            start = Start(
                environment=self._environment,
                node=node,
                ticket=track.ticket,
                image=await self.image(node),
                host_id="" if is_everywhere(node) else next(iter(hosts)).id,
                extra_args=extra_args,
                secrets=await asyncio.to_thread(confided, node, self._reveal),
                number=before.starts + 1 if before else 1,
                keeping=self._fleet.keeping.number,
                given_up=max(track.given_up, before.given_up if before else 0),
            )
            deployed = await deploy(self._fleet.docker, start, before)
            self._fleet.note(deployed)
            if before:
                former = set(before.secrets) - set(deployed.secrets)
                self.work.begin(discard_orders(self._fleet.docker, former))
            places = {host.id: host.name for host in hosts}
            await await_start(self._fleet.docker, start, track, lambda: self._rounds.ask(places), places)
        except NodeFailed as error:
            track.pace.refused(self._clock(), error.message)
            raise
        finally:
            self._chosen.pop(track.id, None)

    async def image(self, node: Node) -> str:
        """What it runs from, as no host can understand in two ways.

        Raises:
            NodeFailed: there is no such image.
        """
        return await images.users(self._fleet.docker, node) if node.image else self._fleet.image

    async def replaceable(self, track: Track, node: Node, host: HostView) -> None:
        """See to it that a running node is not ended for one that can never run.

        Raises:
            NodeFailed: it has no image, or its host too few processors.
        """
        try:
            await self.image(node)
            fits(node, host)
        except NodeFailed as error:
            track.pace.started(self._clock())
            track.pace.refused(self._clock(), error.message)
            raise

    def host_for(self, node: Node) -> HostView:
        """The host whose address it listens on; for one that listens nowhere the one it has, or the least loaded.

        Raises:
            NodeFailed: no host has that address, or several have it.
            Unavailable: no host is available.
        """
        hosts = self._fleet.hosts
        if node.ports:
            address = next(iter(node.ports.values())).host
            _refuse_twins(node, address, [host.name for host in hosts if host.address == address and host.ready])
            if found := at_addresses(hosts).get(address):
                return found
            raise NodeFailed(
                f"{node.id}: no host of this Swarm has its address {address}",
                "Its host has left, or has another address now (docker node ls): join one with this address again, "
                "or begin anew: everup down --destroy, everup up.",
                code="engine.no_host",
                node=node.id,
            )
        before = self._rounds.deployed(node.id)
        had = self._fleet.host(before.host_id) if before else None
        if had and had.available:
            return had
        able = self.able()
        deployed = self._fleet.deployed(self._environment).values()
        load = Counter({**{one.node_id: one.host_id for one in deployed if one.wanted}, **self._chosen}.values())
        host = min(able, key=lambda host: (load[host.id], host.name))
        self._chosen[node.id] = host.id  # others may choose before this one is deployed
        return host

    def able(self) -> list[HostView]:
        """The hosts on which something can be started now; `Unavailable` where there is none."""
        able = [host for host in self._rounds.answering() if host.available]
        if not able:
            raise Unavailable("no host of this Swarm is available", "See docker node ls.", code="engine.no_host")
        return able


def _refuse_twins(node: Node, address: str, ready: Sequence[str]) -> None:
    """Nothing is started where nobody could tell hosts apart.

    Raises:
        NodeFailed: the Swarm hears from several hosts that have this address.
    """
    if len(ready) > 1:
        raise NodeFailed(
            f"{node.id}: its address {address} is that of several hosts of this Swarm: {', '.join(ready)}",
            "Let each host join with an address of its own: docker swarm join --advertise-addr. See docker node ls.",
            code="engine.same_address",
            node=node.id,
        )


def fits(node: Node, host: HostView) -> None:
    """See to it that a host has as many processors as a node may use: Docker does not limit it to more.

    Raises:
        NodeFailed: it has fewer.
    """
    cpus = (node.resources and node.resources.cpus) or 0.0
    if cpus > host.cpus > 0:
        raise NodeFailed(
            f"{node.id} may use {cpus:g} processors, and its host {host.name} has {host.cpus:g}",
            "Declare fewer cpus.",
            code="engine.too_many_cpus",
            node=node.id,
        )
