"""The ledger of lost writes: what only former primaries had, and where it is kept."""

from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.complete import labels
from everup.cli.session import session_of

if TYPE_CHECKING:
    from rich.console import Group

    from everup.cli.client import Json

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

    from everup.cli.render import clock, counted, size_of

    head = Text.assemble((body["environment"], "bold"), " · ")
    if not body["kept"]:
        return Group(head.append("nothing lost is kept here"))
    lines = [head.append(f"{counted(body['writes'])} that only a former primary had", "yellow")]
    for one in body["kept"]:
        about = "" if one["exact"] else "about "
        what = f"{about}{counted(one['writes'])}, {size_of(one['bytes'])}"
        span = f" ({one['from']} to {one['to']})" if one["from"] else ""
        told_of = "nobody was told that they were done" if one["acknowledged"] == "none" else "some may be acknowledged"
        lines += [
            Text(),
            Text.assemble("  ", (one["service"], "bold"), f"   {clock(one['at'])}   ", (what, "yellow"), span),
            Text(f"    {one['node']} had them, {one['successor']} has not; {told_of}"),
            *([Text(f"    {one['because']}")] if one["because"] else []),
            *(
                [Text(f"    keys: {', '.join(one['keys'][:10])}{' …' if len(one['keys']) > 10 else ''}")]
                if one["keys"]
                else []
            ),
            Text(
                f"    {one['folder']}/{{{','.join(one['files'])}}}"
                if len(one["files"]) > 1
                else f"    {one['folder']}/{one['files'][0]}",
                "cyan",
            ),
        ]
    return Group(*lines)
