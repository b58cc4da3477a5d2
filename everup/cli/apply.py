"""Bringing an environment up, looking ahead, and taking it down."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.exits import INTERRUPTED, Usage
from everup.cli.session import Session, session_of

if TYPE_CHECKING:
    from everup.cli.client import Client, Json
    from everup.cli.progress import NotReady
    from everup.model.spec import Source

DOWN_S = 300.0
"""Seconds that `down` follows the stop for."""

Timeout = Annotated[str, typer.Option(metavar="DURATION", help="Give up following after this long, e.g. 90s or 5m.")]


def up(context: typer.Context, timeout: Timeout = "120s") -> None:
    """Apply the spec file and wait until every service is healthy.

    Starts the control plane if none runs. Whatever is as declared is left alone: a second up changes nothing.

    Examples:

      everup up

      everup -f staging.yaml up --timeout 5m
    """
    session = session_of(context)
    timeout_s = seconds(timeout)
    source, environment = session.parse()
    from everup.cli.daemon import control

    with control(session, start=True) as client:
        try:
            _bring_up(session, client, source, environment.environment, timeout_s)
        except KeyboardInterrupt:
            print(
                "\nstopped watching; the control plane goes on with it. everup status shows how far it is, "
                "everup down stops everything",
                file=sys.stderr,
            )
            raise typer.Exit(INTERRUPTED) from None


def _bring_up(session: Session, client: "Client", source: "Source", name: str, timeout_s: float) -> None:
    from everup.cli import render
    from everup.cli.progress import Follower, Screen, settle

    follower = Follower(client, name)
    answer = client.post("apply", source.model_dump())
    with Screen(f"bringing {name} up", quiet=session.as_json) as screen:
        body = settle(follower, screen, timeout_s=timeout_s)
    if session.as_json:
        render.show_json({**body, "changes": answer["changes"]})
        return
    render.show(render.status(body))
    print()
    if not answer["changes"]:
        print("everything is as declared; nothing was changed")
    else:
        print(f"next: {_next_steps(body)}")


def _next_steps(body: "Json") -> str:
    label = next((one["label"] for one in body["services"] if one["endpoint"]), None)
    steps = ["everup env"] + ([f"everup connect {label}"] if label else [])
    return " · ".join([*steps, "everup status --nodes", "everup logs LABEL", "everup down"])


def plan(context: typer.Context) -> None:
    """Show what up would do, and change nothing.

    Examples:

      everup plan

      everup plan --json
    """
    session = session_of(context)
    source, environment = session.parse()
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session, start=True) as client:
        answer = client.post("plan", source.model_dump())
    if session.as_json:
        render.show_json(answer)
    elif not answer["changes"]:
        print(f"{environment.environment}: everything is as declared; up would change nothing")
    else:
        count = len(answer["changes"])
        render.show(render.changes(answer["changes"]))
        for pause in answer["pauses"]:
            print(f"\n  {render.foresight(pause['label'], pause['pause_s'], pause['because'])}", end="")
        print(f"\n{count} change{'s' if count > 1 else ''} to {environment.environment}; everup up makes them")


def down(
    context: typer.Context,
    destroy: Annotated[bool, typer.Option("--destroy", help="Delete the data of every service too.")] = False,
) -> None:
    """Stop every service of the environment; the data is kept.

    Asks first. The control plane ends too when nothing else is left for it to do.

    Examples:

      everup down

      everup down --destroy --yes
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import answering, control, end
    from everup.model.errors import NotFound

    if not session.place and not session.home.store.exists() and answering(session.home) is None:
        raise NotFound("no environment runs here, so there is nothing to stop", code="nothing_runs")
    with control(session) as client:
        name = session.name(client)
        body = client.get(f"environments/{name}")
        if body["stopped"] and not destroy and not _running(body):
            print(f"{name} is stopped already; its data is kept", file=sys.stderr if session.as_json else sys.stdout)
        else:
            _confirm(session, body, destroy=destroy)
            _take_down(session, client, name, destroy=destroy)
        ended = end(client)
    if session.as_json:
        render.show_json({"environment": name, "destroyed": destroy, "control_plane_ended": ended})


def _confirm(session: Session, body: "Json", *, destroy: bool) -> None:
    if session.yes:
        return
    what = f"Stop every service of {body['environment']}"
    if destroy:
        what += " and DELETE ALL ITS DATA"
        if lost := sum(one["lost"]["writes"] for one in body["services"]):
            what += f", with {lost:,} lost writes that are kept"
    if not sys.stdin.isatty():
        raise Usage(f"down would {what[0].lower()}{what[1:]}, and nobody is there to ask", "Say so beforehand: --yes")
    if not typer.confirm(f"{what}?", err=True):
        raise typer.Exit(1)


def _take_down(session: Session, client: "Client", name: str, *, destroy: bool) -> None:
    from everup.cli.progress import Follower, NotReady, Screen

    follower = Follower(client, name)
    client.post(f"environments/{name}/stop", {"destroy": destroy})
    left: list[str] = []
    with Screen(f"taking {name} down", quiet=session.as_json) as screen:
        for _, body in follower.watch(screen, DOWN_S):
            left = _running(body) if body else []
            if body is None or (body["stopped"] and not left and not destroy):
                break
            if not body["stopped"]:
                raise NotReady(f"{name} was started again meanwhile", "everup down stops it.", code="started")
        else:
            raise _unfinished(name, left)
    if not session.as_json:
        print(f"{name} is down; its data is deleted" if destroy else f"{name} is down; its data is kept")


def _unfinished(name: str, left: "list[str]") -> "NotReady":
    from everup.cli.progress import NotReady

    if left:
        return NotReady(f"{name} is not down after {DOWN_S:.0f} s: {', '.join(left)} still runs", "everup status")
    message = f"{name} is down, and not all of it is deleted after {DOWN_S:.0f} s; the control plane goes on with it"
    return NotReady(message, f"everup -e {name} events says what is waited for.", code="not_deleted")


def _running(body: "Json") -> list[str]:
    nodes = [node for service in body["services"] for node in service["nodes"]] + body["leaving"]
    return [node["id"] for node in nodes if node["pid"]]


def seconds(text: str) -> float:
    """A duration given on the command line, in seconds.

    Raises:
        Usage: it is none.
    """
    from everup.model.spec import parse_duration

    try:
        return float(parse_duration(text))
    except ValueError:
        raise Usage(f"{text!r} is not a duration", "Write for example 500ms, 90s or 5m.") from None
