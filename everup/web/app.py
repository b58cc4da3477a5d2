"""The dashboard as an ASGI application, to be mounted at `BASE`."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from everup.model.errors import EverupError
from everup.web.errands import Errands
from everup.web.forms import Forms
from everup.web.gate import Gate
from everup.web.live import Feed
from everup.web.pages import Pages
from everup.web.ports import Desk, Doorway, Tongue
from everup.web.sessions import Sessions
from everup.web.sight import Sight
from everup.web.signing import Signing


def dashboard(desk: Desk, tongue: Tongue, doorway: Doorway, sessions: Sessions, api: ASGIApp) -> Starlette:
    """Every page over one control plane. Who is not signed in gets the way in, the style, and nothing else.

    Args:
        api: is asked to do what the forms say; it believes what `state.caller` of a request names.
    """
    sight, feed = Sight(desk, tongue), Feed(desk, tongue)
    pages, forms = Pages(desk, sight, feed, sessions), Forms(sight, Errands(api))
    signing = Signing(sight, sessions, doorway)
    read, both = ["GET"], ["GET", "POST"]
    routes = [
        Route("/", pages.overview, methods=read),
        Route("/sign-in", signing.sign_in, methods=both),
        Route("/sign-out", signing.sign_out, methods=["POST"]),
        Route("/e/{environment}", pages.environment, methods=read),
        Route("/e/{environment}/incidents", pages.incidents, methods=read),
        Route("/e/{environment}/drills", pages.drills, methods=read),
        Route("/e/{environment}/news", pages.news, methods=read),
        Route("/e/{environment}/logs/{name}", pages.logs, methods=read),
        Route("/e/{environment}/logs/{name}/news", pages.log_news, methods=read),
        Route("/e/{environment}/s/{label}", pages.service, methods=read),
        Route("/e/{environment}/s/{label}/{act}", forms.act, methods=both),
        Mount("/static", StaticFiles(packages=[("everup.web", "static")])),
    ]

    async def told(request: Request, error: Exception) -> Response:
        return await _trouble(request, error, sight, tongue)

    return Starlette(
        routes=routes,
        middleware=[Middleware(Gate, sessions=sessions, doorway=doorway)],
        exception_handlers={EverupError: told, HTTPException: told},
    )


async def _trouble(request: Request, error: Exception, sight: Sight, tongue: Tongue) -> Response:
    """An error as a page."""
    if isinstance(error, EverupError):
        status, message, hint = tongue.status_of(error), error.message, error.hint
    else:
        assert isinstance(error, HTTPException)
        status, message, hint = error.status_code, "There is no such page.", ""
    return HTMLResponse(await sight.draw("trouble.html.j2", message=message, hint=hint), status)
