"""The agent of a host: tells a control plane of the nodes there, and does to them what only that host can do.

`python -m everup.engines.swarm.agent` runs on every host, as root, with Docker's socket and its volumes. It listens for
whoever shows the one certificate that agents and control planes share, and for nobody else. It decides nothing, starts
nothing, and remembers but one number: that of the newest control plane it has heard. It may be killed at any moment.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi import Path as Word
from fastapi.responses import JSONResponse, StreamingResponse

from everup.engines.swarm import gateway
from everup.engines.swarm.complaints import Missing
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.look import Lookout
from everup.engines.swarm.newest import HEADER, MEANT, Newest
from everup.engines.swarm.place import SOCKET, Place
from everup.engines.swarm.premises import HOST_PROC, Premises
from everup.engines.swarm.reports import Reports
from everup.engines.swarm.seclusion import Seclusion, clear_away
from everup.engines.swarm.sight import (
    NAME,
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
    complaint,
)
from everup.engines.swarm.volume import AGENT_FOLDER
from everup.engines.swarm.wire import Wire
from everup.model.errors import EngineError, Unavailable

PORT = 8485
SECRETS = "/run/secrets"
CERTIFICATE, KEY = f"{SECRETS}/everup-agent-cert", f"{SECRETS}/everup-agent-key"

BEAT_S = 1.0
"""A stream says something at least this often, if only that there is nothing to say."""

DOCKER_S = 5.0
"""How long Docker may take to answer; it is on the same host."""

_WAITING = 1000
_LINES = "application/x-ndjson"
_NO_SUCH = ("engine.no_such_node", "engine.not_running")

_T = TypeVar("_T")
Name = Annotated[str, Word(pattern=NAME)]
Environment = Annotated[str, Query(pattern=NAME)]


class Verbs:
    """What an agent can be asked, as HTTP carries it; see `sight` for the words."""

    def __init__(self, premises: Premises, reports: Reports, seclusion: Seclusion) -> None:
        self._premises = premises
        self._reports = reports
        self._seclusion = seclusion

    async def nodes(self, environment: Environment) -> dict[str, Sight]:
        """All nodes here."""
        return await self._premises.nodes(environment)

    async def exits(self, environment: Environment) -> StreamingResponse:
        """One line per end of a node, as it comes."""
        ends = self._reports.exits(environment)
        return StreamingResponse(_beating(ends, Ended.model_dump_json), media_type=_LINES)

    async def logs(
        self, environment: Name, node_id: Name, lines: Annotated[int, Query(ge=0, le=1_000_000)], follow: bool = False
    ) -> StreamingResponse:
        """One JSON string per line of output."""
        said = self._reports.output(environment, node_id, lines, follow=follow)
        return StreamingResponse(_beating(said, json.dumps), media_type=_LINES)

    async def fence(self, environment: Name, node_id: Name, wish: Fence) -> End:
        """Answers once nothing of it can run any more."""
        return End(exit_code=await self._premises.fence(environment, node_id, wish.ticket))

    async def stop(self, environment: Name, node_id: Name, wish: Stopping) -> End:
        """Answers once nothing of it runs."""
        return End(exit_code=await self._premises.stop(environment, node_id, wish))

    async def hang(self, environment: Name, node_id: Name) -> None:
        """A drill."""
        await self._premises.hang(environment, node_id)

    async def crash(self, environment: Name, node_id: Name) -> None:
        """A drill."""
        await self._premises.crash(environment, node_id)

    async def mark(self, environment: Name, node_id: Name, wish: Mark) -> None:
        """Answers once it is on the disk."""
        await self._premises.mark(environment, node_id, wish.generation)

    async def renew(self, environment: Name, node_id: Name, wish: Renewal) -> None:
        """Answers once its program was told."""
        await self._premises.renew(environment, node_id, wish)

    async def console(self, environment: Name, node_id: Name, wish: Commands) -> Answers:
        """One answer for each command."""
        return Answers(answers=await self._premises.console(environment, node_id, wish.socket, wish.commands))

    async def cut(self, wish: Cut, request: Request) -> None:
        """A drill. Answers just before it begins."""
        await self._seclusion.begin(wish, *_ends(request))

    async def discard(self, environment: Name, node_id: Name, aside: Annotated[int, Query(ge=0)] = 0) -> Kept:
        """Answers once its data are gone, or kept under another name."""
        return Kept(volume=await self._premises.discard(environment, node_id, aside))


class Own:
    """Which host of its Swarm this is, as its Docker says; it stays that for as long as this agent lives."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker
        self._id = ""

    async def expect(self, host_id: str) -> None:
        """Return if this host is meant.

        Raises:
            EngineError: another one is, which had this address before (code `engine.other_host`).
        """
        self._id = self._id or str((await self._docker.itself()).get("Swarm", {}).get("NodeID", ""))
        if host_id != self._id:
            raise EngineError(
                f"at this address there is another host of the Swarm by now: {self._id}, not {host_id}",
                "Where the former one is gone for ever: docker node rm. See docker node ls.",
                code="engine.other_host",
            )


