"""What a Docker has, and lacks, for Everup to run environments on its Swarm; asks, and changes nothing."""

import asyncio
import getpass
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everup.engines.swarm import images
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.fleet import view_of
from everup.engines.swarm.pair import AGENT
from everup.engines.swarm.place import Place
from everup.engines.swarm.placement import AGENT_PORT, HostView, is_loopback
from everup.engines.swarm.services import NODE, read
from everup.engines.swarm.wire import Wire
from everup.model.desired import Tcp
from everup.model.errors import EngineError

REACH_S = 3.0
"""How long a host may take to accept a connection."""

LEAST = 3
"""Hosts, and managers, from which on any one can be lost."""


@dataclass(frozen=True)
class Line:
    """One thing that was looked at: what was found, and what mends a lack. Without what is `needed`, nothing goes."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


async def survey(place: Place, image: str) -> list[Line]:
    """Look at a Docker, its Swarm, the hosts of that, Everup's image, and the ports that must be reached from here.

    What follows from a lack is left out. Takes some seconds where hosts are silent.

    Args:
        place: where Docker answers.
        image: the name of Everup's own.
    """
    docker = Docker(Wire(place))
    try:
        try:
            engine = await docker.itself()
        except EngineError as error:
            return [Line("docker", False, f"{error.message} (from {place.found_in})", _way_in(error))]
        found = f"{engine['ServerVersion']} on {engine['Name']}, at {docker.address} (from {place.found_in})"
        lines = [Line("docker", True, found), await _image(docker, image)]
        try:
            hosts = [view_of(one) for one in await docker.cluster.nodes()]
            return [*lines, *_swarm(hosts), await _agents(docker, hosts), *await _nodes(docker)]
        except EngineError as error:
            return [*lines, Line("swarm", False, error.message, error.hint or "docker swarm init")]
    finally:
        await docker.close()


def _way_in(error: EngineError) -> str:
    if "No such file" in error.message:
        return "Install it, or name another in DOCKER_HOST: apt-get install docker.io"
    if "Permission denied" in error.message:
        return f"sudo usermod -aG docker {getpass.getuser()}, then log in again"
    return error.hint


async def _image(docker: Docker, image: str) -> Line:
    try:
        return Line("image of everup", True, f"{image}: {await images.everups(docker, image)}")
    except EngineError as error:
        return Line("image of everup", False, error.message, error.hint)


def _swarm(hosts: Sequence[HostView]) -> list[Line]:
    """The hosts, how many of them keep the Swarm's state, and those on which nothing can be started."""
    votes = sum(host.votes for host in hosts)
    zones = {host.zone for host in hosts if host.zone}
    named = ", ".join(f"{host.name} {host.address}" for host in sorted(hosts, key=lambda host: host.name))
    said = f"{len(hosts)} {'host' if len(hosts) == 1 else 'hosts'}, {votes} of them managers: {named}"
    said += f"; {len(zones)} zones" if zones else ""
    few = min(len(hosts), votes) < LEAST
    join = "On another host, what this prints here: docker swarm join-token manager"
    lines = [Line("swarm", not few, said + ("; none can be lost" if few else ""), join if few else "", needed=False)]
    away = [f"{host.name} is {'drained or paused' if host.ready else 'down'}" for host in hosts if not host.available]
    if away:
        lines.append(Line("hosts", False, "; ".join(away), "docker node ls", needed=False))
    return lines


async def _agents(docker: Docker, hosts: Sequence[HostView]) -> Line:
    """Whether the agent of each host that is up is reached from here."""
    name = "agents"
    if await docker.services.inspect(AGENT) is None:
        return Line(name, True, f"none yet; everup up starts one on each host, port {AGENT_PORT}")
    silent = await _unreached({host.name: Tcp(host.address, AGENT_PORT) for host in hosts if host.ready})
    if silent:
        remedy = f"docker service ps {AGENT}, and let port {AGENT_PORT} through between the hosts and from here"
        return Line(name, False, f"not reached: {', '.join(silent)}", remedy)
    return Line(name, True, f"reached on every host that is up, port {AGENT_PORT}")


async def _nodes(docker: Docker) -> list[Line]:
    """Whether what listens on the hosts' addresses is reached from here; nothing where nothing was started yet."""
    found = [one for one in map(read, await docker.services.list({"label": [NODE]})) if one and one.wanted]
    wanted = {f"{one.node_id} ({to})": to for one in found for to in one.addresses if not is_loopback(to)}
    if not wanted:
        return []
    silent = await _unreached(wanted)
    if silent:
        remedy = "everup status --nodes says which of them run; let their ports through between the hosts and from here"
        return [Line("ports of nodes", False, f"not reached: {', '.join(silent)}", remedy, needed=False)]
    return [Line("ports of nodes", True, f"all {len(wanted)} are reached from here")]


async def _unreached(addresses: Mapping[str, Tcp]) -> list[str]:
    """The names of those that accept no connection, with the reason, in order."""
    reasons = await asyncio.gather(*map(_refusal, addresses.values()))
    return [f"{name}: {why}" for name, why in sorted(zip(addresses, reasons, strict=True)) if why]


async def _refusal(to: Tcp) -> str:
    try:
        async with asyncio.timeout(REACH_S):
            _, writer = await asyncio.open_connection(to.host, to.port)
    except TimeoutError:
        return f"no answer within {REACH_S:g} s"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    writer.close()
    return ""
