"""The pages that show something: drawn whole for a visit, and without their frame for a browser that refreshes them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from everup.model.access import Level
from everup.model.errors import NotFound, NotPermitted
from everup.web.acts import possible
from everup.web.gate import cookie_name, session_of
from everup.web.headline import headline
from everup.web.live import Feed, log_lines
from everup.web.plots import plots
from everup.web.ports import BASE, Desk, Json
from everup.web.sessions import Sessions
from everup.web.sight import Scene, Sight
from everup.web.topology import draw

SHOWN_LINES = 300
SHOWN_INCIDENTS = 5
STREAM = "text/event-stream"


def visible(request: Request, level: Level = Level.VIEWER) -> str:
    """The environment that a request is about.

    Raises:
        NotFound: the caller may know nothing of it.
        NotPermitted: the caller may look at it, and no more.
    """
    environment = str(request.path_params["environment"])
    caller = session_of(request).caller
    if not caller.may(Level.VIEWER, environment):
        raise NotFound(f"there is no environment {environment} here", environment=environment)
    if not caller.may(level, environment):
        raise NotPermitted(f"{caller.name} is a {caller.level.value}, and this takes a {level.value}")
    return environment


def service_of(scene: Scene, label: str) -> Json:
    """A service of a scene.

    Raises:
        NotFound: it has none of that label.
    """
    service = scene.service(label)
    if service is None:
        raise NotFound(f"{scene.status['environment']} has no service {label}", label=label)
    return service


class Pages:
    """One method for each page."""

    def __init__(self, desk: Desk, sight: Sight, feed: Feed, sessions: Sessions) -> None:
        self._desk = desk
        self._sight = sight
        self._feed = feed
        self._sessions = sessions

    async def overview(self, request: Request) -> Response:
        """All environments that the visitor may see; the only one is shown at once."""
        caller = session_of(request).caller
        names = [name for name in self._desk.environments() if caller.may(Level.VIEWER, name)]
        if len(names) == 1 and "all" not in request.query_params:
            return RedirectResponse(f"{BASE}/e/{names[0]}", 303)
        scenes = [await self._sight.scene(name) for name in names]
        return await self._page(request, "overview.html.j2", None, scenes=scenes)

    async def environment(self, request: Request) -> Response:
        """The sentence that matters, the picture, what can be done, the newest incidents."""
        scene = await self._sight.scene(visible(request))
        services = scene.status["services"]
        return await self._page(
            request,
            "environment.html.j2",
            scene,
            wide=draw(services),
            narrow=draw(services, narrow=True),
            incidents=scene.incidents[:SHOWN_INCIDENTS],
        )

    async def service(self, request: Request) -> Response:
        """One service: its picture, nodes, limits, revisions, and what can be done."""
        environment = visible(request)
        scene = await self._sight.scene(environment)
        service = service_of(scene, request.path_params["label"])
        verdict = next(one for one in scene.verdict["services"] if one["label"] == service["label"])
        own = [one for one in scene.incidents if one.service == service["label"]][:SHOWN_INCIDENTS]
        return await self._page(
            request,
            "service.html.j2",
            scene,
            service=service,
            verdict=verdict,
            head=headline({**scene.status, "services": [service]}, scene.verdict),
            narrow=draw([service], narrow=True),
            acts=possible(service, session_of(request).caller, environment),
            incidents=own,
        )

    async def incidents(self, request: Request) -> Response:
        """The timeline of incidents."""
        scene = await self._sight.scene(visible(request))
        return await self._page(request, "incidents.html.j2", scene, incidents=scene.incidents)

    async def drills(self, request: Request) -> Response:
        """Drills, with how long writes stood still against the target."""
        scene = await self._sight.scene(visible(request))
        newest = list(reversed(scene.drills))
        return await self._page(request, "drills.html.j2", scene, plots=plots(scene.drills), drills=newest)

    async def logs(self, request: Request) -> Response:
        """What a node, or every node of a service, printed last."""
        environment, name = visible(request, Level.DEVELOPER), request.path_params["name"]
        scene = await self._sight.scene(environment)
        found = [pair async for pair in self._desk.logs(environment, name, lines=SHOWN_LINES, follow=False)]
        return await self._page(request, "logs.html.j2", scene, name=name, lines=found[-SHOWN_LINES:])

    async def news(self, request: Request) -> Response:
        """Events of an environment as they come."""
        environment = visible(request)
        self._desk.picture(environment)
        return StreamingResponse(self._feed.listen(environment, lambda: self._welcome(request)), media_type=STREAM)

    async def log_news(self, request: Request) -> Response:
        """Log lines as they come."""
        environment, name = visible(request, Level.DEVELOPER), request.path_params["name"]
        lines = log_lines(self._desk, environment, name, lambda: self._welcome(request, Level.DEVELOPER), SHOWN_LINES)
        return StreamingResponse(lines, media_type=STREAM)

    def _welcome(self, request: Request, level: Level = Level.VIEWER) -> bool:
        """Whether the session that a stream began with is still open, and may still see it."""
        session = self._sessions.find(request.cookies.get(cookie_name(request), ""))
        return session is not None and session.caller.may(level, request.path_params["environment"])

    async def _page(self, request: Request, template: str, scene: Scene | None, **values: Any) -> Response:
        session = session_of(request)
        bare = "live" in request.query_params
        values |= {"scene": scene, "caller": session.caller, "here": request.url.path, "Level": Level}
        values |= {"may_log": scene is not None and session.caller.may(Level.DEVELOPER, scene.status["environment"])}
        if bare:
            key = (request.url.path, session.caller)
            text = await self._sight.drawn(key, template, frame="bare.html.j2", **values)
        else:
            notice, session.notice = session.notice, None
            frame = {"frame": "frame.html.j2", "csrf": session.csrf, "notice": notice}
            text = await self._sight.draw(template, **frame, **values)
        return HTMLResponse(text)
