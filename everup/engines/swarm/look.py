"""What there is of each node on one host: its containers, as Docker lists them, and its volume."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everup.engines.local.home import Home
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.services import DIGEST, FILES, NODE, SERVICE, STARTS, TICKET, filters
from everup.engines.swarm.sight import Sight, popen_code
from everup.engines.swarm.volume import REFUSED, Record, Volume
from everup.model.desired import NodeId
from everup.model.errors import EngineError

TASK_LABEL = "com.docker.swarm.task.id"
_STANDING = ("running", "paused", "restarting", "removing", "created")
_RUNNING = ("running", "paused", "restarting")
_REMEMBERED = 4096
_LAST_WORDS = 300


@dataclass(frozen=True)
class Container:
    """One container of a node: `state` in Docker's words, the `ticket` of its start (0: none), seconds since 1970."""

    id: str
    state: str
    created_s: float
    labels: Mapping[str, str]

    @property
    def ticket(self) -> int:
        """The number of its start."""
        text = self.labels.get(TICKET, "")
        return int(text) if text.isdecimal() else 0

    @property
    def plain(self) -> bool:
        """It is of an image of the user's: no ticket was taken for it, and no volume knows of it."""
        return STARTS in self.labels

    @property
    def standing(self) -> bool:
        """It runs, or may yet be started."""
        return self.state in _STANDING

    @property
    def running(self) -> bool:
        """Something of it lives, if only frozen."""
        return self.state in _RUNNING


@dataclass(frozen=True)
class Trace:
    """All that there is of a node on this host; `containers` newest first."""

    node_id: NodeId
    containers: Sequence[Container] = ()
    place: Path | None = None

    @property
    def volume(self) -> Volume | None:
        """What remembers its starts; None where it has no volume here."""
        return Volume(self.place) if self.place else None

    def running(self) -> list[Container]:
        """Those of its containers in which something lives."""
        return [one for one in self.containers if one.running]


@dataclass(frozen=True)
class _Kept:
    """What the volume of a node says, or `trouble`: why it cannot be read."""

    alive: bool = False
    ticket: int = 0
    barred: int = 0
    record: Record | None = None
    has_data: bool = False
    generation: int | None = None
    free_bytes: int | None = None
    disk_bytes: int | None = None
    trouble: str = ""
    hint: str = ""

    def dooms(self, one: Container) -> bool:
        """It is a container of a barred start that is about to find that out: its program was never reached."""
        task = self.record.task if self.record else ""
        return 0 < one.ticket <= self.barred and one.labels.get(TASK_LABEL) != task


@dataclass(frozen=True)
class Life:
    """What does not change any more about a container in a state.

    Attributes:
        pid: its first process on the host, while it runs.
        ended_s: when it ended, seconds since 1970; None while it runs or where it never did.
        exit_code, last_line: in Docker's words, and its own; once it has ended.
        killed_at_bytes: as in `Sight`.
    """

    pid: int | None = None
    started_utc: str | None = None
    exit_code: int = 0
    ended_s: float | None = None
    last_line: str = ""
    killed_at_bytes: int | None = None


