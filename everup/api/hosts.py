"""The routes of hosts: which there are, and having one left."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from everup.api.desk import Desk
from everup.core.parting import Site
from everup.model.spec import Frozen

Json = dict[str, Any]


class Leave(Frozen):
    """How a host is left: with `force` also where a single server is there, which nobody takes over from."""

    force: bool = False


def host_routes(desk: Desk) -> APIRouter:
    """Hosts of all environments."""
    router = APIRouter(prefix="/v1/hosts", tags=["hosts"])

    @router.get("")
    async def hosts() -> Json:
        """Every host: how it stands, and by environment what leads, moves, stays, is alone there, or is not well."""
        return {"hosts": [_site(one) for one in desk.sites()]}

    @router.post("/{host}/drain", status_code=202)
    async def drain(host: str, request: Leave) -> Json:
        """Have a host left; answers at once, `GET /v1/hosts` tells the progress."""
        await desk.drain(host, force=request.force)
        return {"host": host, "drained": True}

    @router.post("/{host}/undrain")
    async def undrain(host: str) -> Json:
        """Let a host be used again; what has left it does not come back by itself."""
        await desk.undrain(host)
        return {"host": host, "drained": False}

    return router


def _site(one: Site) -> Json:
    host = one.host
    return {
        "name": host.name,
        "address": host.address,
        "zone": host.zone,
        "ground": host.ground.value,
        "votes": host.votes,
        "environments": {name: asdict(there) for name, there in one.occupants.items()},
    }
