"""The dashboard, from the command line."""

from typing import Annotated

import typer

from everup.cli.session import session_of
from everup.model.errors import NotFound


def dashboard(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", min=1, max=65_535, help="The port; default: 8484, or any.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser at once.")] = False,
) -> None:
    """Print an address that opens the dashboard in a browser on this machine, signed in as the owner.

    The address works once, within two minutes; the browser then stays signed in for twelve hours. The dashboard listens
    on 127.0.0.1 only, and goes on until the control plane ends. Somebody else signs in with a token.

    Examples:

      everup dashboard

      everup dashboard --open

      everup dashboard --port 9000 --json
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        if not client.get("control")["running"]:
            raise NotFound("no environment runs here, so there is nothing to show", "Start one: everup up")
        body = client.post("dashboard", {"port": port})
    if show:
        import webbrowser

        webbrowser.open(body["url"])
    if session.as_json:
        render.show_json(body)
    else:
        print(f"{body['url']}\n  It works once, within {body['valid_s'] / 60:.0f} minutes.")