class Lookout:
    """Looks at the nodes of this host through Docker and their volumes, and remembers what cannot change."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker
        self._lives: dict[tuple[str, str], Life] = {}

    async def traces(self, environment: str, node_id: NodeId | None = None) -> dict[NodeId, Trace]:
        """What there is of the nodes of an environment, or of one of them.

        Raises:
            Unavailable: Docker does not answer.
        """
        wanted = filters(environment, node_id)
        containers, volumes = await asyncio.gather(
            self._docker.containers.list(wanted), self._docker.volumes.list(wanted)
        )
        found: dict[NodeId, Trace] = {}
        for one in volumes:
            name = one["Labels"][NODE]
            found[name] = replace(found.get(name, Trace(name)), place=Path(one["Mountpoint"]))
        for one in containers:
            name = one["Labels"][NODE]
            trace = found.get(name, Trace(name))
            found[name] = replace(trace, containers=(*trace.containers, _container(one)))
        return found

    async def trace(self, environment: str, node_id: NodeId) -> Trace:
        """What there is of one node; an empty trace where there is nothing."""
        return (await self.traces(environment, node_id)).get(node_id, Trace(node_id))

    async def sights(self, traces: Mapping[NodeId, Trace], now_s: float) -> dict[NodeId, Sight]:
        """What is to be said of nodes; `now_s` in seconds since 1970."""
        kept = await asyncio.to_thread(lambda: {name: _look(trace) for name, trace in traces.items()})
        seen = await asyncio.gather(*(self._sight(trace, kept[name], now_s) for name, trace in traces.items()))
        return dict(zip(traces, seen, strict=True))

    async def alive(self, trace: Trace) -> bool:
        """A container of it runs, by Docker's newest word, or something holds its volume."""
        for one in trace.containers:
            if one.standing:
                found = await self._docker.containers.inspect(one.id)  # waits for a start that is under way
                if found and found["State"]["Running"]:
                    return True
        volume = trace.volume
        return volume is not None and await asyncio.to_thread(volume.alive)

    async def end(self, trace: Trace) -> tuple[Container, Life] | None:
        """The newest of its containers in which the node itself ended, and how; None where there is none."""
        for one in trace.containers:
            life = await (self._asked(one) if one.standing else self.life(one))
            if life.ended_s is not None and not await self.refused(trace, one, life):
                return one, life
        return None

    async def refused(self, trace: Trace, one: Container, life: Life) -> bool:
        """It ended because its ticket was taken before; a program may end with that number too."""
        if life.exit_code != REFUSED or trace.volume is None or one.plain:
            return False
        record = await asyncio.to_thread(trace.volume.record)
        return record is None or not record.task or record.task != one.labels.get(TASK_LABEL)

    async def life(self, one: Container) -> Life:
        """What is known of a container in the state in which it was listed."""
        key = (one.id, one.state)
        if key not in self._lives:
            if len(self._lives) >= _REMEMBERED:
                self._lives.clear()
            self._lives[key] = await self._asked(one)
        return self._lives[key]

    async def _asked(self, one: Container) -> Life:
        found = await self._docker.containers.inspect(one.id)
        if found is None:
            return Life()
        life = _life(found["State"], int(found.get("HostConfig", {}).get("Memory") or 0))
        if life.ended_s is not None:
            with suppress(EngineError):  # it may be being removed
                async for line in self._docker.containers.logs(one.id, lines=1, follow=False):
                    life = replace(life, last_line=line.strip()[:_LAST_WORDS])
        return life

    async def _sight(self, trace: Trace, kept: _Kept, now_s: float) -> Sight:
        newest = max(trace.containers, key=lambda one: (one.ticket, one.created_s), default=None)
        if newest and newest.plain:
            return await self._plain_sight(trace, newest, now_s)
        record = kept.record
        labels = newest.labels if newest else {}
        seen = Sight(
            running=kept.alive or any(not kept.dooms(one) for one in trace.running()),
            service=labels.get(SERVICE, record.service if record else ""),
            digest=record.digest if record else labels.get(DIGEST, ""),
            files_digest=record.files_digest if record else labels.get(FILES, ""),
            ticket=kept.ticket,
            start=record.ticket if record else (newest.ticket if newest and _unnoted(trace, kept) else 0),
            since_utc=record.started_utc if record else None,
            has_data=kept.has_data,
            generation=kept.generation,
            restarts=max(0, record.starts - 1) if record else 0,
            free_bytes=kept.free_bytes,
            disk_bytes=kept.disk_bytes,
            failure=kept.trouble or (record.failure if record else ""),
            hint=kept.hint or (record.hint if record else ""),
            code=record.code if record else "",
        )
        return seen.model_copy(update=await self._fate(trace, seen, newest, now_s))

    async def _plain_sight(self, trace: Trace, newest: Container, now_s: float) -> Sight:
        """What is to be said of a node whose newest start took no ticket: all that is known is on its containers."""
        begun = [one for one in trace.containers if one.plain and one.state != "created"]
        last = max(begun, key=lambda one: (one.ticket, one.created_s), default=None)
        labels = (last or newest).labels
        seen = Sight(
            running=bool(trace.running()),
            service=labels.get(SERVICE, ""),
            digest=labels.get(DIGEST, ""),
            files_digest=labels.get(FILES, ""),
            ticket=newest.ticket,
            start=last.ticket if last else 0,
            restarts=max(0, int(labels[STARTS]) - 1),
        )
        return seen.model_copy(update=await self._fate(trace, seen, last, now_s))

    async def _fate(self, trace: Trace, seen: Sight, newest: Container | None, now_s: float) -> dict[str, Any]:
        """Fields about the process that runs, or about how it ended."""
        more: dict[str, Any] = {}
        if newest and not newest.standing and newest.ticket > seen.start:
            life = await self.life(newest)
            if life.exit_code != REFUSED or newest.ticket > seen.ticket:  # else it was right to end
                said = f": {life.last_line}" if life.last_line else ""
                more = {
                    "start": newest.ticket,
                    "failure": f"{trace.node_id} could not be started: its container ended with {life.exit_code}{said}",
                }
        if running := trace.running():
            life = await self.life(running[0])
            return {**more, "pid": life.pid, "since_utc": seen.since_utc or life.started_utc}
        if not seen.running and (found := await self.end(trace)):
            life = found[1]
            age_s = max(0.0, now_s - (life.ended_s or now_s))
            ended = {"exit_code": popen_code(life.exit_code), "ended_age_s": age_s, "last_line": life.last_line}
            return {**more, **ended, "killed_at_bytes": life.killed_at_bytes}
        return more


