"""Changing the revision that a service runs: deploy, rollback, restart."""

from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.apply import Timeout, seconds
from everup.cli.change import Label, Wait, ask
from everup.cli.session import Session, session_of, shorten

if TYPE_CHECKING:
    from everup.cli.client import Json


def deploy(context: typer.Context, label: Label, wait: Wait = True, timeout: Timeout = "300s") -> None:
    """Start every instance of an app or a worker anew, as the spec file now declares it, with no failed request.

    A stand-in takes requests first; then one instance after another ends its requests and is replaced. If the new
    revision is not ready in time (ready_within), or ends again and again, the former one comes back by itself.

    Examples:

      everup deploy web

      everup deploy web --no-wait
    """
    session = session_of(context)
    source = session.source().model_dump() if session.find_file() else None
    _roll(session, label, ("deploy", {"source": source}), seconds(timeout) if wait else None)


def rollback(
    context: typer.Context,
    label: Label,
    to: Annotated[
        int | None, typer.Option("--to", metavar="N", help="A revision; default: the newest other one that was good.")
    ] = None,
    wait: Wait = True,
    timeout: Timeout = "300s",
) -> None:
    """Run a former revision of an app or a worker again: its command line, environment and directory.

    What a directory held then is not kept: deploy each version to a folder of its own.

    Examples:

      everup rollback web

      everup rollback web --to 3
    """
    session = session_of(context)
    _roll(session, label, ("rollback", {"to": to}), seconds(timeout) if wait else None)


def restart(context: typer.Context, label: Label, wait: Wait = True, timeout: Timeout = "300s") -> None:
    """Restart every node of a service, one at a time, so that it goes on working.

    Examples:

      everup restart web
    """
    _roll(session_of(context), label, ("restart", {}), seconds(timeout) if wait else None)


def _roll(session: Session, label: str, request: "tuple[str, Json]", timeout_s: float | None) -> None:
    from everup.cli import render
    from everup.cli.client import service_in
    from everup.cli.daemon import control

    with control(session) as client:
        name = session.name(client)
        answer = ask(session, client, name, label, request, timeout_s)
        body = client.get(f"environments/{name}")
    done = timeout_s is not None
    if session.as_json:
        render.show_json({**answer, "done": done})
        return
    number = answer["revision"]
    what = f"runs revision {number}" if number else "was restarted"
    on_the_way = f"is to run revision {number}" if number else "is being restarted"
    print(f"{label} {what}" if done else f"{label} {on_the_way}; everup status {label} shows how far it is")
    if request[0] == "rollback":
        one = next(one for one in service_in(body, label)["revision"]["known"] if one["number"] == number)
        print(f"it runs: {render.what_runs(one)}\nthe next `everup up` deploys what {shorten(body['file'])} says")
