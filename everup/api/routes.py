"""The routes under /v1. They translate between HTTP and the desk, and decide nothing."""

import os
import platform
import signal
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from everup import __version__
from everup.api import verdicts, views
from everup.api.desk import Desk
from everup.api.gate import Asking
from everup.core.explain import explain
from everup.model.access import Caller, Level
from everup.model.errors import NotFound, Refused
from everup.model.spec import Frozen, Source

Json = dict[str, Any]

NEWEST = 2000
"""Among so many events the newest incident of a service is looked for."""


class Count(Frozen):
    """How many instances."""

    count: int = Field(ge=0, le=10_000)


class Stopping(Frozen):
    """How to stop: with `destroy` the data is deleted too."""

    destroy: bool = False


class Handover(Frozen):
    """Who is to be the primary: a node, or None for the best one."""

    to: str | None = None


class Availability(Frozen):
    """Whether a service is to survive the loss of any one node."""

    enabled: bool


class Deployment(Frozen):
    """The spec file to take the service's declaration from; None: as it is declared already."""

    source: Source | None = None


class Return(Frozen):
    """The number of a revision; None: the newest other one that was good."""

    to: int | None = Field(default=None, ge=1)


class Injection(Frozen):
    """A fault for one node; `for_s` (seconds) bounds how long a lost node stays lost, or its host cut off."""

    fault: str
    for_s: Annotated[float, Field(strict=False, gt=0, le=3600)] = 30.0


def control_routes(desk: Desk) -> APIRouter:
    """The control plane itself, and specs as a whole."""
    router = APIRouter(prefix="/v1", tags=["control plane"])

    @router.get("/control")
    async def control(caller: Asking) -> Json:
        """Who answers here, and which environments it looks after; `running` ones have running nodes or should have."""
        names = _visible(desk, caller)
        running = [name for name in names if _should_run(desk, name)]
        return {"version": __version__, "pid": os.getpid(), "environments": names, "running": running}

    @router.post("/control/stop", status_code=202)
    async def end() -> Json:
        """End this control plane, as SIGTERM does; refused while an environment runs."""
        running = [name for name in desk.environments() if _should_run(desk, name)]
        if running:
            raise Refused(f"{', '.join(running)} runs here", "Stop it first: everup down", code="refused.running")
        os.kill(os.getpid(), signal.SIGTERM)
        return {"pid": os.getpid()}

    @router.post("/apply")
    async def apply(source: Source, caller: Asking) -> Json:
        """Declare an environment; returns at once with what will change."""
        name, changes = await desk.apply(source, caller)
        return {"environment": name, "changes": [views.change(one) for one in changes]}

    @router.post("/plan")
    async def plan(source: Source, caller: Asking) -> Json:
        """What `apply` would change, and how long writers would wait."""
        changes, pauses = await desk.plan(source, caller)
        return {"changes": [views.change(one) for one in changes], "pauses": [asdict(one) for one in pauses]}

    return router


def environment_routes(desk: Desk) -> APIRouter:
    """Looking at one environment, and stopping it."""
    router = APIRouter(prefix="/v1/environments", tags=["environments"])
    host = platform.node()

    @router.get("")
    async def environments(caller: Asking) -> Json:
        """The names of all environments that the caller may see."""
        return {"environments": _visible(desk, caller)}

    @router.get("/{environment}")
    async def status(environment: str) -> Json:
        """The environment, its services and nodes."""
        return views.status(desk.picture(environment), host)

    @router.get("/{environment}/check")
    async def check(environment: str) -> Json:
        """Whether any one node, or host, can be lost now, and why."""
        return verdicts.verdict(desk.picture(environment))

    @router.get("/{environment}/lost")
    async def lost(environment: str) -> Json:
        """What former primaries held that their successors lack, and where it is kept."""
        return views.ledger(desk.picture(environment))

    @router.get("/{environment}/variables")
    async def variables(environment: str) -> dict[str, dict[str, str]]:
        """Connection variables by label."""
        return desk.variables(environment)

    @router.post("/{environment}/stop", status_code=202)
    async def stop(environment: str, request: Stopping) -> Json:
        """Stop every node; the status tells the progress."""
        await desk.stop(environment, destroy=request.destroy)
        return {"environment": environment, "destroy": request.destroy}

    return router


