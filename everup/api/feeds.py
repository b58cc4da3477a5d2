"""What goes on as long as somebody listens: events, and what nodes print."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from everup.api import views
from everup.api.desk import Desk
from everup.api.streams import Lines, ServerSent, form_for, stream

Json = dict[str, Any]

After = Annotated[int, Query(ge=-1_000_000, lt=2**63)]

_SERVER_SENT: dict[int | str, Json] = {200: {"content": {ServerSent.media_type: {}}}}


def feed_routes(desk: Desk) -> APIRouter:
    """Events and logs of an environment, up to now or also what comes."""
    router = APIRouter(prefix="/v1/environments", tags=["environments"])

    @router.get("/{environment}/events", response_class=Lines, responses=_SERVER_SENT)
    async def events(request: Request, environment: str, after: After = 0, follow: bool = False) -> Response:
        """Events with a `seq` above `after`, as NDJSON, or, if `Accept` says so, as server-sent events."""
        desk.picture(environment)
        seen = request.headers.get("last-event-id", "")
        after = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 16 else after
        return await stream(_events(desk, environment, after, follow), form_for(request.headers.get("accept", "")))

    @router.get("/{environment}/logs/{name}", response_class=Lines, responses=_SERVER_SENT)
    async def logs(
        request: Request,
        environment: str,
        name: str,
        lines: Annotated[int, Query(ge=0, le=100_000)] = 100,
        follow: bool = False,
    ) -> Response:
        """What a node, or every node of a label, printed, as NDJSON, or as server-sent events."""
        form = form_for(request.headers.get("accept", ""))
        return await stream(_logs(desk, environment, name, lines, follow), form)

    return router


async def _events(desk: Desk, environment: str, after: int, follow: bool) -> AsyncIterator[Json]:
    async for one in desk.events(environment, after=after, follow=follow):
        yield views.event(one)


async def _logs(desk: Desk, environment: str, name: str, lines: int, follow: bool) -> AsyncIterator[Json]:
    async for node_id, line in desk.logs(environment, name, lines=lines, follow=follow):
        yield views.log_line(node_id, line)
