"""Going round the hosts of a Swarm for one environment: who answers, what runs there, what has ended."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace

from everup.engines.swarm.fleet import Fleet
from everup.engines.swarm.hosts import STREAM_S, Host
from everup.engines.swarm.lines import Line
from everup.engines.swarm.placement import HostView, ground_of
from everup.engines.swarm.services import Deployed, is_everywhere, read_end
from everup.engines.swarm.sight import Ended
from everup.engines.swarm.track import Seen, Track, age_s
from everup.model.desired import NodeId
from everup.model.errors import EngineError, Unavailable
from everup.model.observed import Confirmed, NodeEvent, NodeState

SWARM_EVERY_S, SWARM_ANSWER_S = 2.0, 0.5
"""How often the Swarm is asked, and for how long: where its leader is lost it says nothing for ten seconds and more."""

LEFT = "its host has left the Swarm (docker node rm), and nobody waits for what it has there"


class Rounds:
    """What the agents of all hosts say of one environment's nodes; hosts that are silent keep nobody waiting.

    Attributes:
        tracks: every node that was ever heard or spoken of.
        events: ends that nobody asked for, for whoever watches.
    """

    def __init__(self, environment: str, fleet: Fleet, clock: Callable[[], float]) -> None:
        self.tracks: dict[NodeId, Track] = {}
        self.events: asyncio.Queue[NodeEvent] = asyncio.Queue()
        self._environment = environment
        self._fleet = fleet
        self._clock = clock
        self._lines: dict[str, Line] = {}
        self._swarm_asked_s = clock() - SWARM_EVERY_S

    def track(self, node_id: NodeId) -> Track:
        """What is known of a node."""
        return self.tracks.setdefault(node_id, Track(node_id))

    def deployed(self, node_id: NodeId) -> Deployed | None:
        """Its service, where it has one."""
        return self._fleet.deployed(self._environment).get(node_id)

    def copied(self, track: Track) -> bool:
        """There is, or was, a copy of it on every host."""
        deployed = self.deployed(track.id)
        if deployed is not None:
            return deployed.everywhere
        return is_everywhere(track.node) if track.node else len(track.seen) > 1

    async def look(self) -> None:
        """See the Swarm as it is, and ask every host that answers.

        Raises:
            Unavailable: nothing answers.
        """
        await self._fleet.open()
        await self._fleet.fresh()
        await self._dial()
        await self.ask(list(self._lines))
        await self._ask_swarm()
        if self._lines and not any(line.up for line in self._lines.values()):
            said = "; ".join(f"{line.host.name}: {line.why}" for line in self._lines.values())
            raise Unavailable(f"no agent of the Swarm answers ({said})", "See docker service ps everup-agent.")

    def outdate(self) -> None:
        """Something is done with a node: what the agents said before is not to be gone by."""
        for line in self._lines.values():
            line.outdate()

    async def ask(self, host_ids: Collection[str]) -> None:
        """Ask those of these hosts that answer what runs there, but for those that have just said it.

        Raises:
            Unavailable: another control plane looks after the Swarm by now.
        """
        self._fleet.keeping.check()
        lines = [self._lines[host_id] for host_id in host_ids if host_id in self._lines]
        await asyncio.gather(*(self._ask(line) for line in lines if line.up and not line.fresh()))

    def silence(self, host_id: str) -> str:
        """Why nobody knows what runs on a host, in words; "" when it can be asked, and has been.

        One that has only just begun to answer has said nothing yet, which must not read as if nothing ran there.
        """
        line = self._lines.get(host_id)
        if line is None:
            return f"its host {host_id} is not part of the Swarm any more"
        if not line.up:
            return f"{line.host.name} does not answer: {line.why}"
        return "" if line.told else f"{line.host.name} has not said yet what runs there"

    def busy(self) -> list[str]:
        """Why hosts cannot be asked which the Swarm holds for ready, in words."""
        known = ((line, self._fleet.host(host_id)) for host_id, line in self._lines.items())
        return [why for line, host in known if host and host.ready and (why := self.silence(line.host.id))]

    def answering(self) -> list[HostView]:
        """The hosts that answer, as they are now, in order of their names."""
        found = [self._fleet.host(host_id) for host_id in self._lines if not self.silence(host_id)]
        return sorted((host for host in found if host), key=lambda host: host.name)

    def agent(self, host_id: str) -> Host:
        """The agent of a host.

        Raises:
            Unavailable: it does not answer.
        """
        if why := self.silence(host_id):
            raise Unavailable(why, "Its nodes are left alone until it answers again, or is known to be gone.")
        return self._lines[host_id].agent

    def states(self) -> dict[NodeId, NodeState]:
        """Every node of which there is anything, as far as is known now."""
        found = {node_id: self._state(node_id) for node_id in (*self._fleet.deployed(self._environment), *self.tracks)}
        states = {node_id: state for node_id, state in found.items() if state}
        self._fleet.ended[self._environment] = {node_id for node_id, one in states.items() if not one.running}
        return states

    async def close(self) -> None:
        """Hang up."""
        await asyncio.gather(*(line.close() for line in self._lines.values()))
        self._lines.clear()

    def _state(self, node_id: NodeId) -> NodeState | None:
        track, deployed, now_s = self.track(node_id), self.deployed(node_id), self._clock()
        if self.copied(track):
            return track.together(deployed, {one.id for one in self.answering()}, now_s)
        host_id = deployed.host_id if deployed else ""
        if self._fleet.host(host_id) is None:  # it has left; where it has joined again, that is under another id
            host_id = next(iter(track.seen), "")
        silent = self.silence(host_id) if host_id else ""
        state = track.state(deployed, silent, now_s)
        host = self._fleet.host(host_id)
        if state is None or host is None:
            return self._departed(state, deployed) if state and deployed else state
        ground = ground_of(self._fleet.hosts, host_id, silent != "")
        return replace(state, host=state.host or host.name, address=host.address, ground=ground)

    def _departed(self, state: NodeState, deployed: Deployed) -> NodeState:
        """A node whose host has left: it does not run, for nobody waits for it; that it has ended, nobody has seen.

        The host that has its address by now, where one has, says whether its data are there.
        """
        address = next((to.host for to in deployed.addresses), "")
        heir = any(host.address == address for host in self.answering())
        return replace(state, failure=LEFT, silent=LEFT, has_data=not heir, address=address)

    async def _dial(self) -> None:
        """Have a line to every host, and to no other; wait until it is known who answers."""
        hosts = {host.id: host for host in self._fleet.hosts}
        for host_id, line in list(self._lines.items()):
            if host_id not in hosts or self._fleet.agent(host_id) is not line.agent:
                await self._lines.pop(host_id).close()
            if host_id not in hosts:
                for track in self.tracks.values():
                    track.seen.pop(host_id, None)
                    track.left.pop(host_id, None)
        for host_id, host in hosts.items():
            if host_id not in self._lines:
                self._lines[host_id] = Line(self._environment, host, self._fleet.agent(host_id), self._heard)
        untried = [asyncio.create_task(line.tried.wait()) for line in self._lines.values() if not line.tried.is_set()]
        if untried:
            _, late = await asyncio.wait(untried, timeout=STREAM_S)
            for task in late:
                task.cancel()

    async def _ask(self, line: Line) -> None:
        found = await line.nodes()
        if found is None:
            return
        for node_id in set(self.tracks) - set(found):
            self.tracks[node_id].seen.pop(line.host.id, None)
            self.tracks[node_id].left.pop(line.host.id, None)
        for node_id, sight in found.items():
            track, seen = self.track(node_id), Seen(line.host.name, sight)
            if self.copied(track):
                track.seen[line.host.id] = seen
            elif track.remains(line.host.id, seen, self.deployed(node_id)):
                continue
            else:
                self._tell(track.take(line.host.id, seen, self._clock()))
        line.told = line.up

    async def _ask_swarm(self) -> None:
        """Of hosts without an agent, such as drained ones, take the Swarm's word for what has ended there."""
        silent = [line.host.id for line in self._lines.values() if not line.up]
        hosts = [host_id for host_id in silent if (host := self._fleet.host(host_id)) and host.ready]
        if not hosts or self._clock() < self._swarm_asked_s + SWARM_EVERY_S:
            return
        self._swarm_asked_s = self._clock()
        try:
            async with asyncio.timeout(SWARM_ANSWER_S):
                tasks = await self._fleet.docker.cluster.tasks({"node": hosts})
        except (EngineError, TimeoutError):
            return
        for end in filter(None, map(read_end, tasks)):
            track = self.tracks.get(end.node_id)
            if end.environment != self._environment or track is None or self.copied(track):
                continue
            if track.newest_start() == end.ticket:
                self._tell(track.ended(end.ticket, end.exit_code, self._clock() - age_s(end.ended_utc)))

    def _heard(self, ended: Ended) -> None:
        """An end, the moment it happened."""
        track = self.track(ended.node)
        if not self.copied(track):  # Swarm starts copies of what is everywhere again by itself
            at_s = self._clock() - (ended.age_s or 0.0)
            self._tell(track.ended(ended.start, ended.exit_code, at_s, ended.last_line, ended.killed_at_bytes))

    def _tell(self, proof: Confirmed | None) -> None:
        """Pass an end on that is news."""
        if proof:
            self.events.put_nowait(NodeEvent(proof.node_id, "exited", proof))
