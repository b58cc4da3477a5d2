"""What one host reports as it comes: ends of nodes, and their output."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from everup.engines.swarm.docker import Docker
from everup.engines.swarm.look import Container, Lookout, Trace
from everup.engines.swarm.premises import FENCE_S
from everup.engines.swarm.services import ENVIRONMENT, NODE
from everup.engines.swarm.sight import Ended, popen_code
from everup.model.desired import NodeId
from everup.model.errors import EngineError, Unavailable

_LOOK_EVERY_S = 0.02
_FOLLOW_EVERY_S = 0.3
_OVERLAP_S = 1.0
_ALL = 1_000_000
_REMEMBERED = 10_000


class Reports:
    """Streams from one host. Each call is a stream of its own; leave it with `aclose`."""

    def __init__(self, docker: Docker, lookout: Lookout) -> None:
        self._docker = docker
        self._lookout = lookout

    async def exits(self, environment: str) -> AsyncGenerator[Ended, None]:
        """Ends of nodes from now on, each once, the moment it is confirmed.

        A container whose start was refused is no end of its node, nor is one beside which another runs.

        Raises:
            Unavailable: Docker does not answer any more.
        """
        since = f"{time.time() - _OVERLAP_S:.3f}"
        traces = await self._lookout.traces(environment)
        told = dict.fromkeys(one.id for trace in traces.values() for one in trace.containers if not one.standing)
        found: asyncio.Queue[tuple[Container, Ended] | EngineError] = asyncio.Queue()
        judging: set[asyncio.Task[None]] = set()

        async def judge(node_id: NodeId, container_id: str) -> None:
            try:
                if end := await self._confirmed(environment, node_id, container_id):
                    found.put_nowait(end)
            except EngineError as error:
                found.put_nowait(error)

        async def listen() -> None:
            wanted = {"type": ["container"], "event": ["die"], "label": [f"{ENVIRONMENT}={environment}"]}
            try:
                async for event in self._docker.events(wanted, since):
                    actor = event["Actor"]
                    if actor["ID"] not in told:
                        judging.add(task := asyncio.create_task(judge(actor["Attributes"].get(NODE, ""), actor["ID"])))
                        task.add_done_callback(judging.discard)
                found.put_nowait(Unavailable("Docker has ended"))
            except EngineError as error:
                found.put_nowait(error)

        listening = asyncio.create_task(listen())
        try:
            while True:
                end = await found.get()
                if isinstance(end, EngineError):
                    raise end
                if end[0].id not in told:
                    told[end[0].id] = None
                    if len(told) > _REMEMBERED:
                        del told[next(iter(told))]
                    yield end[1]
        finally:
            for task in (listening, *judging):
                task.cancel()

    async def output(self, environment: str, node_id: NodeId, lines: int, *, follow: bool) -> AsyncGenerator[str, None]:
        """The newest `lines` of its output, over its latest containers, oldest first; with `follow`, what comes."""
        said = await self._speakers(environment, node_id)
        blocks: list[list[str]] = []
        left = lines
        for one in said:
            blocks.append([line async for line in self._docker.containers.logs(one.id, lines=left, follow=False)])
            left -= len(blocks[-1])
            if left <= 0:
                break
        for block in reversed(blocks[1:] if follow else blocks):
            for line in block:
                yield line
        heard, amount = {one.id for one in said[1:]}, lines
        while follow:
            for one in reversed([one for one in said if one.id not in heard]):
                heard.add(one.id)
                async with aclosing(self._docker.containers.logs(one.id, lines=amount, follow=True)) as coming:
                    async for line in coming:
                        yield line
            amount = _ALL  # of what starts later, all
            await asyncio.sleep(_FOLLOW_EVERY_S)
            said = await self._speakers(environment, node_id)

    async def _speakers(self, environment: str, node_id: NodeId) -> list[Container]:
        """Containers of a node in which its program ran, newest first."""
        trace = await self._lookout.trace(environment, node_id)
        return [one for one in trace.containers if not await self._refused(trace, one)]

    async def _refused(self, trace: Trace, one: Container) -> bool:
        return not one.standing and await self._lookout.refused(trace, one, await self._lookout.life(one))

    async def _never_began(self, trace: Trace, one: Container) -> bool:
        """Its program was never reached: a failed start, which is told of in another way."""
        if trace.volume is None or one.plain:
            return False
        record = await asyncio.to_thread(trace.volume.record)
        return record is None or record.ticket < one.ticket or (record.ticket == one.ticket and bool(record.failure))

    async def _confirmed(self, environment: str, node_id: NodeId, container_id: str) -> tuple[Container, Ended] | None:
        """The end of a node, one of whose containers has ended; None where the node goes on in another."""
        end_s = time.monotonic() + FENCE_S
        while True:
            trace = await self._lookout.trace(environment, node_id)
            if any(one.id != container_id for one in trace.running()):
                return None
            if not await self._lookout.alive(trace):
                break
            if time.monotonic() > end_s:
                return None
            await asyncio.sleep(_LOOK_EVERY_S)
        found = await self._lookout.end(trace)
        if found is None or await self._never_began(trace, found[0]):
            return None
        one, life = found
        age_s = max(0.0, time.time() - (life.ended_s or time.time()))
        return one, Ended(
            node=node_id,
            start=one.ticket,
            exit_code=popen_code(life.exit_code),
            age_s=age_s,
            last_line=life.last_line,
            killed_at_bytes=life.killed_at_bytes,
        )