def service_routes(desk: Desk) -> APIRouter:
    """Acting on one service or node."""
    router = APIRouter(prefix="/v1/environments/{environment}", tags=["services"])

    @router.get("/services/{label}/connect")
    async def connect(environment: str, label: str, language: str = "python") -> Json:
        """A snippet that connects to the service, with live values."""
        return {"language": language, "snippet": desk.connect(environment, label, language)}

    @router.get("/services/{label}/explain")
    async def explained(environment: str, label: str) -> Json:
        """What is done about the service and why; what would be if a node were lost; its newest incident."""
        picture = desk.picture(environment)
        labels = [one.label for one in picture.blueprints]
        if label not in labels:
            raise NotFound(f"{environment} has no service {label}", f"Its services: {', '.join(labels)}.", label=label)
        events = [one async for one in desk.events(environment, after=-NEWEST, follow=False)]
        return verdicts.explanation(explain(label, picture, events))

    @router.post("/services/{label}/scale")
    async def scale(environment: str, label: str, request: Count) -> Json:
        """Run so many instances, within the limit."""
        return views.change(await desk.scale(environment, label, request.count))

    @router.post("/services/{label}/limit")
    async def limit(environment: str, label: str, request: Count) -> Json:
        """Allow so many instances."""
        return views.change(await desk.limit(environment, label, request.count))

    @router.post("/services/{label}/switchover")
    async def switchover(environment: str, label: str, request: Handover) -> Json:
        """Hand the role of the primary to another node; answers once that leads."""
        return {"label": label, "because": await desk.switchover(environment, label, request.to)}

    @router.post("/nodes/{node}/fault", status_code=202)
    async def fault(environment: str, node: str, request: Injection) -> Json:
        """Break a node on purpose."""
        await desk.inject(environment, node, request.fault, request.for_s)
        return {"node": node, "fault": request.fault, "for_s": request.for_s}

    return router


def change_routes(desk: Desk) -> APIRouter:
    """What one service runs, and whether it is redundant."""
    router = APIRouter(prefix="/v1/environments/{environment}", tags=["changes"])

    @router.post("/services/{label}/ha")
    async def ha(environment: str, label: str, request: Availability) -> Json:
        """Make one server a group that survives the loss of any one, or a group one server; answers at once."""
        change, pause = await desk.ha(environment, label, request.enabled)
        return {
            **views.change(change),
            "predicted_pause_s": pause.pause_s if pause else None,
            "pause_because": pause.because if pause else None,
        }

    @router.post("/services/{label}/restart", status_code=202)
    async def restart(environment: str, label: str) -> Json:
        """Restart every node of the service, one at a time; an app gets a new revision."""
        return {"label": label, "revision": await desk.restart(environment, label)}

    @router.post("/services/{label}/deploy", status_code=202)
    async def deploy(environment: str, label: str, request: Deployment) -> Json:
        """Start every instance anew, as the spec file now declares it; answers at once with the revision's number."""
        return {"label": label, "revision": await desk.deploy(environment, label, request.source)}

    @router.post("/services/{label}/rollback", status_code=202)
    async def rollback(environment: str, label: str, request: Return) -> Json:
        """Declare a former revision again; answers at once with its number."""
        return {"label": label, "revision": await desk.rollback(environment, label, request.to)}

    return router


def _visible(desk: Desk, caller: Caller) -> list[str]:
    return [name for name in desk.environments() if caller.may(Level.VIEWER, name)]


def _should_run(desk: Desk, environment: str) -> bool:
    picture = desk.picture(environment)
    return not picture.stopped or bool(views.running_nodes(picture))
