"""The control plane's side of an agent: what can be asked of one host, and how long its silence is waited for."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Literal, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from everup.engines.swarm import gateway
from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.newest import DEPOSED, HEADER, MEANT
from everup.engines.swarm.pair import Pair
from everup.engines.swarm.sight import (
    Answers,
    Commands,
    Cut,
    End,
    Ended,
    Fence,
    Kept,
    Mark,
    Renewal,
    Sight,
    Stopping,
    error_from,
)
from everup.model.desired import NodeId, Tcp
from everup.model.errors import EngineError, Unavailable

CONNECT_S = 0.5
ANSWER_S = 1.0
"""How long an agent may be silent before its host counts as silent: what it is asked takes milliseconds."""

STREAM_S = 3.0
"""How long a stream may be silent: an agent says something every second."""

WORK_S = 20.0
"""How long what ends or deletes something may take: the agent gives the kernel ten seconds."""

USUAL_GRACE_S = 30.0
"""The grace that is allowed for where nobody remembers which one a node was started with."""

LOST_S = 5
"""How long a host may not even acknowledge what was sent, in the midst of longer work."""

SILENT = "engine.host_silent"

_T = TypeVar("_T")
_SIGHTS = TypeAdapter(dict[str, Sight])


class Host:
    """The agent of one host. Connections are kept; its methods belong to one event loop.

    All raise `Unavailable` where the host is silent, which says nothing of what runs there, or has heard of a newer
    control plane, and `EngineError` where the agent could not do what it was asked.

    Args:
        name: of the host, for messages.
        to: where its agent listens.
        pair: what both sides hold.
        keeping: the turn of this control plane, which has begun; ends when the agent says so.
        host_id: the Swarm's id of that host; an agent of another one, which has its address by now, refuses. "": any.
    """

    def __init__(
        self, name: str, to: Tcp, pair: Pair, keeping: Keeping, answer_s: float = ANSWER_S, *, host_id: str = ""
    ) -> None:
        self.name = name
        self._keeping = keeping
        self._answer_s = answer_s
        host = f"[{to.host}]" if ":" in to.host else to.host
        gate = gateway.client_side(pair.cert, pair.key)
        transport = httpx.AsyncHTTPTransport(verify=gate, trust_env=False, socket_options=_options())
        self._client = httpx.AsyncClient(
            base_url=f"https://{host}:{to.port}",
            transport=transport,
            trust_env=False,
            headers={HEADER: str(keeping.number), MEANT: host_id},
        )

    async def nodes(self, environment: str) -> Mapping[NodeId, Sight]:
        """Every node that has, or had, something on this host."""
        answer = await self._ask("GET", "/v1/nodes", self._answer_s, query={"environment": environment})
        return self._read(_SIGHTS, answer)

    async def exits(self, environment: str) -> AsyncGenerator[Ended | None, None]:
        """Ends of nodes, the moment they are confirmed; None about every second: the host is there."""
        async with aclosing(self._lines("/v1/exits", {"environment": environment})) as lines:
            async for line in lines:
                yield self._read(TypeAdapter(Ended), line) if line is not None else None

    async def logs(self, environment: str, node_id: NodeId, *, lines: int, follow: bool) -> AsyncGenerator[str, None]:
        """The newest `lines` of a node's output, oldest first; then, with `follow`, what comes."""
        query = {"lines": str(lines), "follow": str(follow).lower()}
        async with aclosing(self._lines(f"{_path(environment, node_id)}/logs", query)) as said:
            async for line in said:
                if isinstance(line, str):
                    yield line

    async def fence(self, environment: str, node_id: NodeId, ticket: int | None) -> int | None:
        """Bar every start up to `ticket` and kill all of a node; return once it is gone: its exit code."""
        return await self._end(environment, node_id, "fence", Fence(ticket=ticket), WORK_S)

    async def stop(
        self,
        environment: str,
        node_id: NodeId,
        wish: Stopping = Stopping(),  # noqa: B008 (frozen)
        noted_s: float = USUAL_GRACE_S,
    ) -> int | None:
        """Ask a node to end, kill it after its grace; return once it is gone: its exit code.

        Without a wish it is stopped as was noted at its start, with a grace of `noted_s` seconds at most.
        """
        grace_s = wish.grace_s if wish.signal else noted_s
        return await self._end(environment, node_id, "stop", wish, WORK_S + grace_s)

    async def harm(self, environment: str, node_id: NodeId, how: Literal["hang", "crash"]) -> None:
        """Freeze all of a node, or kill it as a fault would; return once that is so."""
        await self._ask("POST", f"{_path(environment, node_id)}/{how}", WORK_S)

    async def cut(self, wish: Cut) -> None:
        """Cut the host off from the others; returns before it is, since its answer could not come through."""
        await self._ask("POST", "/v1/cut", WORK_S, wish)

    async def mark(self, environment: str, node_id: NodeId, generation: int) -> None:
        """Note durably which generation a node's data belong to."""
        await self._ask("POST", f"{_path(environment, node_id)}/mark", WORK_S, Mark(generation=generation))

    async def renew(self, environment: str, node_id: NodeId, wish: Renewal) -> None:
        """Rewrite a running node's files and have it read them."""
        await self._ask("POST", f"{_path(environment, node_id)}/renew", WORK_S, wish)

    async def console(self, environment: str, node_id: NodeId, name: str, commands: tuple[str, ...]) -> tuple[str, ...]:
        """What comes back for each command on the Unix socket of that name in a node's home."""
        wish = self._read(TypeAdapter(Commands), {"socket": name, "commands": commands})
        answer = await self._ask("POST", f"{_path(environment, node_id)}/console", WORK_S, wish)
        return self._read(TypeAdapter(Answers), answer).answers

    async def discard(self, environment: str, node_id: NodeId, aside: int = 0) -> str:
        """Delete a node's data, or keep them under a name with the number `aside`, which is returned; else "".

        Its service, and every task of it, must be gone already.
        """
        query = {"aside": str(aside)}
        answer = await self._ask("DELETE", f"{_path(environment, node_id)}/data", WORK_S, query=query)
        return self._read(TypeAdapter(Kept), answer).volume

    async def close(self) -> None:
        """End all connections."""
        await self._client.aclose()

    async def _end(self, environment: str, node_id: NodeId, verb: str, wish: BaseModel, work_s: float) -> int | None:
        try:
            answer = await self._ask("POST", f"{_path(environment, node_id)}/{verb}", work_s, wish)
        except Unavailable as error:
            if error.code != SILENT:
                raise
            because = f"{node_id} is not known to have ended: {error.message}"
            raise Unavailable(because, error.hint, code=SILENT, node=node_id, host=self.name) from error
        return self._read(TypeAdapter(End), answer).exit_code

    async def _ask(
        self,
        method: str,
        path: str,
        answer_s: float,
        wish: BaseModel | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        body = wish.model_dump(mode="json") if wish else None
        timeout = httpx.Timeout(answer_s, connect=CONNECT_S)
        try:
            async with asyncio.timeout(answer_s):
                answer = await self._client.request(method, path, params=query, json=body, timeout=timeout)
        except (httpx.TransportError, TimeoutError) as error:
            raise self._silent(error, answer_s) from error
        try:
            found = answer.json()
        except ValueError:
            found = answer.text
        if answer.is_error:
            raise self._refused(found, answer.status_code)
        return found

    async def _lines(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[Any, None]:
        """The lines of a stream, read from JSON; None for an empty one."""
        timeout = httpx.Timeout(STREAM_S, connect=CONNECT_S)
        try:
            async with self._client.stream("GET", path, params=query, timeout=timeout) as answer:
                if answer.is_error:
                    raise self._refused(json.loads(await answer.aread()), answer.status_code)
                async for line in answer.aiter_lines():
                    found = json.loads(line) if line else None
                    if isinstance(found, dict) and "error" in found:
                        raise error_from(found, 503)
                    yield found
        except (httpx.TransportError, ValueError) as error:
            raise self._silent(error, STREAM_S) from error

    def _refused(self, answer: Any, status: int) -> EngineError:
        error = error_from(answer, status)
        return self._keeping.end() if error.code == DEPOSED else error

    def _silent(self, error: Exception, answer_s: float) -> Unavailable:
        late = isinstance(error, TimeoutError | httpx.ReadTimeout)
        because = f"nothing came for {answer_s:g} s" if late else str(error) or type(error).__name__
        return Unavailable(
            f"the host {self.name} does not answer ({because}); what runs there is taken to run on",
            "See whether the host is up, and its agent: docker service ps everup-agent",
            code=SILENT,
            host=self.name,
        )

    def _read(self, kind: "TypeAdapter[_T]", answer: Any) -> _T:
        try:
            return kind.validate_python(answer)
        except ValidationError as error:
            raise EngineError(
                f"what is said to, or by, the agent of {self.name} cannot be understood: {error.errors()[0]['msg']}",
                "Its version may be another one; it is renewed with the control plane.",
            ) from error


def _options(lost_s: int = LOST_S) -> list[tuple[int, int, int]]:
    """What tells the kernel to notice a lost host while nothing is said, where it can."""
    wanted = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": lost_s - 2, "TCP_USER_TIMEOUT": lost_s * 1000}
    known = {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}
    return [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *((socket.IPPROTO_TCP, option, value) for option, value in known.items()),
    ]


def watch_over(connection: socket.socket, lost_s: int = LOST_S) -> None:
    """Have the kernel end a connection whose other end has not even acknowledged anything for so long."""
    for level, option, value in _options(lost_s):
        connection.setsockopt(level, option, value)


def _path(environment: str, node_id: NodeId) -> str:
    return f"/v1/nodes/{environment}/{node_id}"
