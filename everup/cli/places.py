"""Contexts on the command line: control planes elsewhere, each by a name."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.contexts import LOCAL, Contexts
from everup.cli.exits import Usage
from everup.cli.session import session_of

if TYPE_CHECKING:
    from everup.cli.client import Json

Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is called; local is this machine's own.")]


def add_context(
    context: typer.Context,
    name: Name,
    server: Annotated[str, typer.Option("--server", metavar="URL", help="Where it is.")],
    ca: Annotated[
        str | None, typer.Option("--ca", metavar="FILE", help="Its certificate, if no known authority vouches for it.")
    ] = None,
) -> None:
    """Name a control plane, try the token that stands on standard input, and keep both.

    The first one that is added is in use from then on.

    Examples:

      everup token create laptop --level operator | everup context add prod --server https://everup.example.net:7443

      everup context add prod --server https://10.0.0.5:7443 --ca cert.pem < token.txt
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.remote import Place

    if name == LOCAL:
        raise Usage(f"{LOCAL} is this machine's own control plane", "Take another name.")
    contexts = Contexts.read(os.environ)
    place = Place(server.rstrip("/"), _token(), os.path.abspath(ca) if ca else None)  # noqa: PTH100 - keeps symlinks
    client = place.client()
    try:
        caller = client.get("caller")
    finally:
        client.close()
    contexts.places[name] = {"server": place.server, "token": place.token, "ca": place.ca}
    if contexts.current == LOCAL and len(contexts.places) == 1:
        contexts.current = name
    contexts.write()
    if session.as_json:
        render.show_json({"name": name, "server": place.server, "caller": caller, "current": contexts.current})
        return
    print(f"{name}: {place.server}, as {caller['name']} ({caller['level']})")
    print(f"commands are about {contexts.current} now" if contexts.current == name else f"everup context use {name}")


def use_context(context: typer.Context, name: Name) -> None:
    """Let commands be about another control plane from now on; local: this machine's own.

    Examples:

      everup context use prod

      everup context use local
    """
    session = session_of(context)
    from everup.cli import render

    contexts = Contexts.read(os.environ)
    contexts.of(name)
    contexts.current = name
    contexts.write()
    if session.as_json:
        render.show_json({"current": name})
    else:
        print(f"commands are about {name} now")


def list_contexts(context: typer.Context) -> None:
    """List the named control planes; * marks the one that commands are about.

    Examples:

      everup context list
    """
    session = session_of(context)
    from everup.cli import render

    contexts = Contexts.read(os.environ)
    rows = [(LOCAL, str(session.home.socket)), *((name, str(kept["server"])) for name, kept in contexts.places.items())]
    if session.as_json:
        render.show_json({"current": contexts.current, "contexts": dict(rows)})
    else:
        marked = [("*" if name == contexts.current else " ", name, where) for name, where in rows]
        render.show(render.plain_grid(marked))


def remove_context(context: typer.Context, name: Name) -> None:
    """Forget a named control plane and its token.

    Examples:

      everup context remove prod
    """
    session = session_of(context)
    from everup.cli import render

    contexts = Contexts.read(os.environ)
    if contexts.of(name) is None:
        raise Usage(f"{LOCAL} is always there", "Commands are about another one after: everup context use NAME")
    del contexts.places[name]
    contexts.current = LOCAL if contexts.current == name else contexts.current
    contexts.write()
    result: Json = {"removed": name, "current": contexts.current}
    if session.as_json:
        render.show_json(result)
    else:
        print(f"{name} is forgotten; commands are about {contexts.current}")


def _token() -> str:
    """The token on standard input; somebody at a terminal is asked, and does not see what they type."""
    text = typer.prompt("token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    token = str(text).strip()
    if not token or not token.isascii() or len(token.split()) != 1:
        raise Usage("there is no token on standard input", "everup token create NAME --level LEVEL prints one.")
    return token
