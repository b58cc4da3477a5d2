"""Looking: status, events, logs."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.complete import labels, nodes_and_labels
from everup.cli.exits import UNHEALTHY
from everup.cli.session import Session, session_of

if TYPE_CHECKING:
    from everup.cli.client import Client, Json

WATCH_S = 0.5

_COLOURS = (36, 35, 33, 32, 34, 96, 95, 93)

Name = Annotated[
    str | None, typer.Argument(metavar="LABEL", help="Only this service, with its nodes.", autocompletion=labels)
]


def status(
    context: typer.Context,
    label: Name = None,
    nodes: Annotated[bool, typer.Option("--nodes", "-n", help="Show every node.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay, and show every change, until Ctrl-C.")] = False,
) -> None:
    """Say how the services are: health, addresses, roles, the last incident.

    Ends with 3 when not everything is healthy.

    Examples:

      everup status

      everup status redis01 --watch

      everup status --json
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        name = session.name(client)
        body = _of(client, name, label)
        if watch and not session.as_json:
            _watch(client, name, label, nodes=nodes)
        elif session.as_json:
            render.show_json(body)
        else:
            render.show(render.status(body, labels=[label] if label else (), nodes=nodes or bool(label)))
    healths = {one["health"] for one in body["services"]} if label else {body["health"]}
    if not watch and healths != {"healthy"}:
        raise typer.Exit(UNHEALTHY)


def _of(client: "Client", name: str, label: str | None) -> "Json":
    """The status, with only the service `label` if one is given."""
    from everup.cli.client import service_in

    body = client.get(f"environments/{name}")
    return {**body, "services": [service_in(body, label)]} if label else body


def _watch(client: "Client", name: str, label: str | None, *, nodes: bool) -> None:
    from rich.live import Live

    from everup.cli import render

    with Live(console=render.console(), auto_refresh=False) as live:
        while True:
            body = _of(client, name, label)
            live.update(render.status(body, labels=[label] if label else (), nodes=nodes or bool(label)), refresh=True)
            time.sleep(WATCH_S)


def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and show what comes, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many to show from the past.")] = 50,
) -> None:
    """Say what happened: starts, exits, failovers, changes.

    With --json one object per line.

    Examples:

      everup events

      everup events -f

      everup events -n 1000 --json
    """
    session = session_of(context)
    from everup.cli.daemon import control

    with control(session) as client:
        name = session.name(client)
        past = list(client.lines(f"environments/{name}/events", after=0, follow=False))
        for one in past[-lines:] if lines else []:
            _show_event(session, one)
        if follow:
            after = past[-1]["seq"] if past else 0
            for one in client.lines(f"environments/{name}/events", after=after, follow=True):
                _show_event(session, one)


def _show_event(session: Session, one: "Json") -> None:
    from everup.cli import render

    if session.as_json:
        sys.stdout.write(json.dumps(one, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        render.show(render.event_line(one))


def logs(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="LABEL", help="A service, or one node of it.", autocompletion=nodes_and_labels)
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and show what comes, until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="How many lines of each node from the past.")
    ] = 100,
) -> None:
    """Show what the nodes of a service print.

    With --json one object per line: {node, line}.

    Examples:

      everup logs web

      everup logs web-2 -f -n 20
    """
    session = session_of(context)
    from everup.cli.daemon import control

    with control(session) as client:
        environment = session.name(client)
        body = client.get(f"environments/{environment}")
        ids = next(([node["id"] for node in one["nodes"]] for one in body["services"] if one["label"] == name), [name])
        width = max((len(node) for node in ids), default=0)
        for one in client.lines(f"environments/{environment}/logs/{name}", lines=lines, follow=follow):
            if session.as_json:
                sys.stdout.write(json.dumps(one, ensure_ascii=False) + "\n")
            else:
                sys.stdout.write(_prefix(one["node"], ids, width) + one["line"] + "\n")
            sys.stdout.flush()


def _prefix(node: str, ids: list[str], width: int) -> str:
    """The node's id in a colour of its own; nothing when only one node is shown."""
    if len(ids) < 2:
        return ""
    if not sys.stdout.isatty():
        return f"{node:<{width}} | "
    colour = _COLOURS[ids.index(node) % len(_COLOURS)] if node in ids else 37
    return f"\x1b[{colour}m{node:<{width}} │\x1b[0m "
