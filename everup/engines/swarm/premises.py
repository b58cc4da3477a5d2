"""The nodes on one host, as an agent looks after them: seen, fenced, stopped, marked, never started.

Nothing here believes that a node is dead before two have said so: Docker, that no container of it runs, and the
kernel, that nobody holds the lock that its program got at its start. So a Docker that was killed and has lost track of
a process does not lead to a second one beside it.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from everup.consoles import ask
from everup.engines.local import kernel
from everup.engines.local.home import Home
from everup.engines.local.launch import completing
from everup.engines.swarm.complaints import Conflict
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.look import Container, Lookout, Trace
from everup.engines.swarm.services import ASIDE, name_of, whose
from everup.engines.swarm.sight import Renewal, Sight, Stopping, popen_code
from everup.engines.swarm.volume import Volume, move_all
from everup.model.desired import NodeId
from everup.model.errors import EngineError

HOST_PROC = Path("/host/proc")
"""Where the processes of the host can be seen from the agent's container."""

FENCE_S = 10.0
"""How long the kernel may take to end what was killed."""

RELOAD_S = 5.0
"""How long a program may take until it listens for its reload signal."""

_LOOK_EVERY_S = 0.02
_LOOK_SELDOM_S = 0.2
_COMMANDS_S = 0.5  # less than whoever asks waits for its agent


