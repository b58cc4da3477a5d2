"""Records at the door who asked for what and what came of it: nothing is written, or answered, without its entry."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everup.api.desk import Desk
from everup.api.errors import answer
from everup.api.rates import Meter
from everup.model.access import OWNER, Caller
from everup.model.audit import Deed
from everup.model.errors import EverupError
from everup.specfile.naming import name_in

Record = Callable[[Deed], Awaitable[None]]

READS = frozenset({"GET", "HEAD", "OPTIONS"})
HARMLESS = frozenset({"/v1/plan"})
"""Questions that are asked with POST."""

TELLING = re.compile(r"/v1/environments/[^/]+/(variables|services/[^/]+/connect)")
"""Reads whose answers hold passwords."""

GIVEN = frozenset(
    {
        *("app", "confirmed", "count", "cut", "destroy", "directory", "enabled", "environment", "environments"),
        *("expires_in_s", "fault", "file", "finish", "for_s", "force", "level", "name", "said", "to", "turn", "via"),
    }
)
"""The arguments that are recorded; all others may be secrets, or hold some."""

LONGEST = 200
"""Characters of an argument, or of a path that leads nowhere."""


NOTED_RATE, NOTED_BURST = 0.1, 100
"""How much of what costs nothing to provoke is recorded, a second and at once, lest it fill the store: what is asked
too often, for each caller, and what strangers do, for all of them together."""

UNNAMED, TOO_OFTEN = 401, 429
"""Answers to those who do not say who they are, or who ask too often."""


class Notebook:
    """Writes deeds into the audit log, but no more than a measure of those of strangers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._idle = Meter(NOTED_RATE, NOTED_BURST)

    async def record(self, one: Deed) -> None:
        """Record a deed, on the disk before it returns; for strangers nothing is done, so theirs need not be.

        Raises:
            EverupError: the store refuses it.
        """
        if (one.who and one.status != TOO_OFTEN) or not self._idle.wait_s(one.who):
            try:
                await self._desk.trail.append(one)
            except EverupError:
                if one.who:
                    raise


class Recorded:
    """Holds every answer to a write, or to a read of passwords, back until its entry is on the disk.

    So it does with every refusal of a token. It is the outermost layer of the application, so that what others refuse
    is recorded too.
    """

    def __init__(self, app: ASGIApp, notebook: Notebook) -> None:
        self._app = app
        self._record = notebook.record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        http = scope["type"] == "http"
        always = http and (_changes(scope) or TELLING.fullmatch(scope["path"]) is not None)
        if not always and not (http and any(name == b"authorization" for name, _ in scope["headers"])):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        reply = _Reply((scope, receive, send), self._record, always)
        try:
            await self._app(scope, receive, reply.send)
        except Exception:
            if always and not reply.begun:
                await self._record(deed(scope, 500, "internal"))
            raise


class _Reply:
    """The answer to one request: it begins once its entry is written, and is an error where that cannot be.

    Without `always` that is so for refusals of a token only.
    """

    def __init__(self, request: tuple[Scope, Receive, Send], record: Record, always: bool) -> None:
        self._scope, self._receive, self._send = request
        self._record = record
        self._always = always
        self._start: Message | None = None
        self._refused = False
        self.begun = False

    async def send(self, message: Message) -> None:
        """Pass on what the application says."""
        if message["type"] == "http.response.start" and (self._always or self._turned_away(message["status"])):
            self._start = message
            return
        if self._start is not None:
            start, self._start, self.begun = self._start, None, True
            try:
                await self._record(deed(self._scope, start["status"], _code(message)))
            except EverupError as error:
                self._refused = True
                await answer(_unrecorded(self._scope, error))(self._scope, self._receive, self._send)
                return
            await self._send(start)
        if not self._refused:
            await self._send(message)

    def _turned_away(self, status: int) -> bool:
        return status in (UNNAMED, TOO_OFTEN) and "caller" not in self._scope["state"]


def announce(desk: Desk) -> Callable[[Request], Awaitable[None]]:
    """A dependency of routes: writes down what is about to be done, before it is; it is refused where that fails."""

    async def before(request: Request) -> None:
        if _changes(request.scope):
            request.state.given = await _given(request)
            request.state.asked = await desk.trail.append(deed(request.scope, None, ""))

    return before


def deed(scope: Mapping[str, Any], status: int | None, code: str) -> Deed:
    """What a request is about, and what came of it if it was answered."""
    state = scope.get("state", {})
    client = scope.get("client")
    caller: Caller | None = state.get("caller") or (None if client else OWNER)
    found = getattr(scope.get("route"), "path", "")
    route = f"{scope.get('root_path', '')}{found}" if found else scope["path"][:LONGEST]
    given = dict(state.get("given", {}))
    where = {name: str(value)[:LONGEST] for name, value in scope.get("path_params", {}).items()}
    if "environment" in given:
        where.setdefault("environment", given.pop("environment"))
    return Deed(
        at_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        who=caller.name if caller else "",
        level=caller.level.value if caller else "",
        what=f"{scope['method']} {route}",
        where=where,
        given=given,
        origin=f"{client[0]}:{client[1]}" if client else "socket",
        asked=state.get("asked"),
        status=status,
        code=code,
    )


def _changes(scope: Scope) -> bool:
    return scope["method"] not in READS and scope["path"] not in HARMLESS


async def _given(request: Request) -> dict[str, Any]:
    """The arguments that matter. Of a spec file its place and its hash: its text may hold passwords."""
    try:
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            body: Any = dict(parse_qsl((await request.body()).decode()))
        else:
            body = await request.json()
    except (ValueError, RecursionError):
        return {}
    if not isinstance(body, Mapping):
        return {}
    source = body["source"] if isinstance(body.get("source"), Mapping) else body
    found = {name: _simple(value) for name, value in {**source, **body}.items() if name in GIVEN}
    if isinstance(text := source.get("text"), str):
        found["text_sha256"] = hashlib.sha256(text.encode(errors="replace")).hexdigest()
        found |= {"environment": name} if (name := name_in(text)) else {}
    return found


def _simple(value: Any) -> Any:
    """A value as an entry may hold it: short, and without floats, which not everybody writes alike."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, list):
        return [_simple(one) for one in value[:LONGEST]]
    return f"{value:g}" if isinstance(value, float) else str(value)[:LONGEST]


def _code(message: Message) -> str:
    """The slug of an error from the first part of its answer; "" where it is none."""
    try:
        body = json.loads(message.get("body", b""))
    except ValueError:
        return ""
    found = body.get("code") if isinstance(body, dict) and "status" in body else ""
    return found if isinstance(found, str) else ""


def _unrecorded(scope: Scope, error: EverupError) -> EverupError:
    """What to say where an answer could not be recorded: what was asked for may have been done."""
    if "asked" not in scope["state"]:
        return error
    number = scope["state"]["asked"]
    return EverupError(
        f"what was asked for may have been done, but the audit log took no more: {error.message}",
        f"Make room, then look whether it was: everup status. The log has the request as entry {number}.",
        code="audit.unrecorded",
    )
