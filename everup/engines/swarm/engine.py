"""The Swarm engine: nodes as pinned services of a Docker Swarm, looked after by the agent of each host."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from everup.engines.background import Background
from everup.engines.local.launch import Reveal
from everup.engines.local.statefile import replace_text
from everup.engines.swarm.acts import Acts
from everup.engines.swarm.consoles import Consoles
from everup.engines.swarm.estate import SwarmEstate
from everup.engines.swarm.fleet import Fleet, other_cluster
from everup.engines.swarm.leftovers import Leftovers
from everup.engines.swarm.logs import merged
from everup.engines.swarm.outages import CUTS, Outages
from everup.engines.swarm.rounds import Rounds
from everup.engines.swarm.track import Track
from everup.model.contracts import Fault, Outage
from everup.model.desired import Node, NodeId, Socket
from everup.model.errors import EngineError
from everup.model.observed import Confirmed, NodeEvent, NodeState

_NOTE = "cluster"
_T = TypeVar("_T")


class SwarmEngine:
    """Runs the nodes of one environment on the hosts of a Swarm.

    Implements `Engine`, `FaultInjector`, `Hosted`, `Consoled`, `Contested` and `Spread`. Only the newest who looks
    after a Swarm may act there. Its methods belong to one event loop; calls for one node wait for each other, and a
    call that is cancelled is finished in the background.

    Args:
        environment: its name.
        fleet: the Swarm.
        folder: of the environment, where it is noted which Swarm that is; another one is refused.
        reveal: gives the values of secrets to nodes that start with some; called on threads of its own.
        clock: monotonic seconds.
    """

    faults = frozenset(Fault)

    def __init__(
        self,
        environment: str,
        fleet: Fleet,
        folder: Path,
        reveal: Reveal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment = environment
        self._fleet = fleet
        self._folder = folder
        self._rounds = Rounds(environment, fleet, clock)
        self._work = Background()
        self._acts = Acts(environment, fleet, self._rounds, reveal, clock)
        self._outages = Outages(environment, fleet, self._rounds)
        self._consoles = Consoles(environment, self._rounds, clock)
        self.estate = SwarmEstate(fleet, self._rounds, self.confirm)
        self._leftovers = Leftovers(environment, fleet, self._rounds, self._work)
        self._opening: asyncio.Task[None] | None = None

    async def ensure(self, node: Node, extra_args: tuple[str, ...] = ()) -> None:
        """Make the running process match `node`; a process that already does is left alone (`extra_args` do not count).

        Returns once the process exists, not once it is ready. Takes at most `node.stop.grace_s` seconds more, spent
        stopping a predecessor, and as long as Swarm takes to start a container. What is everywhere exists once it does
        on every host that answers.

        Raises:
            NodeFailed: the program is missing, could not be started, or a port of it is in use by somebody else.
            Unavailable: its host, or the Swarm, does not answer.
        """
        await self._alone(node.id, lambda track: self._acts.ensure(track, node, extra_args))

    async def remove(self, node_id: NodeId, *, keep_data: bool) -> None:
        """Stop a node gracefully, and, unless `keep_data`, delete its volume. One that is gone already is no error.

        Raises:
            Unavailable: its host, or the Swarm, does not answer.
        """
        await self._alone(node_id, lambda track: self._acts.remove(track, keep_data))

    async def observe(self) -> Mapping[NodeId, NodeState]:
        """Every node that has a service or a volume in the environment, running or not.

        Those of a host that does not answer are as they were seen last, and running if they were; `failure` says so.

        Raises:
            Unavailable: nothing answers, or another Swarm.
        """
        await self._opened()
        await self._rounds.look()
        self._leftovers.clear()
        return self._rounds.states()

    async def watch(self) -> AsyncIterator[NodeEvent]:
        """Ends that nobody asked for, the moment they are confirmed; none is lost while nobody iterates."""
        while True:
            yield await self._rounds.events.get()

    async def fence(self, node_id: NodeId) -> Confirmed:
        """Kill everything of a node; return only when nothing of it can run any more.

        Of what is everywhere, only the copies that do not answer their agents (`console`) are killed, where it is known
        which those are: Swarm starts them again, and clients of the others are not cut.

        Raises:
            Unavailable: its host does not answer, so nobody knows; or, for what is everywhere, one of the hosts that
                the Swarm holds for ready.
        """
        await self._opened()
        await self._acts.strike(self._rounds.track(node_id))  # at once, also in the middle of somebody's graceful stop
        return await self._alone(node_id, self._acts.fence)

    async def mark(self, node_id: NodeId, generation: int) -> None:
        """Note durably, beside the node's data, which generation that data belongs to."""
        await self._alone(node_id, lambda track: self._acts.mark(track, generation))

    async def logs(self, node_id: NodeId, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """The newest `lines` of its output, oldest first, without line ends; then, with `follow`, what comes.

        Lines of what is everywhere begin with the name of their host.

        Raises:
            EngineError: there is no such node, or its host does not answer.
        """
        await self._opened()
        await self._rounds.look()
        places = self._acts.places(self._rounds.track(node_id))
        sources = {
            name: agent.logs(self._environment, node_id, lines=lines, follow=follow) for name, agent in places.items()
        }
        async for line in merged(sources):
            yield line

    async def console(self, to: Socket, commands: tuple[str, ...]) -> tuple[str, ...]:
        """What each copy of the node answers to each command, host by host in order of their names.

        Raises:
            ConnectionError: none of them answers, or one does not although the agent of its host does.
        """
        return await self._consoles.ask(self._rounds.track(to.node), to, commands)

    async def inject(self, node_id: NodeId, fault: Fault, *, for_s: float) -> None:
        """Crash, hang or lose a running node on purpose, or cut its host off; what is lost is away for `for_s` seconds.

        Of a host that is cut off nothing is heard when this returns; it comes back by itself.

        Raises:
            EngineError: it does not run, or its host cannot be cut off.
        """
        if fault in CUTS:
            await self._opened()
            await self._outages.cause(self._rounds.track(node_id), fault, for_s)
        else:
            await self._alone(node_id, lambda track: self._acts.inject(track, fault, for_s))

    async def foresee(self, node_ids: Collection[NodeId]) -> Mapping[NodeId, Outage]:
        """For each of these nodes that has a host of its own, what would be lost with that."""
        await self._opened()
        return await self._outages.foresee(node_ids)

    async def confirm(self) -> None:
        """Return unless another control plane looks after the Swarm by now.

        Raises:
            Unavailable: another one does (code `engine.deposed`), or nobody knows.
        """
        await self._opened()
        await self._fleet.confirm()

    async def close(self) -> None:
        """Let go of all nodes, which run on. Calls under way are waited for; afterwards nothing may be called."""
        await self._work.settled()
        await self._acts.settled()
        await self._consoles.settled()
        await self._rounds.close()

    async def _alone(self, node_id: NodeId, work: Callable[[Track], Awaitable[_T]]) -> _T:
        """Do `work` with a node while nothing else is done with it; to the end, even when the caller is cancelled."""
        await self._opened()
        track = self._rounds.track(node_id)

        async def locked() -> _T:
            async with track.lock:
                self._rounds.outdate()
                try:
                    return await work(track)
                finally:
                    self._rounds.outdate()

        return await self._work.finish(locked())

    async def _opened(self) -> None:
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            self._opening = self._work.begin(self._open())
        await asyncio.shield(self._opening)
        self._fleet.keeping.check()

    async def _open(self) -> None:
        await self._fleet.open()
        note = self._folder / _NOTE
        try:
            known = await asyncio.to_thread(lambda: note.read_text().strip() if note.exists() else "")
            if known and known != self._fleet.cluster:
                raise other_cluster(self._fleet.docker.address, self._fleet.cluster, known)
            if not known:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                await asyncio.to_thread(replace_text, note, self._fleet.cluster + "\n")
        except OSError as error:
            raise EngineError(f"{error.filename}: {error.strerror}", "Everup must own its home directory.") from error
        await self._acts.sweep()
