"""Notifications: where they go, and whether they arrive."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.exits import FAILED, Usage
from everup.cli.session import Session, session_of
from everup.model.notices import Topic

if TYPE_CHECKING:
    from everup.cli.client import Client, Json


Name = Annotated[str, typer.Argument(metavar="NAME", help="The destination.")]


def add_destination(
    context: typer.Context,
    name: Name,
    on: Annotated[
        list[Topic] | None, typer.Option("--on", help="Only about this; may be given again. Default: everything.")
    ] = None,
) -> None:
    """Send messages to a URL of Apprise's (mailto://, slack://, json://host/path, ...), which is asked for.

    Or it is read from standard input; it is kept encrypted and shown to nobody. With -e it gets the messages of that
    environment alone.

    Examples:

      everup notify add oncall --on incident --on redundancy

      pass show chat-url | everup notify add team
    """
    session = session_of(context)
    asked = sys.stdin.isatty()
    url = typer.prompt("Apprise URL (not shown)", hide_input=True, err=True) if asked else sys.stdin.readline()
    if "://" not in url:
        raise Usage("no URL was given", "https://appriseit.com/services lists what is possible.")
    environments = [session.environment] if session.environment else []
    topics = [topic.value for topic in on or []]
    wanted = {"name": name, "url": url.strip(), "topics": topics, "environments": environments}
    body = _asked(session, lambda client: client.post("notifications", wanted))
    if not session.as_json:
        print(f"added: {_line(body)}; try it: everup notify test {body['name']}")


def list_destinations(context: typer.Context) -> None:
    """List where messages go, and about what.

    Examples:

      everup notify list
    """
    session = session_of(context)
    body = _asked(session, lambda client: client.get("notifications"), start=False)
    if session.as_json:
        return
    if body["destinations"]:
        print("\n".join(map(_line, body["destinations"])))
    else:
        print("nobody is told of anything; everup notify add NAME")


def test_destinations(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The destination; default: all.")] = None,
) -> None:
    """Send a message to one destination, or to all of them, and say what became of it.

    Examples:

      everup notify test oncall

      everup notify test
    """
    session = session_of(context)
    body = _asked(session, lambda client: client.post("notifications/test", {"name": name}))
    if not session.as_json:
        for one in body["deliveries"]:
            print(f"{one['name']}: {'sent' if one['sent'] else 'not sent: ' + one['because']}")
    if not all(one["sent"] for one in body["deliveries"]):
        raise typer.Exit(FAILED)


def remove_destination(context: typer.Context, name: Name) -> None:
    """Send nothing there any more; what waits for it is dropped.

    Examples:

      everup notify remove oncall
    """
    session = session_of(context)
    body = _asked(session, lambda client: client.delete(f"notifications/{name}"))
    if not session.as_json:
        print(f"{body['name']} was removed")


def _asked(session: Session, ask: "Callable[[Client], Json]", *, start: bool = True) -> "Json":
    """What the control plane answers; shown as JSON where asked for."""
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session, start=start) as client:
        body = ask(client)
    if session.as_json:
        render.show_json(body)
    return body


def _line(one: "Json") -> str:
    topics = ", ".join(one["topics"]) or "everything"
    where = f" in {', '.join(one['environments'])}" if one["environments"] else ""
    return f"{one['name']}  {one['scheme']}://…  {topics}{where}"
