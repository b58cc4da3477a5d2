"""The application: all routes over one desk."""

from fastapi import Depends, FastAPI

from everup import __version__
from everup.api.audit import audit_routes
from everup.api.description import describe
from everup.api.desk import Desk
from everup.api.doorway import Doorway
from everup.api.drills import drill_routes
from everup.api.errors import install
from everup.api.feeds import feed_routes
from everup.api.gate import install_gate
from everup.api.hosts import host_routes
from everup.api.metrics import metrics_routes
from everup.api.notify import notify_routes
from everup.api.recording import Recorded, announce
from everup.api.routes import change_routes, control_routes, environment_routes, service_routes
from everup.api.secrets import secret_routes
from everup.api.tokens import TokenDesk, token_routes


def create_app(desk: Desk, tokens: TokenDesk | None = None, doorway: Doorway | None = None) -> FastAPI:
    """The API of one control plane. Its schema is at `/v1/openapi.json`; it serves no page of its own.

    Whoever does not come through the Unix socket (`everup.api.gate.owned`) needs one of the `tokens`. The `doorway` is
    that of the control plane; one of the application's own where there is no other way in.
    """
    doorway = doorway or Doorway(desk, lambda secret: tokens.authenticate(secret) if tokens else None)
    app = FastAPI(
        title="Everup",
        version=__version__,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(announce(desk))],
    )
    install(app)
    install_gate(app, doorway)
    # The last one added is the outermost: it sees what the gate refuses.
    app.add_middleware(Recorded, notebook=doorway.notebook)
    if tokens:
        app.include_router(token_routes(tokens))
    for routes in (
        control_routes,
        environment_routes,
        service_routes,
        change_routes,
        feed_routes,
        drill_routes,
        host_routes,
        metrics_routes,
        notify_routes,
        audit_routes,
        secret_routes,
    ):
        app.include_router(routes(desk))
    describe(app)
    return app
