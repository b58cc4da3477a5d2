"""Changing what runs: scale, limit, ha, switchover."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everup.cli.apply import Timeout, seconds
from everup.cli.complete import labels
from everup.cli.exits import INTERRUPTED
from everup.cli.session import Session, session_of, shorten

if TYPE_CHECKING:
    from pathlib import Path

    from everup.cli.client import Client, Json

Label = Annotated[str, typer.Argument(metavar="LABEL", help="The service.", autocompletion=labels)]
Count = Annotated[int, typer.Argument(metavar="N", min=0, help="How many instances.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow until it is done.")]


def scale(context: typer.Context, label: Label, count: Count, wait: Wait = True, timeout: Timeout = "120s") -> None:
    """Run N instances of an app or a worker, within its limit; or N servers of a group with a primary.

    Examples:

      everup scale web 5

      everup scale db01 5

      everup scale web 2 --no-wait
    """
    _set(session_of(context), label, "scale", count, seconds(timeout) if wait else None)


def limit(context: typer.Context, label: Label, count: Count) -> None:
    """Allow a service up to N instances.

    Examples:

      everup limit web 9
    """
    _set(session_of(context), label, "limit", count, None)


def enable_ha(context: typer.Context, label: Label, wait: Wait = True, timeout: Timeout = "300s") -> None:
    """Make one server a group that survives the loss of any one, while clients write.

    The data stays where it is, and so does the address that follows the primary. The spec file is not edited.

    Examples:

      everup ha enable db01
    """
    _make_ha(session_of(context), label, True, seconds(timeout) if wait else None)


def disable_ha(context: typer.Context, label: Label, wait: Wait = True, timeout: Timeout = "300s") -> None:
    """Make a group one server, while clients write.

    The data stays where it is, and so does the address that follows the primary. The spec file is not edited.

    Examples:

      everup ha disable redis01
    """
    _make_ha(session_of(context), label, False, seconds(timeout) if wait else None)


def _make_ha(session: Session, label: str, enabled: bool, timeout_s: float | None) -> None:
    from everup.cli import render
    from everup.cli.client import service_in
    from everup.cli.daemon import control
    from everup.cli.progress import Follower

    with control(session) as client:
        name = session.name(client)
        begun = Follower(client, name)
        answer = ask(session, client, name, label, ("ha", {"enabled": enabled}), timeout_s)
        foreseen = answer["predicted_pause_s"] is not None
        measured = begun.await_field("pause.measured", label, "pause_s") if timeout_s is not None and foreseen else None
        body = client.get(f"environments/{name}")
    declared = _declared(body["file"], label, "ha")
    if session.as_json:
        size = service_in(body, label)["scale"]
        render.show_json({**answer, "label": label, "scale": size, "file_says": bool(declared), "pause_s": measured})
        return
    print(f"{label}: {answer['because']}")
    if foreseen:
        print(render.foresight(label, answer["predicted_pause_s"], answer["pause_because"]))
    if measured is not None:
        print(f"they waited {measured * 1000:.0f} ms at most")
    if declared is not None and bool(declared) != enabled:
        print(
            f"{shorten(body['file'])} still says ha: {'true' if declared else 'false'}; the next `everup up` does that"
        )


def switchover(
    context: typer.Context,
    label: Label,
    to: Annotated[
        str | None, typer.Option("--to", metavar="NODE", help="Who is to lead; default: the best one.")
    ] = None,
) -> None:
    """Hand the role of the primary to another node, losing nothing.

    Examples:

      everup switchover db01

      everup switchover db01 --to db01-3
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        name = session.name(client)
        answer = client.post(f"environments/{name}/services/{label}/switchover", {"to": to})
    if session.as_json:
        render.show_json(answer)
    else:
        print(f"{label}: {answer['because']}")


def _set(session: Session, label: str, what: str, count: int, timeout_s: float | None) -> None:
    from everup.cli import render
    from everup.cli.client import service_in
    from everup.cli.daemon import control

    with control(session) as client:
        name = session.name(client)
        before = service_in(client.get(f"environments/{name}"), label)
        change = ask(session, client, name, label, (what, {"count": count}), timeout_s)
        body = client.get(f"environments/{name}")
    after = service_in(body, label)
    file = body["file"]
    declared = _declared(file, label, "size" if what == "scale" else what)
    if session.as_json:
        render.show_json(
            {"label": label, what: after[what], "before": before[what], "file_says": declared, "change": change}
        )
        return
    noun = "servers" if after["limit"] is None else "instances" if what == "scale" else "instances allowed"
    if before[what] == after[what]:
        print(f"{label}: {after[what]} {noun}, as before")
    else:
        print(f"{label}: {before[what]} → {after[what]} {noun}")
    if declared is not None and declared != after[what]:
        print(f"{shorten(file)} still says {declared}; the next `everup up` sets it back")


def ask(
    session: Session, client: "Client", name: str, label: str, request: "tuple[str, Json]", timeout_s: float | None
) -> "Json":
    """Send the request, and with `timeout_s` follow until the service is as declared."""
    from everup.cli.progress import Follower, Screen, settle

    follower = Follower(client, name)
    answer = client.post(f"environments/{name}/services/{label}/{request[0]}", request[1])
    if timeout_s is None:
        return answer
    try:
        with Screen(f"{request[0]} {label}", quiet=session.as_json) as screen:
            settle(follower, screen, timeout_s=timeout_s, label=label)
    except KeyboardInterrupt:
        print(f"\nstopped watching; the control plane goes on with it: everup status {label}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    return answer


def _declared(file: "str | Path", label: str, what: str) -> Any:
    """What the spec file says of `what` now; None when it says nothing or cannot be read."""
    from pathlib import Path

    from everup.kinds import load_kinds
    from everup.model.errors import EverupError
    from everup.specfile.parse import parse

    try:
        environment = parse(Path(file).read_text(encoding="utf-8"), str(file), load_kinds())
    except (EverupError, OSError, UnicodeDecodeError):
        return None
    return getattr(environment.services.get(label), what, None)