def _unnoted(trace: Trace, kept: _Kept) -> bool:
    """Its starts are noted nowhere, or nowhere that can be read."""
    return trace.place is None or kept.trouble != ""


def _container(one: Mapping[str, Any]) -> Container:
    return Container(str(one["Id"]), str(one["State"]), float(one["Created"]), one.get("Labels") or {})


def _life(state: Mapping[str, Any], memory_bytes: int) -> Life:
    ended, started = (datetime.fromisoformat(state[name]).astimezone(UTC) for name in ("FinishedAt", "StartedAt"))
    return Life(
        pid=state.get("Pid") or None,
        started_utc=started.isoformat(timespec="milliseconds"),
        exit_code=int(state["ExitCode"]),
        ended_s=ended.timestamp() if ended.year > 1 and not state["Running"] else None,
        killed_at_bytes=memory_bytes if state.get("OOMKilled") else None,
    )


def _look(trace: Trace) -> _Kept:
    """What its volume says; one that cannot be read may well be in use. Blocks for some milliseconds."""
    volume = trace.volume
    if volume is None:
        return _Kept()
    try:
        return _read(volume, Home(volume.path, trace.node_id))
    except EngineError as error:
        return _Kept(alive=True, has_data=True, trouble=f"{trace.node_id}: {error.message}", hint=error.hint)
    except OSError as error:
        return _Kept(alive=True, has_data=True, trouble=f"{trace.node_id}: {error.filename}: {error.strerror}")


def _read(volume: Volume, home: Home) -> _Kept:
    record = volume.record()
    keeps = record.keeps if record else ()
    free_bytes, disk_bytes = home.disk_bytes()
    garbled = volume.garbled()
    return _Kept(
        alive=volume.alive(),
        ticket=volume.ticket(),
        barred=volume.barred(),
        record=record,
        has_data=garbled or (record is not None and home.has(keeps)),
        generation=home.generation(keeps) if record else None,
        free_bytes=free_bytes,
        disk_bytes=disk_bytes,
        trouble=f"{volume.path}: what was noted of its last start cannot be read" if garbled else "",
    )