class Premises:
    """What runs here of any environment. Its methods belong to one event loop, and may be called at the same time.

    All raise `Unavailable` while Docker does not answer; an `EngineError` says what else went wrong.
    """

    def __init__(self, docker: Docker, lookout: Lookout, proc: Path = HOST_PROC) -> None:
        self._docker = docker
        self._lookout = lookout
        self._proc = proc

    async def nodes(self, environment: str) -> dict[NodeId, Sight]:
        """Every node that has, or had, a container or a volume here."""
        return await self._lookout.sights(await self._lookout.traces(environment), time.time())

    async def fence(self, environment: str, node_id: NodeId, ticket: int | None) -> int | None:
        """Bar all starts up to `ticket`, kill everything of a node, return once it is gone: how it ended.

        A start that Swarm has begun by then is seen and killed, or finds its ticket taken and ends by itself.

        Raises:
            EngineError: after 10 s something of it is still there (code `engine.not_fenced`); or the disk is full, so
                that starts cannot be barred: what runs is killed all the same.
        """
        end_s = time.monotonic() + FENCE_S
        trace = await self._lookout.trace(environment, node_id)
        if ticket is not None:
            barred = max([ticket, *(one.ticket for one in trace.containers)])
            volume = await self._volume(environment, trace)
            try:
                await _disk(node_id, lambda: volume.bar(barred))
            except EngineError:
                await self._strike(trace, waiting=False)
                raise
        while True:
            trace = await self._lookout.trace(environment, node_id)  # read after the ticket was taken
            await self._strike(trace, waiting=ticket is None)
            if not await self._lookout.alive(trace):
                return await self._exit_code(environment, node_id)
            if time.monotonic() > end_s:
                raise self._not_fenced(trace)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def stop(self, environment: str, node_id: NodeId, wish: Stopping) -> int | None:
        """Ask what runs of a node to end, then kill it; return once it is gone: how it ended."""
        trace = await self._lookout.trace(environment, node_id)
        record = await asyncio.to_thread(trace.volume.record) if trace.volume and wish.signal is None else None
        if record:
            wish = Stopping(signal=record.stop_signal, grace_s=record.stop_grace_s, repeat_s=record.stop_repeat_s)
        asked = trace.running()
        end_s = time.monotonic() + wish.grace_s
        while asked and (left_s := end_s - time.monotonic()) > 0:
            await self._signal(asked, wish.signal or "SIGTERM")
            if await self._gone(trace, min(left_s, wish.repeat_s or left_s)):
                return await self._exit_code(environment, node_id)
        await self._signal(asked, "SIGKILL")
        if not await self._gone(trace, FENCE_S):
            raise self._not_fenced(trace)
        return await self._exit_code(environment, node_id)

    async def hang(self, environment: str, node_id: NodeId) -> None:
        """Freeze all of a running node."""
        for one in await self._living(environment, node_id):
            await self._docker.containers.pause(one.id)

    async def crash(self, environment: str, node_id: NodeId) -> None:
        """Kill a running node as a fault would; return once it is gone."""
        trace = await self._lookout.trace(environment, node_id)
        await self._signal(await self._living(environment, node_id), "SIGKILL")
        if not await self._gone(trace, FENCE_S):
            raise self._not_fenced(trace)

    async def mark(self, environment: str, node_id: NodeId, generation: int) -> None:
        """Note durably, beside the node's data, which generation that data belongs to."""
        volume = await self._existing(environment, node_id)

        def work() -> None:
            record = volume.record()
            Home(volume.path, node_id).mark(generation, record.keeps if record else ())

        await _disk(node_id, work)

    async def renew(self, environment: str, node_id: NodeId, wish: Renewal) -> None:
        """Rewrite a running node's files, note that, and send its program the signal to read them."""
        number, volume = _number(wish.reload_signal), await self._existing(environment, node_id)
        running = await self._living(environment, node_id)
        record = await asyncio.to_thread(volume.record)
        if record is None:
            raise EngineError(f"{node_id} has never been started here", code="engine.not_running", node=node_id)

        def work() -> None:
            home = Home(volume.path, node_id)
            home.rewrite(wish.files, completing(record.paths))
            found = volume.path.stat()
            for name in wish.files:
                os.chown(volume.path / name, found.st_uid, found.st_gid, follow_symlinks=False)

        await _disk(node_id, work)
        await self._listening(running[0], number)
        await self._signal(running, wish.reload_signal)
        await _disk(node_id, lambda: volume.save(replace(record, files_digest=wish.files_digest)))

    async def console(self, environment: str, node_id: NodeId, socket: str, commands: Sequence[str]) -> tuple[str, ...]:
        """What comes back for each command on a Unix socket in a node's home."""
        volume = await self._existing(environment, node_id)
        if (volume.path / socket).is_symlink():
            raise EngineError(f"{node_id}: {socket} is a link, which Everup did not make", node=node_id)
        try:
            async with asyncio.timeout(_COMMANDS_S):
                return tuple([await ask(volume.path, socket, command) for command in commands])
        except (OSError, TimeoutError) as error:
            because = str(error) or f"no answer within {_COMMANDS_S:g} s"
            raise EngineError(f"{node_id}: {socket}: {because}", code="engine.no_answer", node=node_id) from error

    async def discard(self, environment: str, node_id: NodeId, aside: int = 0) -> str:
        """Delete a node's volume and what is left of its containers. Its service must be gone already, or elsewhere.

        With a number `aside` what is in the volume is kept in one that bears it, and is no node's: its name; else "".

        Raises:
            EngineError: something of it runs (code `engine.node_runs`).
        """
        end_s = time.monotonic() + FENCE_S
        while True:
            trace = await self._lookout.trace(environment, node_id)
            if await self._lookout.alive(trace):
                raise EngineError(f"{node_id} runs; its data are not deleted", code="engine.node_runs", node=node_id)
            try:
                for one in trace.containers:
                    await self._docker.containers.remove(one.id)
                kept = await self._set_aside(environment, trace, aside) if aside and trace.place else ""
                await self._docker.volumes.remove(name_of(environment, node_id))
                return kept
            except Conflict:  # Swarm is removing a container at this moment, which still has the volume
                if time.monotonic() > end_s:
                    raise
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _set_aside(self, environment: str, trace: Trace, number: int) -> str:
        """Move what is in its volume to one that no node has; may be done again where it was broken off."""
        name = f"{name_of(environment, trace.node_id)}.{number:x}"
        made = await self._docker.volumes.create(name, {ASIDE: f"{environment}/{trace.node_id}"})
        place, to = trace.place, Path(made["Mountpoint"])
        assert place is not None
        await _disk(trace.node_id, lambda: move_all(place, to))
        return name

    async def _volume(self, environment: str, trace: Trace) -> Volume:
        """Its volume, made where there is none yet: the containers to come find the barred ticket there."""
        if trace.place is None:
            made = await self._docker.volumes.create(
                name_of(environment, trace.node_id), whose(environment, trace.node_id)
            )
            return Volume(Path(made["Mountpoint"]))
        return Volume(trace.place)

    async def _existing(self, environment: str, node_id: NodeId) -> Volume:
        volume = (await self._lookout.trace(environment, node_id)).volume
        if volume is None:
            raise EngineError(f"there is no node {node_id} here", code="engine.no_such_node", node=node_id)
        return volume

    async def _living(self, environment: str, node_id: NodeId) -> list[Container]:
        running = (await self._lookout.trace(environment, node_id)).running()
        if not running:
            raise EngineError(f"{node_id} does not run", code="engine.not_running", node=node_id)
        return running

    async def _signal(self, containers: Sequence[Container], name: str) -> None:
        await asyncio.gather(*(self._docker.containers.kill(one.id, name) for one in containers))

    async def _strike(self, trace: Trace, *, waiting: bool) -> None:
        """Kill all that stands; with `waiting`, what was never started is removed, since no ticket keeps it back."""
        await self._signal([one for one in trace.containers if one.standing], "SIGKILL")
        for one in trace.containers:
            if waiting and one.state == "created":
                await self._docker.containers.remove(one.id)

    async def _gone(self, trace: Trace, patience_s: float) -> bool:
        """Wait until nothing of these containers lives, at most so long; say whether that is so."""
        end_s, pause_s = time.monotonic() + patience_s, _LOOK_EVERY_S
        while await self._lookout.alive(trace):
            if (left_s := end_s - time.monotonic()) <= 0:
                return False
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LOOK_SELDOM_S)
        return True

    async def _exit_code(self, environment: str, node_id: NodeId) -> int | None:
        found = await self._lookout.end(await self._lookout.trace(environment, node_id))
        return popen_code(found[1].exit_code) if found else None

    async def _listening(self, container: Container, number: int) -> None:
        """Wait until the program in a container has a handler for a signal, or 5 s where that cannot be seen."""
        init = (await self._lookout.life(container)).pid
        end_s = time.monotonic() + RELOAD_S
        while time.monotonic() < end_s:
            try:
                program = int((self._proc / f"{init}/task/{init}/children").read_text().split()[0])
                if kernel.catches(program, number, str(self._proc)):
                    return
            except (OSError, ValueError, IndexError):
                pass
            await asyncio.sleep(_LOOK_EVERY_S)

    def _not_fenced(self, trace: Trace) -> EngineError:
        """Why a death is not confirmed, and what to do about it."""
        holder = trace.volume.holder(self._proc / "locks") if trace.volume else None
        hint = "Look for processes that are stuck in the kernel on its host."
        if holder and not trace.running():
            hint = f"Docker has lost track of a process that still has its volume. On its host: kill -9 {holder}"
        return EngineError(
            f"{trace.node_id}: something of it lives on {FENCE_S:g} s after it was killed",
            hint,
            code="engine.not_fenced",
            node=trace.node_id,
        )


async def _disk(node_id: NodeId, work: Callable[[], object]) -> None:
    """Do what blocks on a thread; say in words what the disk refuses."""
    try:
        await asyncio.to_thread(work)
    except OSError as error:
        raise EngineError(f"{node_id}: {error.strerror}: {error.filename}", node=node_id) from error


def _number(name: str) -> int:
    try:
        return signal.Signals[name]
    except KeyError:
        raise EngineError(f"{name} is not a signal of this machine", code="engine.no_such_signal") from None
