"""The hosts of one Swarm, the agent on each, and the services that it runs for Everup; shared by all environments."""

import asyncio
import platform
import time
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from everup.engines.swarm import bootstrap, images
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.hosts import Host
from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.manifest import manifest_in
from everup.engines.swarm.pair import Pair, pair_in
from everup.engines.swarm.placement import AGENT_PORT, HostView
from everup.engines.swarm.services import NODE, WHOLE_CPU, Deployed, read
from everup.model.desired import NodeId, Tcp
from everup.model.errors import EngineError, Unavailable

FRESH_S = 2.0
"""How old what is known of hosts and services may be."""

PATIENCE_S = 1.0
"""How long a look at the Swarm may keep somebody waiting who can do with an older one."""

DRAINED = "everup.drained"
"""The label of a host that is to be left; its value says nothing."""

OTHER_CLUSTER = "engine.other_cluster"

_UNKNOWN = ("", "0.0.0.0", "127.0.0.1")  # what a manager may say of its own address


class Fleet:
    """Knows a Swarm as it was at most some seconds ago; goes on with what it knows while the Swarm has no leader.

    Args:
        docker: a manager of it.
        image: Everup's own, by any name; from the first look on an ID or a digest.
        folder: where the pair is kept by which agents know this control plane.
        keeping: the turn of this control plane; it begins with `open`, where it has not yet.

    Attributes:
        ended: by environment, its nodes that do not run now, whatever their services say.
    """

    def __init__(
        self,
        docker: Docker,
        image: str,
        folder: Path,
        keeping: Keeping,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.docker = docker
        self.image = image
        self.keeping = keeping
        self.cluster = ""
        self._folder = folder
        self._clock = clock
        self._hosts: dict[str, HostView] = {}
        self._agents: dict[str, Host] = {}
        self._deployed: dict[tuple[str, NodeId], Deployed] = {}
        self._noted_s: dict[tuple[str, NodeId], float] = {}
        self.ended: dict[str, Set[NodeId]] = {}
        self._pair: Pair | None = None
        self._looked_s: float | None = None
        self._confirmed_s = float("-inf")
        self._look: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def hosts(self) -> tuple[HostView, ...]:
        """All hosts, in order of their names; those of the newest look.

        A machine that joined again is listed twice, first as what it is now.
        """
        return tuple(sorted(self._hosts.values(), key=lambda host: (host.name, not host.ready)))

    def host(self, host_id: str) -> HostView | None:
        """The host with that id of the Swarm's; None where it has left."""
        return self._hosts.get(host_id)

    def agent(self, host_id: str) -> Host:
        """The agent on a host.

        Raises:
            Unavailable: that host has left the Swarm.
        """
        if host_id not in self._hosts:
            raise Unavailable(f"the host {host_id} is not part of the Swarm any more", "See docker node ls.")
        return self._agents[host_id]

    def deployed(self, environment: str) -> dict[NodeId, Deployed]:
        """The services of an environment by node."""
        return {node_id: one for (name, node_id), one in self._deployed.items() if name == environment}

    def residents(self, host_id: str) -> set[str]:
        """The environments of which something is to run on a host that runs nowhere else."""
        return {one.environment for one in self._deployed.values() if one.wanted and one.host_id == host_id}

    def used(self, environment: str) -> set[Tcp]:
        """The addresses at which a node of an environment was ever started."""
        return {to for one in self.deployed(environment).values() for to in one.addresses}

    def busy(self, environment: str) -> set[Tcp]:
        """The addresses at which a node of an environment is to run now, and has not ended."""
        ended = self.ended.get(environment, frozenset())
        running = (one for one in self.deployed(environment).values() if one.wanted and one.node_id not in ended)
        return {to for one in running for to in one.addresses}

    def note(self, one: Deployed) -> None:
        """This is how a service is from now on."""
        self._deployed[one.environment, one.node_id] = one
        self._noted_s[one.environment, one.node_id] = self._clock()

    def forget(self, environment: str, node_id: NodeId) -> None:
        """That service is gone."""
        self._deployed.pop((environment, node_id), None)
        self._noted_s[environment, node_id] = self._clock()

    async def open(self) -> None:
        """Look at the Swarm, and see to it that every host has an agent. The first call takes seconds.

        Raises:
            Unavailable: Docker, or an agent that was just started, does not answer.
            Unavailable: the Swarm is looked after by another control plane.
        """
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)
        self.keeping.check()

    async def fresh(self, *, now: bool = False) -> None:
        """Look at the Swarm again where the newest look is too old; not for longer than a second.

        With `now` it is looked at anew, however long that takes: something was changed there.

        Raises:
            Unavailable: it was never seen, another Swarm answers, or another control plane looks after it by now.
        """
        self.keeping.check()
        if now:
            if self._look:
                await asyncio.wait([self._look])  # it may have begun before
            await self._see()
        if self._looked_s is not None and self._clock() - self._looked_s < FRESH_S:
            return
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._see())
        patience_s = None if self._looked_s is None else PATIENCE_S
        done, _ = await asyncio.wait([self._look], timeout=patience_s)
        error = self._look.exception() if done else None
        if error and (self._looked_s is None or getattr(error, "code", "") == OTHER_CLUSTER):
            raise error
        self.keeping.check()

    async def confirm(self) -> None:
        """Return unless another control plane looks after the Swarm by now, as far as the Swarm said 2 s ago or later.

        One that does not answer is not waited for again and again: nobody can begin there, either.

        Raises:
            Unavailable: another one does (code `engine.deposed`), or another Swarm answers.
        """
        if self._clock() - self._confirmed_s >= FRESH_S:
            await self.fresh()
            self._confirmed_s = self._clock()
        self.keeping.check()

    async def close(self) -> None:
        """End all connections; what runs goes on running."""
        tasks = [task for task in (self._look, self._opening) if task and not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for agent in self._agents.values():
            await agent.close()
        await self.docker.close()

    async def _open(self) -> None:
        self._pair = await asyncio.to_thread(pair_in, self._folder)
        self.image = await images.everups(self.docker, self.image)
        changed = await bootstrap.bring_up(self.docker, self.image, self._pair)
        if not self.keeping.number:
            await self.keeping.take(self.docker, platform.node())
        await self.fresh()
        if changed:  # one that fell silent later is a silent host, and no reason to wait
            ready = [host for host in self.hosts if host.available]
            await bootstrap.all_answer(self.docker, ready, self._answers)

    async def _answers(self, host: HostView) -> bool:
        try:
            await self._agents[host.id].nodes("everup")
        except EngineError:
            return False
        return True

    async def _see(self) -> None:
        began_s = self._clock()
        swarm, nodes, services = await asyncio.gather(
            self.docker.cluster.inspect(),
            self.docker.cluster.nodes(),
            self.docker.services.list({"label": [NODE]}),
        )
        if self.cluster and swarm["ID"] != self.cluster:
            raise other_cluster(self.docker.address, str(swarm["ID"]), self.cluster)
        self.keeping.see(manifest_in(swarm["Spec"]))
        self.cluster = str(swarm["ID"])
        await self._take_hosts([view_of(node) for node in nodes])
        self._take_services([one for one in map(read, services) if one], began_s)
        self._looked_s = self._clock()

    async def _take_hosts(self, views: Sequence[HostView]) -> None:
        before, self._hosts = self._hosts, {host.id: host for host in views}
        assert self._pair is not None
        for host in views:
            if host.id not in self._agents or before[host.id].address != host.address:
                await self._drop(host.id)
                to = Tcp(host.address, AGENT_PORT)
                self._agents[host.id] = Host(host.name, to, self._pair, self.keeping, host_id=host.id)
        for host_id in set(self._agents) - set(self._hosts):
            await self._drop(host_id)

    async def _drop(self, host_id: str) -> None:
        if agent := self._agents.pop(host_id, None):
            await agent.close()

    def _take_services(self, found: Sequence[Deployed], began_s: float) -> None:
        """What was changed while the look was under way is known better."""
        newer = {key for key, at_s in self._noted_s.items() if at_s >= began_s}
        kept = {key: one for key, one in self._deployed.items() if key in newer}
        seen = {(one.environment, one.node_id): one for one in found}
        self._deployed = {**{key: one for key, one in seen.items() if key not in newer}, **kept}
        self._noted_s = {key: self._noted_s[key] for key in newer}


def view_of(node: Mapping[str, Any]) -> HostView:
    """A host, as Docker describes it. Its zone is its label `zone`."""
    wanted, status = node["Spec"], node["Status"]
    voter: Mapping[str, Any] = node.get("ManagerStatus") or {}
    address = str(status.get("Addr", ""))
    if address in _UNKNOWN and voter:
        address = str(voter.get("Addr", "")).rpartition(":")[0]
    labels: Mapping[str, str] = wanted.get("Labels") or {}
    emptied = wanted["Availability"] == "drain"
    drained = emptied or DRAINED in labels
    return HostView(
        id=str(node["ID"]),
        name=str(node["Description"]["Hostname"]),
        address=address,
        zone=str(labels.get("zone", "")),
        available=status["State"] == "ready" and wanted["Availability"] == "active" and not drained,
        votes=bool(voter),
        ready=status["State"] == "ready",
        down=status["State"] == "down",
        drained=drained,
        emptied=emptied,
        cpus=node["Description"].get("Resources", {}).get("NanoCPUs", 0) / WHOLE_CPU,
    )


def other_cluster(address: str, found: str, expected: str) -> Unavailable:
    """The error for an answer that says nothing of what runs: it is another Swarm's."""
    return Unavailable(
        f"Docker at {address} belongs to another Swarm than before: {found}, not {expected}",
        "Name a manager of the right one in DOCKER_HOST.",
        code=OTHER_CLUSTER,
    )
