"""On which hosts nodes run: what can run elsewhere leaves lost and drained ones, and somebody may drain one."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

from everup.core.meant import did_you_mean
from everup.core.parting import Occupants, Site, obstacles, occupants, too_few, unsound
from everup.core.rebuilding import due, homeless_in
from everup.model.contracts import Engine, Estate, Spread
from everup.model.desired import Node, NodeId
from everup.model.errors import EverupError, NotFound, Refused
from everup.model.observed import Ground, Host
from everup.runtime.environments import Environments, Running
from everup.runtime.renewals import Renewals

LOOK_S = 1.0
"""How often it is looked whether a place must be left."""

BLIND_S = 10.0
"""Who has not looked for longer does not know that a host was lost all the time: the process may have been frozen."""


class Places(Renewals):
    """The part of the desk that knows hosts. Marks are kept where the hosts are: every control plane sees them."""

    def __init__(self, environments: Environments) -> None:
        super().__init__(environments)
        self._grounds: dict[str, dict[str, Ground]] = {}
        self._lost_s: dict[str, dict[str, float]] = {}
        self._looked_s: dict[str, float] = {}

    def sites(self) -> tuple[Site, ...]:
        """All hosts, in order of their names.

        Raises:
            Refused: no environment runs on an engine that has several.
        """
        running, estate = self._hosted()
        found = []
        for host in estate.hosts():
            each = {one.environment.environment: _occupants(one, host.name) for one in running}
            found.append(Site(host, each))
        return tuple(found)

    async def drain(self, host: str, *, force: bool) -> None:
        """Have a host left: primaries hand over, what can run elsewhere moves, nothing new comes. Returns at once.

        Args:
            host: its name.
            force: also where servers are there that nobody can take over from.

        Raises:
            NotFound: there is no such host.
            Refused: a quorum would not outlive its absence, or a single server is there.
        """
        async with self._changing:
            running, estate = self._hosted()
            if _host(estate, host).ground == Ground.SOUND:
                _refuse(running, estate, host, force)
            await self._mark(running, estate, host, drained=True)

    async def undrain(self, host: str) -> None:
        """Take the mark of a host away. What has left it does not come back by itself.

        Raises:
            NotFound: there is no such host.
            Refused: Docker itself has drained it.
        """
        async with self._changing:
            running, estate = self._hosted()
            _host(estate, host)
            await self._mark(running, estate, host, drained=False)
            if _host(estate, host).ground == Ground.DRAINED:
                raise Refused(
                    f"{host} is drained by Docker itself",
                    f"docker node update --availability active {host}",
                    code="refused.drained",
                    host=host,
                )

    async def watch_hosts(self) -> None:
        """Grant other addresses to what must leave its host, and say what becomes of hosts; for ever.

        For how long a host has been lost only this control plane knows: with another one that time begins anew.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            for running in [self._environments.get(name) for name in self._environments.names()]:
                try:
                    await self._watch(running)
                except EverupError:
                    continue  # it does not go now; the rules say what waits
                except Exception as error:  # a broken assumption costs this environment one turn, never the loop
                    text = f"{type(error).__name__}: {error}"[:2000]
                    running.controller.journal.say("internal.error", error=text)

    async def _watch(self, running: Running) -> None:
        if not _is_spread(running.engine) or running.saved.stopped or not running.controller.looked.is_set():
            self._lost_s.pop(running.environment.environment, None)
            running.forsaken, running.controller.stays = frozenset(), {}
            return
        estate = running.engine.estate
        self._tell(running, estate.hosts())
        stays = self._give_up(running, estate.hosts())
        name = running.environment.environment
        if self._environments.displaced(running):
            async with self._changing:
                if name in self._environments.names():  # it may have been deleted meanwhile
                    running = self._environments.get(name)
                    stays = self._give_up(running, estate.hosts())  # and a host may be back
                    await self._rebuilt(running, estate.hosts())
        controller = running.controller
        controller.stays = {**homeless_in(controller.blueprints, running.forsaken), **stays}

    def _give_up(self, running: Running, hosts: Sequence[Host]) -> Mapping[NodeId, str]:
        """Find out who has waited long enough for a lost host; why others that have must stay, in words."""
        name, now_s = running.environment.environment, time.monotonic()
        looked_s = self._looked_s.get(name, now_s)
        self._looked_s[name] = now_s
        before = self._lost_s.get(name, {}) if now_s - looked_s < BLIND_S else {}
        controller = running.controller
        there = {host.address for host in hosts if host.ground != Ground.LOST or host.drained}  # or soon will be again
        members = (node for one in controller.blueprints for node in one.nodes if node.rebuilds)
        away = {_host_of(node) for node in members} - there if hosts else set()  # one that has left is lost, too
        self._lost_s[name] = lost = {address: before.get(address, now_s) for address in away}
        found = due(controller.blueprints, controller.observed(), {at: now_s - since_s for at, since_s in lost.items()})
        running.forsaken = found.forsaken
        return found.stays

    async def _rebuilt(self, running: Running, hosts: Sequence[Host]) -> None:
        """Declare again with places where everything can be, and say who is rebuilt on which host."""
        before = {
            node.id: _host_of(node) for one in running.controller.blueprints for node in one.nodes if node.rebuilds
        }
        await self._moved(running)
        names = {host.address: host.name for host in hosts}
        for blueprint in running.controller.blueprints:
            for node in blueprint.nodes:
                former, address = before.get(node.id, ""), _host_of(node)
                if former and former != address:  # a host that has left the Swarm has no name any more
                    fields = {"former": names.get(former, former), "host": names.get(address, address)}
                    running.controller.journal.say("node.rebuilt", blueprint.label, node.id, **fields)

    async def _mark(self, running: list[Running], estate: Estate, host: str, *, drained: bool) -> None:
        await self._environments.store.confirm()
        changes = (_host(estate, host).ground == Ground.DRAINED) != drained
        await estate.drain(host, drained)
        for one in running:
            if changes:
                one.controller.journal.say("host.drained" if drained else "host.undrained", host=host)
            await self._moved(one)
            one.controller.wake()

    async def _moved(self, running: Running) -> None:
        """Declare again what is declared, with places where everything can be; what was stopped stays so."""
        if not running.saved.stopped and self._environments.displaced(running):
            await self._declare(self._environments.draft(running.saved))

    def _tell(self, running: Running, hosts: Sequence[Host]) -> None:
        """Say which hosts were lost, and which are back."""
        name, say = running.environment.environment, running.controller.journal.say
        before = self._grounds.get(name, {})
        now = {host.name: host.ground for host in reversed(hosts)}  # of two of one name the first one is up
        for host, ground in now.items():
            former = before.get(host, Ground.SOUND)
            if ground == Ground.LOST and former != Ground.LOST:
                say("host.lost", host=host)
            elif former == Ground.LOST and ground != Ground.LOST:
                say("host.returned", host=host)
        self._grounds[name] = now

    def _hosted(self) -> tuple[list[Running], Estate]:
        """The environments that run on several hosts, and those hosts."""
        everyone = map(self._environments.get, self._environments.names())
        running = [one for one in everyone if _is_spread(one.engine)]
        for one in running:
            if _is_spread(one.engine):
                return running, one.engine.estate
        raise Refused(
            "nothing here runs on several hosts: only an environment with engine: swarm does",
            "docs/how-to/swarm.md says how to run on three.",
            code="refused.engine",
        )


