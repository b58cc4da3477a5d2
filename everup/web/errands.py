"""What the dashboard asks the API to do, for whoever is signed in: one gate, one audit log, one table of errors."""

from typing import cast

from httpx import ASGITransport, AsyncClient
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from everup.model.access import Caller
from everup.web.ports import Json


class Errands:
    """Requests to the API of this process, by no socket. It believes `state.caller`, which no client can set."""

    def __init__(self, api: ASGIApp) -> None:
        self._api = api

    async def post(self, request: Request, caller: Caller, path: str, body: Json) -> tuple[int, Json]:
        """Send `body` to a path under /v1 for `caller`; the status and the body of the answer, problems too.

        The API is told the address that `request` came from.
        """

        async def trusted(scope: Scope, receive: Receive, send: Send) -> None:
            await self._api({**scope, "state": {"caller": caller}}, receive, send)

        client = (request.client.host, request.client.port) if request.client else ("127.0.0.1", 0)
        transport = ASGITransport(cast("ASGIApp", trusted), raise_app_exceptions=False, client=client)
        async with AsyncClient(transport=transport, base_url="http://everup/v1", timeout=None) as http:
            answer = await http.post(path, json=body)
        found: Json = answer.json()
        return answer.status_code, found
