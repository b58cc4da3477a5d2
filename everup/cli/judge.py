"""Judging: can any one node be lost, and why is something as it is: check, explain."""

from typing import Annotated

import typer

from everup.cli.complete import labels
from everup.cli.exits import UNHEALTHY
from everup.cli.session import session_of

Label = Annotated[str, typer.Argument(metavar="LABEL", help="The service.", autocompletion=labels)]
Only = Annotated[str | None, typer.Argument(metavar="LABEL", help="Only this service.", autocompletion=labels)]


def check(context: typer.Context, label: Only = None) -> None:
    """Say whether any one node could be lost now, and where not: why, and what to do.

    The loss of each node is supposed in turn, and the rules that would be followed are asked. Ends with 3 when the
    answer is no. With several hosts the loss of each host is supposed, too.

    Examples:

      everup check

      everup check redis01

      everup check --json
    """
    session = session_of(context)
    from everup.cli import render, verdict
    from everup.cli.client import service_in
    from everup.cli.daemon import control

    with control(session) as client:
        body = client.get(f"environments/{session.name(client)}/check")
    if label:
        body = verdict.narrowed(body, service_in(body, label))
    if session.as_json:
        render.show_json(body)
    else:
        render.show(verdict.check(body))
    if body["verdict"] != "yes":
        raise typer.Exit(UNHEALTHY)


def explain(context: typer.Context, label: Label) -> None:
    """Say why a service is as it is: what is done now or waited for, who would lead next, what happened last.

    Who would lead is told candidate by candidate, with what each has of the data, and who votes. What would become of
    the service if a node were lost is found by asking the rules. The last incident is told from the events.

    Examples:

      everup explain redis01

      everup explain db01 --json
    """
    session = session_of(context)
    from everup.cli import render, verdict
    from everup.cli.daemon import control

    with control(session) as client:
        body = client.get(f"environments/{session.name(client)}/services/{label}/explain")
    if session.as_json:
        render.show_json(body)
    else:
        render.show(verdict.explanation(body))
