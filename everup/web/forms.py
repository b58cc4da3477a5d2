"""The pages that change something: every act, after its confirmation."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from everup.model.errors import EverupError, NotFound
from everup.web.acts import ACTS, Act
from everup.web.errands import Errands
from everup.web.gate import session_of, signed_form
from everup.web.pages import service_of, visible
from everup.web.ports import BASE, Json
from everup.web.sight import Scene, Sight


class Forms:
    """One method for each form, asked for or sent."""

    def __init__(self, sight: Sight, errands: Errands) -> None:
        self._sight = sight
        self._errands = errands

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
