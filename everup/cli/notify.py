"""Notifications: where they go, and whether they arrive."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.exits import FAILED, Usage
from everup.cli.session import Session, session_of
from everup.model.notices import Topic

if TYPE_CHECKING:
    from everup.cli.client import Client, Json


class Errand(StrEnum):
    """What `everup notify` is told."""

    ADD = "add"
    LIST = "list"
    TEST = "test"
    REMOVE = "remove"


def notify(
    context: typer.Context,
    what: Annotated[Errand, typer.Argument(metavar="add|list|test|remove", help="What to do.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The destination; test: all if none.")] = None,
    on: Annotated[
        list[Topic] | None, typer.Option("--on", help="add: only about this; may be given again. Default: everything.")
    ] = None,
) -> None:
    """Tell people of incidents, changed primaries, failed drills and lost redundancy: by mail, chat, webhook, ...

    add asks for a URL as Apprise writes them (mailto://, slack://, json://host/path, ...), or reads it from standard
    input; it is kept in the store and shown to nobody. With -e it gets the messages of that environment alone.

    Examples:

      everup notify add oncall --on incident --on redundancy

      pass show chat-url | everup notify add team

      everup notify test
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    if what in (Errand.ADD, Errand.REMOVE) and not name:
        raise Usage(f"notify {what} needs a NAME", f"everup notify {what} oncall")
    with control(session, start=what != Errand.LIST) as client:
        if what == Errand.LIST:
            body = client.get("notifications")
        elif what == Errand.TEST:
            body = client.post("notifications/test", {"name": name})
        elif what == Errand.REMOVE:
            body = client.delete(f"notifications/{name}")
        else:
            body = _add(session, client, str(name), on or [])
    if session.as_json:
        render.show_json(body)
    else:
        _say(what, body)
    if not all(one["sent"] for one in body.get("deliveries", ())):
        raise typer.Exit(FAILED)


def _add(session: Session, client: "Client", name: str, on: list[Topic]) -> "Json":
    asked = sys.stdin.isatty()
    url = typer.prompt("Apprise URL (not shown)", hide_input=True, err=True) if asked else sys.stdin.readline()
    if "://" not in url:
        raise Usage("no URL was given", "https://appriseit.com/services lists what is possible.")
    environments = [session.environment] if session.environment else []
    topics = [topic.value for topic in on]
    return client.post(
        "notifications", {"name": name, "url": url.strip(), "topics": topics, "environments": environments}
    )


def _say(what: Errand, body: "Json") -> None:
    if what == Errand.TEST:
        for one in body["deliveries"]:
            print(f"{one['name']}: {'sent' if one['sent'] else 'not sent: ' + one['because']}")
    elif what == Errand.REMOVE:
        print(f"{body['name']} was removed")
    elif what == Errand.ADD:
        print(f"added: {_line(body)}; try it: everup notify test {body['name']}")
    elif not body["destinations"]:
        print("nobody is told of anything; everup notify add NAME")
    else:
        print("\n".join(map(_line, body["destinations"])))


def _line(one: "Json") -> str:
    topics = ", ".join(one["topics"]) or "everything"
    where = f" in {', '.join(one['environments'])}" if one["environments"] else ""
    return f"{one['name']}  {one['scheme']}://…  {topics}{where}"
