"""What the Swarm engine does with one node at a time: starts, stops, fences, breaks it."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace

from everup.engines.local.launch import Reveal
from everup.engines.swarm.deploy import change, discard_orders, stand_down, sweep_orders, undeploy
from everup.engines.swarm.docker import Thing
from everup.engines.swarm.fleet import Fleet
from everup.engines.swarm.hosts import USUAL_GRACE_S, Host
from everup.engines.swarm.placement import HostView, ground_of
from everup.engines.swarm.rounds import LEFT, Rounds
from everup.engines.swarm.services import FILES, Deployed, at_rest, is_everywhere
from everup.engines.swarm.sight import Renewal, Stopping
from everup.engines.swarm.starting import Starter
from everup.engines.swarm.track import Track
from everup.model.contracts import Fault
from everup.model.desired import Node
from everup.model.errors import EngineError, NodeFailed, Unavailable
from everup.model.observed import Confirmed, Ground

_LOOK_EVERY_S = 0.1


class Acts:
    """Acts on nodes; whoever calls sees to it that nothing else acts on the same one.

    Args:
        environment: its name.
        fleet: the Swarm.
        rounds: what the agents say.
        reveal: gives the values of secrets; blocks.
        clock: monotonic seconds.
    """

    def __init__(
        self, environment: str, fleet: Fleet, rounds: Rounds, reveal: Reveal, clock: Callable[[], float]
    ) -> None:
        self._environment = environment
        self._fleet = fleet
        self._rounds = rounds
        self._starter = Starter(environment, fleet, rounds, reveal, clock)
        self._clock = clock

    async def ensure(self, track: Track, node: Node, extra_args: tuple[str, ...]) -> None:
        """See `SwarmEngine.ensure`."""
        now_s = self._clock()
        if now_s < track.lost_until_s:
            left_s = track.lost_until_s - now_s
            raise NodeFailed(f"{track.id} is lost for another {left_s:.1f} s, by a drill", code="engine.node_lost")
        await self._rounds.look()
        track.node = node
        if is_everywhere(node):
            if not await self._renewed_everywhere(track, node):
                await self._starter.start(track, node, extra_args, self._starter.able())
            return
        host = self._starter.host_for(node)
        self._leave_for(track, node, host)
        if track.runs():
            where, seen = max(track.seen.items(), key=lambda pair: pair[1].sight.start)
            agent = self._rounds.agent(where)
            if seen.sight.digest == node.digest and where == host.id:
                await self._renew(track, node, [where])
                return
            await self._starter.replaceable(track, node, host)
            await self._stop(track, agent)
        self._rounds.agent(host.id)
        await self._starter.start(track, node, extra_args, [host])

    async def remove(self, track: Track, keep_data: bool) -> None:
        """See `SwarmEngine.remove`."""
        await self._rounds.look()
        deployed = self._rounds.deployed(track.id)
        if self._rounds.copied(track):
            await self._end_copies(track, deployed)
            agents = [self._rounds.agent(host.id) for host in self._rounds.answering()]
        elif deployed and deployed.moves and _is_lost(self._fleet, self._rounds, deployed):
            await self._end_lost(track, deployed, keep_data)
            agents = []
        else:
            here = [host_id for host_id, one in track.seen.items() if one.sight.running or not keep_data]
            here += [host_id for host_id in track.left if not keep_data and not self._rounds.silence(host_id)]
            agents = [self._rounds.agent(host_id) for host_id in _places(self._fleet, deployed, here)]
            _refuse_unseen(track, deployed if keep_data else None, agents)
            for agent in agents:
                await self._stop(track, agent)
            if deployed and keep_data and deployed.wanted:
                await self._rest(deployed)
            elif deployed and not keep_data:
                await self._undeploy(deployed)
        if not keep_data:
            await asyncio.gather(*(agent.discard(self._environment, track.id) for agent in agents))
            track.forget()
        track.pace.reset()

    def _leave_for(self, track: Track, node: Node, host: HostView) -> None:
        """It is about to be on that host: it may not be on one that cannot be asked, unless others can do without what
        it has there.

        Raises:
            Unavailable: it may be, and may be writing its data; or there is something on `host` that was given up.
        """
        deployed = self._rounds.deployed(track.id)
        if deployed is None or deployed.host_id == host.id:
            return
        if host.id in track.left and node.rebuilds:
            raise Unavailable(f"{track.id}: what {host.name} still has of it, which is stale, is cleared away first")
        former = self._fleet.host(deployed.host_id)
        anew = node.rebuilds and host.address not in {to.host for to in deployed.addresses}
        if (deployed.moves or anew) and _is_lost(self._fleet, self._rounds, deployed):
            track.leave(deployed.host_id, deployed.ticket)
        elif former and deployed.wanted and not former.emptied:
            self._rounds.agent(deployed.host_id)
        if anew:
            track.given_up = max(track.largest(), deployed.ticket)

    async def _end_lost(self, track: Track, deployed: Deployed, keep_data: bool) -> None:
        """Have Swarm end it there as soon as it can; what is left then is found and deleted."""
        if not keep_data:
            await self._undeploy(deployed)
        elif deployed.wanted:
            await self._rest(deployed)
        track.leave(deployed.host_id, deployed.ticket)

    async def strike(self, track: Track) -> None:
        """Kill what runs of a node at once, whatever else is done with it; `fence` says what cannot be reached."""
        if not self._rounds.copied(track):
            with suppress(Unavailable):
                await self._bar(track)

    async def fence(self, track: Track) -> Confirmed:
        """See `SwarmEngine.fence`."""
        if self._rounds.copied(track) and await self._ended_mute(track):
            return Confirmed(track.id, self._clock(), None)
        exit_code = await self._bar(track)
        deployed = self._rounds.deployed(track.id)
        if deployed and deployed.wanted and _plain(track, deployed):  # nothing but the Swarm can keep it from starting
            self._fleet.note(await stand_down(self._fleet.docker, deployed, self._fleet.keeping.number))
            await self._bar(track)
        if track.dead is None or track.runs() or self._rounds.copied(track):
            track.ended(track.asked, exit_code, self._clock())
        return track.dead or Confirmed(track.id, self._clock(), None)

    async def _ended_mute(self, track: Track) -> bool:
        """Kill those copies that do not answer their agents; False where there are none, or no others.

        Raises:
            Unavailable: a host that the Swarm holds for ready is too busy to say.
        """
        if (busy := self._rounds.busy()) or track.unheard:
            said = "; ".join(busy) or "no host could pass a question on to it"
            raise Unavailable(f"{track.id}: nobody knows which of its copies hang: {said}", node=track.id)
        running = {host.id for host in self._rounds.answering() if track.runs_at(host.id)}
        mute = track.mute & running
        if not mute or mute == running:
            return False
        agents = [self._rounds.agent(host_id) for host_id in mute]
        await asyncio.gather(*(agent.harm(self._environment, track.id, "crash") for agent in agents))
        track.mute -= mute
        return True

    async def mark(self, track: Track, generation: int) -> None:
        """See `SwarmEngine.mark`."""
        await self._rounds.look()
        for agent in self.places(track).values():
            await agent.mark(self._environment, track.id, generation)

    async def inject(self, track: Track, fault: Fault, for_s: float) -> None:
        """See `SwarmEngine.inject`."""
        await self._rounds.look()
        seen = track.newest()
        if seen is None or not track.runs():
            raise EngineError(f"{track.id} does not run", code="engine.not_running", node=track.id)
        agents = self.places(track).values()
        if fault == Fault.HANG:
            await asyncio.gather(*(agent.harm(self._environment, track.id, "hang") for agent in agents))
            return
        track.staged = seen.sight.start
        track.lost_until_s = self._clock() + for_s if fault == Fault.NODE_LOSS else 0.0
        await asyncio.gather(*(agent.harm(self._environment, track.id, "crash") for agent in agents))

    def places(self, track: Track) -> dict[str, Host]:
        """The agents of the hosts on which there is something of a node, by the names of those hosts, in their order.

        Raises:
            EngineError: there is no such node.
            Unavailable: its host does not answer.
        """
        if not track.seen:
            raise EngineError(f"there is no node {track.id} here", code="engine.no_such_node", node=track.id)
        if self._rounds.copied(track):
            hosts = [host for host in self._rounds.answering() if host.id in track.seen]
            return {host.name: self._rounds.agent(host.id) for host in hosts}
        where, seen = max(track.seen.items(), key=lambda pair: (pair[1].sight.running, pair[1].sight.start))
        return {seen.host: self._rounds.agent(where)}

    async def sweep(self) -> None:
        """Delete what a control plane left behind that died between two steps."""
        deployed = self._fleet.deployed(self._environment).values()
        with suppress(EngineError):
            await sweep_orders(self._fleet.docker, self._environment, deployed)

    async def settled(self) -> None:
        """Wait until all that goes on behind is done."""
        await self._starter.work.settled()

    async def _stop(self, track: Track, agent: Host) -> None:
        """Ask it to end, by its own stop signal; what has not ended after its grace is killed."""
        track.asked = max(track.asked, track.largest())
        wish, noted_s = _stopping(track.node, self._rounds.deployed(track.id))
        exit_code = await agent.stop(self._environment, track.id, wish, noted_s)
        if track.runs():
            track.ended(track.asked, exit_code, self._clock())

    async def _bar(self, track: Track) -> int | None:
        """Kill what runs of it on every host that may have it, and let no start that was ordered happen any more."""
        deployed = self._rounds.deployed(track.id)
        track.asked = track.ticket = max(track.largest(), deployed.ticket if deployed else 0)
        if self._rounds.copied(track):
            agents = [self._rounds.agent(host.id) for host in self._rounds.answering()]
        else:
            here = [host_id for host_id, one in track.seen.items() if one.sight.running or deployed is None]
            agents = [self._rounds.agent(host_id) for host_id in _places(self._fleet, deployed, here)]
            _refuse_unseen(track, deployed, agents)
        barred = None if _plain(track, deployed) else track.asked
        ends = await asyncio.gather(*(agent.fence(self._environment, track.id, barred) for agent in agents))
        return next((exit_code for exit_code in ends if exit_code is not None), None)

    async def _rest(self, deployed: Deployed) -> None:
        await change(self._fleet.docker, deployed.id, self._fleet.keeping.number, at_rest)
        self._fleet.note(replace(deployed, wanted=False))

    async def _undeploy(self, deployed: Deployed) -> None:
        await undeploy(self._fleet.docker, deployed.id, self._fleet.keeping.number)
        self._fleet.forget(self._environment, deployed.node_id)
        self._starter.work.begin(discard_orders(self._fleet.docker, deployed.secrets))

    async def _end_copies(self, track: Track, deployed: Deployed | None) -> None:
        """Swarm asks the copies to end, and they are seen to have; what has not after its grace is killed."""
        if deployed:
            await self._undeploy(deployed)
        grace_s = track.node.stop.grace_s if track.node else 10.0
        end_s = time.monotonic() + grace_s
        while time.monotonic() < end_s and any(one.sight.running for one in track.seen.values()):
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._rounds.ask(list(track.seen))
        await self._bar(track)
        await self._rounds.ask(list(track.seen))

    async def _renewed_everywhere(self, track: Track, node: Node) -> bool:
        """Its copies run as `node` says, now with the newest files; False when they have to be started anew."""
        deployed = self._rounds.deployed(track.id)
        running = {host.id for host in self._rounds.answering() if track.runs_at(host.id)}
        if not running or deployed is None or deployed.digest != node.digest:
            return False
        if any(track.seen[host_id].sight.digest != node.digest for host_id in running):
            return False
        await self._renew(track, node, running)
        return True

    async def _renew(self, track: Track, node: Node, host_ids: Collection[str]) -> None:
        """Bring running nodes up to what needs no restart: reloaded files."""
        stale = [host_id for host_id in host_ids if track.seen[host_id].sight.files_digest != node.files_digest]
        if not stale or not node.reload_signal:
            return
        agents = [self._rounds.agent(host_id) for host_id in stale]
        wish = Renewal(files=dict(node.files), files_digest=node.files_digest, reload_signal=node.reload_signal)
        await asyncio.gather(*(agent.renew(self._environment, node.id, wish) for agent in agents))
        if deployed := self._rounds.deployed(track.id):
            with suppress(EngineError):  # it says what copies that join later lack, and can be said later
                docker, number = self._fleet.docker, self._fleet.keeping.number
                await change(docker, deployed.id, number, lambda spec: _labelled(spec, node.files_digest))
            self._fleet.note(replace(deployed, files_digest=node.files_digest))
        await self._rounds.ask(stale)


def _labelled(spec: Thing, files_digest: str) -> Thing:
    """The labels of the service alone: nothing is restarted for them."""
    return {**spec, "Labels": {**spec["Labels"], FILES: files_digest}}


def _stopping(node: Node | None, deployed: Deployed | None) -> tuple[Stopping, float]:
    """How a node is asked to end; one that was not declared here, as was noted at its start, and with what grace."""
    noted_s = deployed.grace_s if deployed else USUAL_GRACE_S
    if node is None:
        return Stopping(), noted_s
    return Stopping(signal=node.stop.signal, grace_s=node.stop.grace_s, repeat_s=node.stop.repeat_s), noted_s


def _is_lost(fleet: Fleet, rounds: Rounds, deployed: Deployed) -> bool:
    """Nobody can say what becomes of it where it is, and the Swarm has given that host up."""
    silent = rounds.silence(deployed.host_id) != ""
    return ground_of(fleet.hosts, deployed.host_id, silent) == Ground.LOST


def _plain(track: Track, deployed: Deployed | None) -> bool:
    """It runs from an image of the user's, and so takes no tickets."""
    return not deployed.secrets if deployed else track.node is not None and track.node.image != ""


def _places(fleet: Fleet, deployed: Deployed | None, seen: Iterable[str]) -> list[str]:
    """The hosts (ids) on which there may be something of a node; nobody waits for one that has left the Swarm."""
    places = dict.fromkeys([*([deployed.host_id] if deployed else []), *seen])
    return [host_id for host_id in places if fleet.host(host_id)]


def _refuse_unseen(track: Track, deployed: Deployed | None, agents: Collection[Host]) -> None:
    """Nobody may call that an end which nobody can see: its host has left the Swarm, and perhaps goes on.

    Raises:
        Unavailable: that is so.
    """
    if deployed and not agents and track.dead_start < deployed.ticket:
        raise Unavailable(f"{track.id}: {LEFT}; nobody can see whether it has ended", node=track.id)
