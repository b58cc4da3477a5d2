"""The route of the audit log."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from everup.api.desk import Desk

Json = dict[str, Any]


def audit_routes(desk: Desk) -> APIRouter:
    """Reading the audit log; who reads it checks its chain (`everup audit verify`)."""
    router = APIRouter(prefix="/v1", tags=["audit"])

    @router.get("/audit")
    async def audit(
        after: Annotated[int, Query(ge=-(2**53), le=2**53)] = -50, limit: Annotated[int, Query(ge=1, le=1000)] = 1000
    ) -> Json:
        """Entries with a `seq` above `after`, oldest first; negative: the newest so many. Each `hash` chains it."""
        return {"entries": desk.trail.page(after, limit)}

    return router
