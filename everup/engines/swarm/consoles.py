"""Asking all copies of a node by a Unix socket in their homes, without waiting for whoever is slow."""

import asyncio
from collections.abc import Callable

from everup.engines.background import Background
from everup.engines.swarm.placement import HostView
from everup.engines.swarm.rounds import Rounds
from everup.engines.swarm.track import Track
from everup.model.desired import Socket
from everup.model.errors import EngineError, Unavailable

ANSWER_S = 0.8
"""How long an agent may take to pass commands on and the answers back."""

SLOW_S = 5.0
"""For how long one that took longer is not waited for again, while others answer."""


class Consoles:
    """Passes commands on to nodes, and remembers which hosts were slow, and which copies silent.

    Args:
        environment: its name.
        rounds: who answers.
        clock: monotonic seconds.
    """

    def __init__(self, environment: str, rounds: Rounds, clock: Callable[[], float]) -> None:
        self._environment = environment
        self._rounds = rounds
        self._clock = clock
        self._work = Background()
        self._slow_until_s: dict[str, float] = {}

    async def ask(self, track: Track, to: Socket, commands: tuple[str, ...]) -> tuple[str, ...]:
        """What each running copy answers to each command, host by host in order of their names.

        Raises:
            ConnectionError: none answers, or one does not although its agent does.
        """
        answering = [host for host in self._rounds.answering() if track.runs_at(host.id)]
        quick = [host for host in answering if self._slow_until_s.get(host.id, 0.0) <= self._clock()]
        asked = {host.name: self._work.begin(self._put(track, host, to, commands)) for host in quick or answering}
        late: set[asyncio.Task[tuple[str, ...]]] = set()
        if asked:
            _, late = await asyncio.wait(asked.values(), timeout=ANSWER_S)
        for host in answering:
            if asked.get(host.name) in late:
                self._slow_until_s[host.id] = self._clock() + SLOW_S
        reasons = [f"{name}: nothing came within {ANSWER_S:g} s" for name, task in asked.items() if task in late]
        heard: list[str] = []
        for task in asked.values():
            if task not in late and (error := task.exception()):
                reasons.append(str(error))
            elif task not in late:
                heard += task.result()
        mute = {host.id for host in answering} & track.mute
        track.unheard = not heard and not mute
        if mute or not heard:
            raise ConnectionError(f"{to.node} does not answer: {'; '.join(reasons) or 'it runs nowhere'}")
        return tuple(heard)

    async def settled(self) -> None:
        """Wait until nothing is asked any more."""
        await self._work.settled()

    async def _put(self, track: Track, host: HostView, to: Socket, commands: tuple[str, ...]) -> tuple[str, ...]:
        """Ask one copy, and note what that says of it, also when nobody waits for the answer any more."""
        try:
            answer = await self._rounds.agent(host.id).console(self._environment, to.node, to.name, commands)
        except Unavailable:
            self._slow_until_s[host.id] = self._clock() + SLOW_S
            raise
        except EngineError:
            track.mute.add(host.id)
            raise
        track.mute.discard(host.id)
        return answer