def application(verbs: Verbs, newest: Newest, own: Own) -> FastAPI:
    """The agent over HTTP, for the newest control plane alone; an error is answered as `sight.complaint` has it."""

    async def admitted(
        number: Annotated[int, Header(alias=HEADER, ge=0)] = 0, meant: Annotated[str, Header(alias=MEANT)] = ""
    ) -> None:
        if meant:
            await own.expect(meant)
        await newest.admit(number)

    only = [Depends(admitted)]
    app = FastAPI(title="Everup agent", docs_url=None, redoc_url=None, openapi_url=None, dependencies=only)
    app.add_exception_handler(EngineError, _tell)
    app.add_api_route("/v1/nodes", verbs.nodes, methods=["GET"])
    app.add_api_route("/v1/exits", verbs.exits, methods=["GET"])
    app.add_api_route("/v1/cut", verbs.cut, methods=["POST"])
    node = "/v1/nodes/{environment}/{node_id}"
    app.add_api_route(f"{node}/logs", verbs.logs, methods=["GET"])
    app.add_api_route(f"{node}/data", verbs.discard, methods=["DELETE"])
    for verb in (verbs.fence, verbs.stop, verbs.hang, verbs.crash, verbs.mark, verbs.renew, verbs.console):
        app.add_api_route(f"{node}/{verb.__name__}", verb, methods=["POST"])
    return app


def _ends(request: Request) -> tuple[str, str]:
    """The addresses of whoever asks, and of this host, on the connection that it asks by."""
    return str(request.scope["client"][0]), str(request.scope["server"][0])


async def _tell(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EngineError)
    missing = isinstance(error, Missing) or error.code in _NO_SUCH
    status = 503 if isinstance(error, Unavailable) else 404 if missing else 409
    return JSONResponse(complaint(error), status)


async def _beating(source: AsyncGenerator[_T, None], written: Callable[[_T], str]) -> AsyncIterator[str]:
    """Each item as a line, an empty line every second without one, and, at the end, an error if there was one."""
    lines: asyncio.Queue[str | None] = asyncio.Queue(_WAITING)

    async def pump() -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    await lines.put(written(item))
        except EngineError as error:
            await lines.put(json.dumps(complaint(error)))
        await lines.put(None)

    pumping = asyncio.create_task(pump())
    try:
        while True:
            try:
                line = await asyncio.wait_for(lines.get(), BEAT_S)
            except TimeoutError:
                line = ""
            if line is None:
                return
            yield f"{line}\n"
    finally:
        pumping.cancel()


def main(arguments: list[str] | None = None) -> None:
    """Serve until asked to end."""
    parser = argparse.ArgumentParser(prog="everup.engines.swarm.agent", description=__doc__)
    parser.add_argument("--address", help="where to listen; on every address of the host, when not given")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--certificate", type=Path, default=Path(CERTIFICATE))
    parser.add_argument("--key", type=Path, default=Path(KEY))
    parser.add_argument("--folder", type=Path, default=Path(AGENT_FOLDER), help="where it notes what must last")
    parser.add_argument("--docker", default=SOCKET, help="the socket of the host's Docker")
    parser.add_argument("--proc", type=Path, default=HOST_PROC, help="where the host's processes can be seen")
    wanted = parser.parse_args(arguments)
    docker = Docker(Wire(Place(wanted.docker), DOCKER_S))
    lookout = Lookout(docker)
    premises, reports = Premises(docker, lookout, wanted.proc), Reports(docker, lookout)
    verbs = Verbs(premises, reports, Seclusion(docker, lookout, wanted.folder))
    clear_away(wanted.folder)
    gate = gateway.server_side(wanted.certificate, wanted.key)
    gateway.serve(application(verbs, Newest(wanted.folder), Own(docker)), gate, wanted.address, wanted.port)


if __name__ == "__main__":
    main()
