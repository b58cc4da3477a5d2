"""One node of the local engine: its process, its record, its end. The engine calls it for one thing at a time."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everup.engines.local import fencing, kernel, launch, statefile
from everup.engines.local.gate import NOT_EXECUTABLE, NOT_FOUND, Gate
from everup.engines.local.home import Home
from everup.engines.local.life import Life
from everup.engines.local.logs import Journal
from everup.engines.local.pace import Pace, describe_exit
from everup.engines.local.process import Process
from everup.engines.local.programs import Programs
from everup.engines.local.statefile import Record
from everup.model.desired import Node, NodeId
from everup.model.errors import EngineError, NodeFailed
from everup.model.observed import Confirmed, NodeState

RELOAD_S = 5.0
"""How long a process may take until it listens for its reload signal."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Surroundings:
    """What all nodes of an environment share. `exited` is called with every end that nobody asked for."""

    nodes: Path
    trash: Path
    name: str
    programs: Programs
    clock: Clock
    exited: Callable[[Confirmed], None]
    reveal: launch.Reveal


class LocalNode:
    """A node by id, running or not. Only `state` and `strike` may be called while something else is done with it."""

    def __init__(self, node_id: NodeId, around: Surroundings) -> None:
        self.id = node_id
        self.lock = asyncio.Lock()
        self.home = Home(around.nodes / node_id)
        self.journal = Journal(self.home.path)
        self.record: Record | None = None
        self._around = around
        self._trail = kernel.Trail(f"{around.name}/{node_id}", str(self.home.path))
        self._pace = Pace()
        self._life: Life | None = None
        self._dead: Confirmed | None = None

    async def adopt(self) -> bool:
        """Take over what an earlier control plane left; say whether it runs. What is left of a dead node is killed."""
        if self._life or self._dead:
            return self._life is not None
        self.record = record = statefile.load(self.home.path)
        if record is None:
            return False
        here = record.boot == kernel.boot_id()
        process = Process.hold(record.pid, record.start) if here and not record.ended else None
        if process:
            self._pace.started(self._around.clock() - _age_s(record))
            self._begin(process)
            return True
        if here and not record.ended:
            await asyncio.to_thread(fencing.sweep, self._trail, record.pid, record.start)
        self._dead = Confirmed(self.id, self._around.clock(), record.exit_code)
        return False

    async def ensure(self, node: Node, extra_args: tuple[str, ...]) -> None:
        """Make it run as `node` says (see `model.contracts.Engine.ensure`)."""
        now_s = self._around.clock()
        if self.record and now_s < self._lost_until_s():
            left_s = self._lost_until_s() - now_s
            raise NodeFailed(f"{self.id} is lost for another {left_s:.1f} s, by a drill", code="engine.node_lost")
        if await self._runs():
            assert self.record is not None
            if self.record.digest == node.digest:
                await asyncio.to_thread(self._renew, node)
                return
            await self.end()
        self._pace.started(self._around.clock())
        try:
            process = await asyncio.to_thread(self._launch, node, extra_args)
        except NodeFailed as error:
            self._pace.refused(self._around.clock(), error.message)
            raise
        self._dead = None
        self._begin(process)

    async def end(self) -> None:
        """Ask it to end, by its own stop signal; what has not ended after its grace is killed."""
        if self._life and self.record and not await self._persuade(self._life, self.record):
            await self._sweep()
        await self._runs()
        self._pace.reset()

    async def _persuade(self, life: Life, record: Record) -> bool:
        """Ask it to end, as often as it wants to be asked; say whether it did within its grace."""
        until_s = self._around.clock() + record.stop_grace_s
        while not life.over and (left_s := until_s - self._around.clock()) > 0:
            life.ask(_number(record.stop_signal))
            if await life.wait(min(left_s, record.stop_repeat_s or left_s)):
                return True
        return life.over

    def strike(self) -> None:
        """Kill its main process at once, on request."""
        if self._life:
            self._life.strike()

    async def fence(self) -> Confirmed:
        """Kill everything of it, and return once all of it is gone."""
        self.strike()
        await self._sweep()
        await self._runs()
        self._dead = self._dead or Confirmed(self.id, self._around.clock(), None)
        return self._dead

    async def crash(self, lost_until_s: float) -> None:
        """Kill it as a fault would; it stays lost until then (monotonic seconds, 0 for not at all)."""
        life = self._living()
        if lost_until_s and self.record:
            self.record = replace(self.record, lost_until_s=lost_until_s)
            statefile.save(self.home.path, self.record)
        life.staged = True
        life.process.signal(signal.SIGKILL)
        await life.wait(fencing.PATIENCE_S)

    async def hang(self) -> None:
        """Stop everything of it where it stands."""
        process = self._living().process
        await asyncio.to_thread(fencing.freeze, self._trail, process.pid, process.start)

    async def discard(self) -> None:
        """Delete its home; it must have ended."""
        await asyncio.to_thread(self.home.discard, self._around.trash)
        self.record, self._dead, self._pace = None, None, Pace()
        self.journal = Journal(self.home.path)

    def mark(self, generation: int) -> None:
        """Note the generation of its data, durably.

        Raises:
            EngineError: it has no home.
        """
        if not self.home.path.is_dir():
            raise EngineError(f"{self.id} has no home to mark", code="engine.no_such_node", node=self.id)
        self.home.mark(generation, self.record.keeps if self.record else ())

    def state(self) -> NodeState:
        """What it is right now. It counts as running until its death is confirmed."""
        record = self.record
        if record is None:
            return NodeState(running=False, failure=self._pace.failure, retry_at_s=self._pace.retry_at_s)
        running = self._life is not None and not self._life.over
        if running:
            self._pace.calmed(self._around.clock())
        free_bytes, disk_bytes = self.home.disk_bytes()
        return NodeState(
            running=running,
            service=record.service,
            digest=record.digest,
            files_digest=record.files_digest,
            pid=record.pid if running else None,
            since_utc=record.started_utc,
            dead=None if running else self._dead,
            has_data=self.home.path.is_dir() and self.home.has(record.keeps),
            generation=self.home.generation(record.keeps),
            restarts=record.starts - 1,
            retry_at_s=max(self._pace.retry_at_s, self._lost_until_s()),
            failure=self._pace.failure,
            home=str(self.home.path),
            free_bytes=free_bytes,
            disk_bytes=disk_bytes,
        )

    async def close(self) -> None:
        """Let go of it; it runs on."""
        if self._life:
            await self._life.close()
        self._life = None

    def _living(self) -> Life:
        if self._life is None or not self._life.running:
            raise EngineError(f"{self.id} does not run", code="engine.not_running", node=self.id)
        return self._life

    def _lost_until_s(self) -> float:
        record = self.record
        return record.lost_until_s if record and record.boot == kernel.boot_id() else 0.0

    async def _runs(self) -> bool:
        """It runs; when its process has ended, wait until its death is confirmed."""
        if self._life is None or self._life.over:
            return False
        if self._life.running:
            return True
        if not await self._life.wait(fencing.PATIENCE_S * 2):
            raise EngineError(
                f"{self.id} has ended, but something it started cannot be killed",
                "Look for processes that are stuck in the kernel or belong to another user.",
                code="engine.not_fenced",
                node=self.id,
            )
        return False

    async def _sweep(self) -> None:
        record = self.record
        here = record is not None and record.boot == kernel.boot_id() and not record.ended
        pid, start = (record.pid, record.start) if record and here else (None, "")
        await asyncio.to_thread(fencing.sweep, self._trail, pid, start)

    def _renew(self, node: Node) -> None:
        """Bring the running node up to what needs no restart: reloaded files, and how it is to be stopped."""
        assert self.record is not None and self._life is not None
        record = replace(self.record, keeps=node.keeps, service=node.service, **_stop(node))
        if record.files_digest != node.files_digest and node.reload_signal:
            self.home.furnish(node, launch.filler(node, self.home, self._around.programs))
            self._life.process.notify(_number(node.reload_signal), RELOAD_S)
            record = replace(record, files_digest=node.files_digest)
        if record != self.record:
            statefile.save(self.home.path, record)
            self.record = record

    def _launch(self, node: Node, extra_args: tuple[str, ...]) -> Process:
        """Start it; returns its recorded process. Blocks for some milliseconds."""
        try:
            self.home.furnish(node, launch.filler(node, self.home, self._around.programs))
            around = self._around
            words = launch.prepare(node, self.home, around.programs, self._trail.marker, extra_args, around.reveal)
            launch.check_ports(node)
            gate = Gate(words)
            try:
                record = self._entry(node, gate.process)
                statefile.save(self.home.path, record)
            except BaseException:
                gate.abandon()
                raise
        except OSError as error:
            because = f"{error.strerror}: {error.filename}" if error.filename else str(error)
            raise NodeFailed(f"{self.id} could not be started: {because}", node=self.id) from error
        self.record = record
        exit_code = gate.open()
        if exit_code in (NOT_FOUND, NOT_EXECUTABLE):
            gate.process.close()
            self.record = replace(record, ended=True, exit_code=exit_code)
            self._dead = Confirmed(self.id, self._around.clock(), exit_code)
            statefile.save(self.home.path, self.record, durable=False)
            raise NodeFailed(
                f"{self.id}: {words.words[0]} exited with code {exit_code}: {self.journal.last_line()}",
                f"everup logs {self.id} shows all it said.",
                node=self.id,
                exit_code=exit_code,
            )
        return gate.process

    def _entry(self, node: Node, process: Process) -> Record:
        return Record(
            node_id=self.id,
            service=node.service,
            pid=process.pid,
            start=process.start,
            boot=kernel.boot_id(),
            digest=node.digest,
            files_digest=node.files_digest,
            started_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
            starts=self.record.starts + 1 if self.record else 1,
            keeps=node.keeps,
            **_stop(node),
        )

    def _begin(self, process: Process) -> None:
        self._life = Life(process, self._trail, self._bury)

    def _bury(self, life: Life, exit_code: int | None) -> None:
        """Nothing of it is left: record that, and tell whoever watches."""
        self._dead = Confirmed(self.id, self._around.clock(), exit_code)
        if not life.asked and not life.staged:
            self._pace.failed(self._dead.at_s, describe_exit(exit_code), self.journal.last_line())
        if self.record:
            self.record = replace(self.record, ended=True, exit_code=exit_code)
            with contextlib.suppress(OSError):  # a full disk: the next control plane looks for itself
                statefile.save(self.home.path, self.record, durable=False)
        if not life.asked:
            self._around.exited(self._dead)


def _number(name: str) -> int:
    try:
        return signal.Signals[name]
    except KeyError:
        raise EngineError(f"{name} is not a signal of this machine", code="engine.no_such_signal") from None


def _age_s(record: Record) -> float:
    """Seconds since it was started, by the wall clock; at least 0."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(record.started_utc)).total_seconds())


def _stop(node: Node) -> dict[str, Any]:
    """How it is to be stopped, as its record keeps it."""
    return {
        "stop_signal": node.stop.signal,
        "stop_grace_s": node.stop.grace_s,
        "stop_repeat_s": node.stop.repeat_s,
    }
