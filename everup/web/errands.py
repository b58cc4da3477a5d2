"""What the dashboard asks the API to do, for whoever is signed in: one gate, one audit log, one table of errors."""

import asyncio
import json

from starlette.requests import Request
from starlette.types import ASGIApp, Message

from everup.model.access import Caller
from everup.web.ports import Json


class Errands:
    """Requests to the API of this process, by no socket. It believes `state.caller`, which no client can set.

    No HTTP client is needed for that, nor its 5 MB: a request is one call.
    """

    def __init__(self, api: ASGIApp) -> None:
        self._api = api

    async def post(self, request: Request, caller: Caller, path: str, body: Json) -> tuple[int, Json]:
        """Send `body` to `path` for `caller`; the status and the body of the answer, problems too.

        The API is told the address that `request` came from.
        """
        sent = json.dumps(body).encode()
        waiting: list[Message] = [{"type": "http.request", "body": sent, "more_body": False}]
        answered: list[Message] = []

        async def receive() -> Message:
            return waiting.pop() if waiting else await asyncio.Future()

        async def send(message: Message) -> None:
            answered.append(message)

        scope = {
            **{key: request.scope[key] for key in ("asgi", "http_version", "client", "server", "scheme")},
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(sent)).encode())],
            "state": {"caller": caller},
        }
        try:
            await self._api(scope, receive, send)
        except Exception:
            if not answered:  # else the API has logged what broke inside it, and answered
                raise
        found: Json = json.loads(b"".join(one.get("body", b"") for one in answered))
        return int(answered[0]["status"]), found
