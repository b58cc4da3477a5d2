"""The routes of drills: what one would break, and what came of those before."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from everup.api.desk import Desk
from everup.core.rehearsal import LONGEST_S
from everup.model.drill import Drill, DrillFault, Wish
from everup.model.spec import Frozen, WriteRequest

Json = dict[str, Any]


class Staging(Frozen):
    """One run of a drill: `via` names the path of its clients, `turn` counts the runs from 0, `app` is watched.

    For `for_s` seconds a node or a host stays away; null: as usual for the fault.
    """

    fault: DrillFault = Field(strict=False)
    via: str = ""
    turn: int = Field(default=0, ge=0)
    app: str = ""
    request: WriteRequest | None = None
    for_s: float | None = Field(default=None, strict=False, gt=0, le=LONGEST_S)
    confirmed: bool = False


def drill_routes(desk: Desk) -> APIRouter:
    """Staging a run and keeping results. A drill is conducted by whoever asks: it may end the control plane."""
    router = APIRouter(prefix="/v1/environments/{environment}", tags=["drills"])

    @router.post("/services/{label}/drill")
    async def stage(environment: str, label: str, request: Staging) -> Json:
        """Announce one run: which node it will break, how clients write, and the targets; secrets included."""
        wish = Wish(request.via, request.turn, request.app, request.request, request.for_s)
        return asdict(await desk.stage(environment, label, request.fault, wish, confirmed=request.confirmed))

    @router.post("/drills", status_code=201)
    async def keep(environment: str, drill: Drill) -> Json:
        """Keep the result of a drill."""
        await desk.keep_drill(environment, drill)
        return {"id": drill.id}

    @router.get("/drills")
    async def drills(environment: str) -> Json:
        """Every drill that is kept, oldest first."""
        return {"drills": desk.drills(environment)}

    return router
