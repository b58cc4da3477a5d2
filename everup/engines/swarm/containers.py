"""Containers and volumes of one Docker Engine, in the raw."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from everup.engines.swarm.complaints import Conflict, Missing
from everup.engines.swarm.wire import Wire
from everup.model.errors import EngineError

_HEADER_BYTES = 8
_LONGEST_LINE = 65_536


class Containers:
    """The containers of one engine."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def list(self, filters: Mapping[str, list[str]]) -> "list[dict[str, Any]]":
        """Those that match, ended ones too, newest first: `Id`, `State`, `Labels`, `Created` (seconds since 1970)."""
        found = await self._wire.ask("GET", "/containers/json", {"all": True, "filters": filters})
        return list(found or [])

    async def inspect(self, container_id: str) -> dict[str, Any] | None:
        """One by ID or name; None where there is none."""
        try:
            return dict(await self._wire.ask("GET", f"/containers/{quote(container_id)}/json"))
        except Missing:
            return None

    async def kill(self, container_id: str, signal: str = "SIGKILL") -> bool:
        """Send its first process a signal; False where nothing of it runs."""
        return await self._act(container_id, "kill", {"signal": signal})

    async def pause(self, container_id: str) -> bool:
        """Freeze all of it; False where nothing of it runs, or it is frozen already."""
        return await self._act(container_id, "pause")

    async def remove(self, container_id: str) -> None:
        """Kill and delete it, its volumes aside; one that is gone already is no error."""
        try:
            await self._wire.ask("DELETE", f"/containers/{quote(container_id)}", {"force": True}, answer_s=60.0)
        except Missing:
            pass

    async def logs(self, container_id: str, *, lines: int, follow: bool) -> AsyncGenerator[str, None]:
        """The newest `lines` of its output, oldest first; with `follow`, what comes until it ends."""
        query = {"stdout": True, "stderr": True, "tail": str(lines), "follow": follow}
        frames = Frames()
        async with aclosing(self._wire.stream(f"/containers/{quote(container_id)}/logs", query)) as pieces:
            async for piece in pieces:
                for line in frames.feed(piece):
                    yield line
        for line in frames.rest():
            yield line

    async def _act(self, container_id: str, verb: str, query: Mapping[str, str] | None = None) -> bool:
        try:
            await self._wire.ask("POST", f"/containers/{quote(container_id)}/{verb}", query)
        except (Missing, Conflict):  # gone, not running, or in that state already
            return False
        except EngineError as error:
            if "is not running" in error.message or "already paused" in error.message:  # 500 in some versions
                return False
            raise
        return True


class Volumes:
    """The volumes of one engine."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def list(self, filters: Mapping[str, list[str]]) -> "list[dict[str, Any]]":
        """Those that match: `Name`, `Labels`, `Mountpoint`."""
        found = await self._wire.ask("GET", "/volumes", {"filters": filters})
        return list((found or {}).get("Volumes") or [])

    async def create(self, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
        """Make it, where it is missing; as `list` describes it."""
        return dict(await self._wire.ask("POST", "/volumes/create", body={"Name": name, "Labels": dict(labels)}))

    async def remove(self, name: str) -> None:
        """Delete it and what is in it; one that is gone already is no error.

        Raises:
            Conflict: a container has it, if only an ended one.
        """
        try:
            await self._wire.ask("DELETE", f"/volumes/{quote(name)}", answer_s=60.0)
        except Missing:
            pass


class Frames:
    """Puts lines together from the frames in which Docker sends a container's output.

    A frame is one byte for the stream (1 output, 2 errors), three empty ones, its length in four, and that much text;
    a line of one stream may come in several frames, between those of the other.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._open: dict[int, bytes] = {}

    def feed(self, piece: bytes) -> list[str]:
        """The lines that are whole with `piece`; one that is longer than 64 KiB is cut there."""
        self._bytes += piece
        found: list[str] = []
        while len(self._bytes) >= _HEADER_BYTES:
            end = _HEADER_BYTES + int.from_bytes(self._bytes[4:_HEADER_BYTES], "big")
            if len(self._bytes) < end:
                break
            stream, text = self._bytes[0], self._bytes[_HEADER_BYTES:end]
            self._bytes = self._bytes[end:]
            *whole, rest = (self._open.get(stream, b"") + text).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                whole, rest = [*whole, rest], b""
            self._open[stream] = rest
            found += map(_line, whole)
        return found

    def rest(self) -> list[str]:
        """Lines without an end, once nothing more comes."""
        return [_line(text) for text in self._open.values() if text]


def _line(text: bytes) -> str:
    return text.decode(errors="replace").rstrip("\r")
