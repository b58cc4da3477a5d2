"""The application: all routes over one desk."""

from fastapi import FastAPI

from everup import __version__
from everup.api.desk import Desk
from everup.api.drills import drill_routes
from everup.api.errors import install
from everup.api.metrics import metrics_routes
from everup.api.notify import notify_routes
from everup.api.routes import change_routes, control_routes, environment_routes, service_routes


def create_app(desk: Desk) -> FastAPI:
    """The API of one control plane. Its schema is at `/v1/openapi.json`; it serves no page of its own."""
    app = FastAPI(title="Everup", version=__version__, openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None)
    install(app)
    for routes in (
        control_routes,
        environment_routes,
        service_routes,
        change_routes,
        drill_routes,
        metrics_routes,
        notify_routes,
    ):
        app.include_router(routes(desk))
    return app