def _is_spread(engine: Engine) -> TypeGuard[Spread]:
    return isinstance(engine, Spread)


def _occupants(running: Running, host: str) -> Occupants:
    return occupants(running.controller.blueprints, running.controller.observed(), host)


def _host_of(node: Node) -> str:
    """The address of the host that a node is declared for; "" where it listens nowhere."""
    return next((to.host for to in node.ports.values()), "")


def _host(estate: Estate, name: str) -> Host:
    hosts = estate.hosts()
    if found := next((host for host in hosts if host.name == name), None):
        return found
    hint = did_you_mean(name, [host.name for host in hosts], "Hosts") or "None was seen yet; try again."
    raise NotFound(f"there is no host {name}", hint, host=name)


def _refuse(running: list[Running], estate: Estate, host: str, force: bool) -> None:
    """Raise `Refused` where something would not outlive the absence of a host."""
    away = {host, *unsound(estate.hosts())}
    found = [*too_few(estate.hosts(), away), *_obstacles(running, away)]
    others = ", ".join(sorted(away - {host}))
    if found:
        hint = f"Bring {others} back first: everup undrain, or start it." if others else "See everup check."
        raise Refused(f"{host} cannot be spared: {'; '.join(found)}", hint, code="refused.quorum", host=host)
    alone = [node_id for one in running if not one.saved.stopped for node_id in _occupants(one, host).alone]
    if alone and not force:
        raise Refused(
            f"{', '.join(alone)} would be away with {host}: nobody else has its data",
            "Make it redundant (everup ha enable LABEL), or accept that: --force.",
            code="refused.alone",
            host=host,
        )


def _obstacles(running: list[Running], away: set[str]) -> Iterator[str]:
    for one in running:
        if not one.saved.stopped:
            yield from obstacles(one.controller.blueprints, one.controller.observed(), away)
