"""The pages that change something: signing in and out, and every act after its confirmation."""

import hmac

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from everup.model.errors import EverupError, NotFound
from everup.web.acts import ACTS, Act
from everup.web.errands import Errands
from everup.web.gate import cookie_name, form, give, session_of, signed_form, word_for_forms
from everup.web.pages import service_of, visible
from everup.web.ports import BASE, Json
from everup.web.sessions import Sessions
from everup.web.sight import Scene, Sight


class Forms:
    """One method for each form, asked for or sent."""

    def __init__(self, sight: Sight, sessions: Sessions, errands: Errands) -> None:
        self._sight = sight
        self._sessions = sessions
        self._errands = errands

    async def sign_in(self, request: Request) -> Response:
        """The way in: by an invitation in the address, or by a token in a form."""
        if request.method == "GET" and "once" in request.query_params:
            key = self._sessions.accept(request.query_params["once"])
            if key is None:
                return await self._way_in(request, "This link was used already, or is too old.", 403)
            # A page of ours that leads on, not a redirect: after one, a strict cookie would be held back at first.
            text = await self._sight.draw("welcome.html.j2", to=f"{BASE}/")
            response = HTMLResponse(text)
            give(request, response, key)
            return response
        if request.method == "GET":
            return await self._way_in(request, "", 200)
        fields = await form(request)
        word = request.cookies.get(cookie_name(request, "form"), "")
        if not word or not hmac.compare_digest(word.encode(), fields.get("csrf", "").encode()):
            return await self._way_in(request, "The page was too old. Try again.", 403)
        key = self._sessions.sign_in(fields.get("token", "").strip())
        if key is None:
            return await self._way_in(request, "This token is unknown, revoked or expired.", 403)
        onward = RedirectResponse(_inside(fields.get("to", "")), 303)
        give(request, onward, key)
        return onward

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        await signed_form(request)
        self._sessions.close(request.cookies[cookie_name(request)])
        response = RedirectResponse(f"{BASE}/sign-in", 303)
        response.delete_cookie(cookie_name(request), path=BASE)
        return response

    async def act(self, request: Request) -> Response:
        """Ask for confirmation, or, once that is given, do it and lead back to the service."""
        environment = visible(request)
        act = ACTS.get(request.path_params["act"])
        if act is None:
            raise NotFound("nothing of that name can be done")
        visible(request, act.level)
        scene = await self._sight.scene(environment)
        service = service_of(scene, request.path_params["label"])
        if not act.fits(service):
            raise NotFound(f"{act.title(service).lower()}: not possible for {service['label']} now")
        if request.method == "GET":
            return await self._confirm(request, scene, (act, service))
        fields = await signed_form(request)
        session, said = session_of(request), fields.get("said", "")
        try:
            body = act.body(service, said)
        except EverupError as error:
            return await self._confirm(
                request, scene, (act, service), {"message": error.message, "hint": error.hint}, said
            )
        path = f"/v1/environments/{environment}/services/{service['label']}/{act.name}"
        status, answer = await self._errands.post(request, session.caller, path, body)
        if status >= 400:
            return await self._confirm(request, scene, (act, service), answer, said)
        session.notice = ("healthy", act.done(service, body | answer))
        return RedirectResponse(f"{BASE}/e/{environment}/s/{service['label']}", 303)

    async def _confirm(
        self, request: Request, scene: Scene, asked: tuple[Act, Json], error: Json | None = None, said: str = ""
    ) -> Response:
        """The page that asks once more; `said` is what the form said that led to `error`."""
        session, (act, service) = session_of(request), asked
        field = act.field(service)
        values = {"act": act, "service": service, "field": field, "error": error}
        text = await self._sight.draw(
            "confirm.html.j2",
            frame="frame.html.j2",
            scene=scene,
            environment=request.path_params["environment"],
            caller=session.caller,
            csrf=session.csrf,
            notice=None,
            here=request.url.path,
            said=said if error or field is None else field.value,
            **values,
        )
        return HTMLResponse(text, error.get("status", 409) if error else 200)

    async def _way_in(self, request: Request, trouble: str, status: int) -> Response:
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
