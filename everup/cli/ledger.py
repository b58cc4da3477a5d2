"""The ledger of lost writes: what only former primaries had, and where it is kept."""

from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.complete import labels
from everup.cli.session import session_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Group
    from rich.text import Text

    from everup.cli.client import Json

SHOWN_KEYS = 10

TOLD = {
    False: "clients may have been told that it was written",
    True: "commits wait for a standby here, so only who chose not to wait was told that it was written",
}
"""By whether writes wait for another node: who may count on what was lost."""

Only = Annotated[str | None, typer.Argument(metavar="LABEL", help="Only this service.", autocompletion=labels)]


def lost(context: typer.Context, label: Only = None) -> None:
    """Say which writes a failover has lost, and where they are kept.

    Before a former primary follows its successor, what it has alone is put aside: of Redis the commands, in a file that
    redis-cli --pipe could write again; of PostgreSQL the WAL, with what is in it in words. Nothing of it is ever
    deleted but by everup down --destroy. Whoever has dealt with an entry deletes its folder.

    Examples:

      everup lost

      everup lost redis01

      everup lost --json
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.client import service_in
    from everup.cli.daemon import control

    with control(session) as client:
        name = session.name(client)
        body = client.get(f"environments/{name}/lost")
        if label:
            body = only(body, service_in(client.get(f"environments/{name}"), label))
    if session.as_json:
        render.show_json(body)
    else:
        render.show(told(body))


def only(body: "Json", service: "Json") -> "Json":
    """The ledger of one service of a status."""
    return {**body, **service["lost"], "kept": [one for one in body["kept"] if one["service"] == service["label"]]}


def told(body: "Json") -> "Group":
    """A ledger for people: a heading, and a paragraph for each entry, the newest last."""
    from rich.console import Group
    from rich.text import Text

    from everup.cli.render import counted

    head = Text.assemble((body["environment"], "bold"), " · ")
    if not body["kept"]:
        return Group(head.append("no lost writes are kept here"))
    head.append(f"{counted(body['writes'])} that only a former primary had", "yellow")
    return Group(head, *(line for one in body["kept"] for line in _paragraph(one)))


def _paragraph(one: "Json") -> "Iterator[Text]":
    from rich.text import Text

    from everup.cli.render import clock, counted
    from everup.core.words import size_of

    about = "" if one["exact"] else "about "
    span = f"   {one['from']} to {one['to']}" if one["from"] else ""
    what = Text(f"{about}{counted(one['writes'])}, {size_of(one['bytes'])}", "yellow")
    yield Text()
    yield Text.assemble("  ", (one["service"], "bold"), f"   {clock(one['at'])}   ", what, span)
    yield Text(f"    {one['node']} had it, {one['successor']} has not; {TOLD[one['waited']]}")
    if one["because"]:
        yield Text(f"    {one['because']}")
    if one["keys"]:
        more = ", …" if len(one["keys"]) > SHOWN_KEYS else ""
        yield Text(f"    keys: {', '.join(one['keys'][:SHOWN_KEYS])}{more}")
    yield from (Text(f"    {one['folder']}/{name}", "cyan") for name in one["files"])
