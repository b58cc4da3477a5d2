"""Requests to one Docker Engine, in a version of its API that both sides know."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from everup.engines.swarm.bridge import Bridge
from everup.engines.swarm.complaints import complaint, silence
from everup.engines.swarm.place import Place
from everup.model.errors import EngineError

OLDEST, NEWEST = (1, 41), (1, 44)
"""Versions of the API that Everup knows: of Docker 20.10, and the least that Docker 29 speaks."""

ANSWER_S = 10.0
MAX_ANSWER_BYTES = 64 << 20
_OTHER_VERSION = "client version"
_Version = tuple[int, int]
_Query = Mapping[str, Any]


class Wire:
    """Asks a Docker Engine and reads its answers; connections are kept. Its methods belong to one event loop.

    Args:
        place: where it answers.
        answer_s: how long an answer may take, seconds; what streams may be silent for ever.
    """

    def __init__(self, place: Place, answer_s: float = ANSWER_S) -> None:
        self.place = place
        self._answer_s = answer_s
        self._bridge: Bridge | None = None
        self._client: httpx.AsyncClient | None = None
        self._version: _Version | None = None
        self._opening = asyncio.Lock()

    async def version(self) -> str:
        """The version of the API in use, such as `1.41`.

        Raises:
            Unavailable: no answer.
            EngineError: Docker is too old.
        """
        if self._version is None:
            found = await self._ask("GET", "/version", {}, None, self._answer_s)
            self._version = negotiate(str(found.get("ApiVersion", "")), str(found.get("MinAPIVersion", "")))
        return ".".join(map(str, self._version))

    async def ask(
        self, method: str, path: str, query: _Query | None = None, body: Any = None, answer_s: float | None = None
    ) -> Any:
        """One request; its answer from JSON, None where there is none.

        Args:
            method: GET, POST, DELETE.
            path: without the version, such as `/services`.
            query: what stands behind the `?`; mappings and lists are written as JSON, None is left out.
            body: is sent as JSON.
            answer_s: how long it may take, where not as usual.

        Raises:
            Unavailable: no answer, or none for now.
            Missing, Conflict, EngineError: Docker refused.
        """
        patience_s = self._answer_s if answer_s is None else answer_s
        try:
            return await self._ask(method, f"/v{await self.version()}{path}", _plain(query), body, patience_s)
        except EngineError as error:
            if _OTHER_VERSION not in error.message:
                raise
            self._version = None  # another Docker answers there by now
        return await self._ask(method, f"/v{await self.version()}{path}", _plain(query), body, patience_s)

    async def stream(self, path: str, query: _Query | None = None) -> AsyncGenerator[bytes, None]:
        """The answer to a GET in pieces, as they come, until Docker ends it.

        Raises:
            Unavailable: no answer, or it was cut off.
            Missing, Conflict, EngineError: Docker refused.
        """
        versioned = f"/v{await self.version()}{path}"
        timeout = httpx.Timeout(self._answer_s, read=None)
        async with self._answer("GET", versioned, _plain(query), None, timeout) as answer:
            async for piece in answer.aiter_bytes():
                yield piece

    async def close(self) -> None:
        """End all connections."""
        if self._client:
            await self._client.aclose()
        if self._bridge:
            await self._bridge.close()
        self._client = self._bridge = None

    async def _ask(self, method: str, path: str, query: dict[str, str], body: Any, patience_s: float) -> Any:
        timeout = httpx.Timeout(patience_s, connect=min(patience_s, self._answer_s))
        try:
            async with (
                asyncio.timeout(patience_s),
                self._answer(method, path, query, body, timeout) as answer,
            ):
                text = await _whole(answer)
        except TimeoutError as error:
            asked = f"{method} {path}"
            raise silence(self.place.address, asked, f"nothing came within {patience_s:g} s") from error
        if not text.strip():
            return None
        try:
            return json.loads(text)
        except ValueError as error:
            raise EngineError(f"Docker at {self.place.address} answered {method} {path} with no JSON") from error

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, query: dict[str, str], body: Any, timeout: httpx.Timeout
    ) -> AsyncIterator[httpx.Response]:
        """An answer that is no refusal, its body still to be read."""
        address, asked = self.place.address, f"{method} {path}"
        client = await self._open()
        try:
            async with client.stream(method, path, params=query, json=body, timeout=timeout) as answer:
                if answer.status_code >= 400:
                    raise complaint(address, asked, answer.status_code, await _whole(answer))
                yield answer
        except httpx.TimeoutException as error:
            raise silence(address, asked, "it took too long") from error
        except httpx.TransportError as error:
            raise silence(address, asked, (self._bridge and self._bridge.complaint) or _words(error)) from error

    async def _open(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._client is None:
                socket = self.place.socket if self.place.scheme == "unix" else None
                if self.place.scheme == "ssh":
                    self._bridge = self._bridge or Bridge(self.place.address)
                    socket = await self._bridge.open()
                transport = httpx.AsyncHTTPTransport(uds=socket, verify=self.place.tls() or True, trust_env=False)
                self._client = httpx.AsyncClient(base_url=self.place.url, transport=transport, trust_env=False)
        return self._client


def negotiate(newest: str, oldest: str) -> _Version:
    """The version to speak with a server that speaks from `oldest` to `newest`: the newest that both know.

    Of a server that has left behind all that Everup knows, its oldest: what is asked for here has not changed so far.

    Raises:
        EngineError: the server is too old, or does not say what it speaks.
    """
    theirs = _number(newest)
    if theirs is None:
        raise EngineError(f"what answers is no Docker Engine: its API has the version {newest!r}")
    if theirs < OLDEST:
        raise EngineError(
            f"this Docker speaks version {newest} of its API; Everup needs 1.41",
            "Install Docker 20.10 or newer.",
            code="engine.docker_too_old",
        )
    return max(min(theirs, NEWEST), _number(oldest) or OLDEST)


def _number(version: str) -> _Version | None:
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", version)
    return (int(match[1]), int(match[2])) if match else None


def _plain(query: _Query | None) -> dict[str, str]:
    return {name: _written(value) for name, value in (query or {}).items() if value is not None}


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def _words(error: Exception) -> str:
    """Why, from the innermost cause that says anything; httpx itself often says only "all attempts failed"."""
    cause: BaseException | None = error
    text = str(error)
    while cause is not None:
        text = getattr(cause, "strerror", None) or str(cause) or text
        cause = cause.__cause__ or cause.__context__
    return text or type(error).__name__


async def _whole(answer: httpx.Response) -> bytes:
    text = bytearray()
    async for piece in answer.aiter_bytes():
        text += piece
        if len(text) > MAX_ANSWER_BYTES:
            raise EngineError(f"an answer of Docker is longer than {MAX_ANSWER_BYTES >> 20} MB")
    return bytes(text)
