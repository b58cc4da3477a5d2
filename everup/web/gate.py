"""Before every page: who is signed in, what a form must carry, what browsers must never do. Denies by default."""

import secrets
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everup.model.errors import EverupError, NotFound, NotPermitted
from everup.web.ports import BASE, Doorway
from everup.web.sessions import LASTS_S, Session, Sessions

OPEN = (f"{BASE}/sign-in", f"{BASE}/static/")
"""What is shown to everybody; everything else needs a session."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # `no-referrer` would take forms their Origin
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

MOST_BYTES = 8192
"""Of a form."""


class Gate:
    """Lets in who has a session, which it puts in `request.state.session`, as often as the API would."""

    def __init__(self, app: ASGIApp, sessions: Sessions, doorway: Doorway) -> None:
        self._app = app
        self._sessions = sessions
        self._doorway = doorway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        path: str = scope["path"]
        session = self._sessions.find(request.cookies.get(cookie_name(request), ""))
        request.state.session = session

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers["Cache-Control"] = "no-cache" if path.startswith(f"{BASE}/static/") else "no-store"
            await send(message)

        try:
            app, body = await self._way(request, session)
        except EverupError as error:
            app, body = self._doorway.answer(error), receive
        await app(scope, body, guarded)

    async def _way(self, request: Request, session: Session | None) -> tuple[ASGIApp, Receive]:
        """Who serves a request, and where that finds its body.

        Raises:
            EverupError: it is too much, or one too many.
        """
        path = request.url.path
        if not self._sessions.invited(request.query_params.get("once", "")):  # whom no stranger can keep out
            self._doorway.count(session.csrf if session else "", self._doorway.address_of(request.scope))
        if session is None and not any(path == one or (one.endswith("/") and path.startswith(one)) for one in OPEN):
            return _outside(request), request.receive
        if request.method in ("GET", "HEAD"):
            return self._app, request.receive
        if not same_origin(request):
            return Response("this form was sent by another site", 403), request.receive
        return self._app, await self._doorway.bounded(request.receive, request.headers, MOST_BYTES)


def _outside(request: Request) -> Response:
    """What somebody gets who is not signed in: the way in, or, where no page was asked for, a plain no."""
    wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if not wants_page:
        return Response("sign in first", 401)
    return RedirectResponse(f"{BASE}/sign-in?to={quote(request.url.path)}", 303)


def same_origin(request: Request) -> bool:
    """Whether a form comes from a page of ours, by what the browser says; tools that say nothing have no cookies."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def cookie_name(request: Request, purpose: str = "session") -> str:
    """Cookies are shared by all ports of a host, so the port is part of the name."""
    return f"everup-{purpose}-{request.url.port or 0}"


def give(request: Request, response: Response, value: str, purpose: str = "session") -> None:
    """Have the browser keep `value`: out of reach of scripts and of other sites, for the dashboard alone."""
    response.set_cookie(
        cookie_name(request, purpose),
        value,
        max_age=int(LASTS_S),
        path=BASE,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def word_for_forms() -> str:
    """What a form carries before there is a session, and a cookie beside it."""
    return secrets.token_urlsafe(16)


async def form(request: Request) -> dict[str, str]:
    """The fields of a form."""
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))


async def signed_form(request: Request) -> dict[str, str]:
    """The fields of a form that carries its session's word.

    Raises:
        NotPermitted: it does not.
    """
    fields = await form(request)
    if not session_of(request).fits(fields.get("csrf", "")):
        raise NotPermitted("the form is not one of this session", "Go back, load the page anew and send it again.")
    return fields


def session_of(request: Request) -> Session:
    """The session that the gate found."""
    session: Session | None = request.state.session
    if session is None:
        raise NotFound("nobody is signed in")
    return session
