"""The application: all routes over one desk."""

from fastapi import Depends, FastAPI

from everup import __version__
from everup.api.audit import audit_routes
from everup.api.desk import Desk
from everup.api.drills import drill_routes
from everup.api.errors import install
from everup.api.recording import Recorded, announce
from everup.api.routes import change_routes, control_routes, environment_routes, service_routes
from everup.api.secrets import secret_routes


def create_app(desk: Desk) -> FastAPI:
    """The API of one control plane. Its schema is at `/v1/openapi.json`; it serves no page of its own."""
    app = FastAPI(
        title="Everup",
        version=__version__,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(announce(desk))],
    )
    install(app)
    app.add_middleware(Recorded, desk=desk)  # the last one added is the outermost
    for routes in (control_routes, environment_routes, service_routes, change_routes, drill_routes):
        app.include_router(routes(desk))
    for routes in (audit_routes, secret_routes):
        app.include_router(routes(desk))
    return app
