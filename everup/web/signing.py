"""Signing in and out: by a link that the owner was given, or with a token; each time is in the audit log."""

import hmac

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from everup.model.access import Caller
from everup.model.errors import EverupError, TooMany
from everup.web.gate import cookie_name, form, give, session_of, signed_form, word_for_forms
from everup.web.ports import BASE, Doorway
from everup.web.sessions import Sessions
from everup.web.sight import Sight

LINK, TOKEN = "link", "token"
"""How somebody signs in, as the audit log says it."""

WRONG = "unauthenticated"
"""The code of a try that was none of anybody's, as the API has it."""


class Signing:
    """The way in and the way out."""

    def __init__(self, sight: Sight, sessions: Sessions, doorway: Doorway) -> None:
        self._sight = sight
        self._sessions = sessions
        self._doorway = doorway

    async def sign_in(self, request: Request) -> Response:
        """The way in, and what comes of a try: nobody is let in, or sent away, before that is recorded."""
        if request.method == "GET":
            word = request.query_params.get("once")
            return await self._way_in(request) if word is None else await self._by_link(request, word)
        fields = await form(request)
        word = request.cookies.get(cookie_name(request, "form"), "")
        if not word or not hmac.compare_digest(word.encode(), fields.get("csrf", "").encode()):
            return await self._way_in(request, "The page was too old. Try again.", 403)
        return await self._by_token(request, fields.get("token", "").strip(), fields.get("to", ""))

    async def sign_out(self, request: Request) -> Response:
        """End the session; it is over also where that cannot be recorded."""
        await signed_form(request)
        caller = session_of(request).caller
        self._sessions.close(request.cookies[cookie_name(request)])
        request.state.caller = caller
        await self._doorway.note(request.scope, 303)
        response = RedirectResponse(f"{BASE}/sign-in", 303)
        response.delete_cookie(cookie_name(request), path=BASE)
        return response

    async def _by_link(self, request: Request, word: str) -> Response:
        key = self._sessions.accept(word)
        session = self._sessions.find(key) if key else None
        await self._note(request, LINK, session.caller if session else None, 200 if session else 403)
        if key is None:
            return await self._way_in(request, "This link was used already, or is too old.", 403)
        # A page of ours that leads on, not a redirect: after one, a strict cookie would be held back at first.
        response = HTMLResponse(await self._sight.draw("welcome.html.j2", to=f"{BASE}/"))
        give(request, response, key)
        return response

    async def _by_token(self, request: Request, token: str, to: str) -> Response:
        try:
            caller = self._doorway.recognise(token, self._doorway.address_of(request.scope))
        except TooMany as error:
            await self._note(request, TOKEN, None, 429, error)
            response = await self._way_in(request, f"{error.message[0].upper()}{error.message[1:]}. {error.hint}", 429)
            response.headers["Retry-After"] = str(error.retry_after_s)
            return response
        await self._note(request, TOKEN, caller, 303 if caller else 403)
        if caller is None:
            return await self._way_in(request, "This token is unknown, revoked or expired.", 403)
        onward = RedirectResponse(_inside(to), 303)
        give(request, onward, self._sessions.open(caller, token))
        return onward

    async def _note(
        self, request: Request, via: str, caller: Caller | None, status: int, error: EverupError | None = None
    ) -> None:
        request.state.given = {"via": via}
        if caller:
            request.state.caller = caller
        await self._doorway.note(request.scope, status, error.code if error else "" if caller else WRONG)

    async def _way_in(self, request: Request, trouble: str = "", status: int = 200) -> Response:
        word = word_for_forms()
        to = _inside(request.query_params.get("to", ""))
        text = await self._sight.draw("sign_in.html.j2", trouble=trouble, word=word, to=to)
        response = HTMLResponse(text, status)
        give(request, response, word, "form")
        return response


def _inside(to: str) -> str:
    """Where to go after signing in: a page of ours, whatever the address says."""
    plain = to.isascii() and to.isprintable() and "\\" not in to
    return to if plain and to.startswith(f"{BASE}/") else f"{BASE}/"
