"""Secrets, set from the keyboard or standard input: every user can see command lines. And passwords that change."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.change import Label
from everup.cli.exits import Usage
from everup.cli.session import Session, session_of
from everup.model.errors import NotFound

if TYPE_CHECKING:
    from everup.cli.client import Client, Json


Name = Annotated[str, typer.Argument(metavar="NAME", help="The secret.")]


def set_secret(context: typer.Context, name: Name) -> None:
    """Keep a value, asked for here or read from standard input (a line end at its end is not part of it).

    It is encrypted at rest, and no command shows it again. Whoever uses it reads it when it starts: everup restart
    LABEL.

    Examples:

      everup secret set stripe-key

      everup secret set stripe-key < key.txt
    """
    session, value = session_of(context), _value(name)
    body = _asked(session, "", {"name": name, "value": value})
    if not session.as_json:
        print(f"{name} is set; {_reads(body)}")


def list_secrets(context: typer.Context) -> None:
    """List the secrets that are set, without their values, and who uses them.

    Examples:

      everup secret list

      everup secret list -e staging
    """
    session = session_of(context)
    body = _asked(session, "", None)
    if not session.as_json:
        _show(body)


def remove_secret(context: typer.Context, name: Name) -> None:
    """Forget a secret that nobody uses.

    Examples:

      everup secret remove stripe-key
    """
    session = session_of(context)
    _asked(session, f"/{name}/remove", {})
    if not session.as_json:
        print(f"{name} is forgotten")


def _asked(session: Session, path: str, body: "Json | None") -> "Json":
    """What the control plane answers to `body`, or to a question where that is None; shown as JSON where asked for."""
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session, start=True) as client:
        path = f"environments/{_environment(session, client)}/secrets{path}"
        answer = client.get(path) if body is None else client.post(path, body)
    if session.as_json:
        render.show_json(answer)
    return answer


def rotate(
    context: typer.Context,
    label: Label,
    finish: Annotated[bool, typer.Option("--finish", help="End the former password.")] = False,
    cut: Annotated[bool, typer.Option("--cut", help="With --finish: end its sessions too.")] = False,
) -> None:
    """Give the clients of a PostgreSQL or a Redis (auth: true) another password, while the former one goes on working.

    Services that need it here are restarted with the new variables, one instance after another. Whoever else uses it
    reads them again (everup env LABEL); once all have, --finish ends the former password. No server is restarted.

    Examples:

      everup rotate db01

      everup rotate db01 --finish

      everup rotate redis01 --finish --cut
    """
    session = session_of(context)
    if cut and not finish:
        raise Usage("--cut goes with --finish", f"everup rotate {label} --finish --cut")
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        path = f"environments/{session.name(client)}/services/{label}/rotate"
        body = client.post(path, {"finish": finish, "cut": cut})
    if session.as_json:
        render.show_json(body)
    elif finish:
        end = "all ended" if cut else "each goes on until it ends"
        may = f"sessions that may have begun with it: {body['sessions']}, {end}"
        had = may if body["sessions"] else "no session is left that began with it"
        print(f"{label}: {body['former']} can log in no more; {had}")
    else:
        print(f"{label}: clients log in as {body['user']} from now on; {body['former']} still can")
        if body["restarted"]:
            print(f"restarted with the new variables, one instance after another: {', '.join(body['restarted'])}")
        print(f"others: everup env {label}; once nobody logs in as {body['former']}: everup rotate {label} --finish")


def _environment(session: Session, client: "Client") -> str:
    """The environment that is meant; it need not have been applied yet."""
    try:
        return session.name(client)
    except NotFound as error:
        hint = "Say which environment: -e NAME, or go to the folder of its everup.yaml."
        raise NotFound(error.message, hint, code=error.code) from error


def _value(name: str) -> str:
    if sys.stdin.isatty():
        value = str(typer.prompt(f"value of {name}", hide_input=True, confirmation_prompt=True, err=True))
    else:
        try:
            value = sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise Usage(f"the value of {name} is not UTF-8 text", "Encode it first, in base64 say.") from None
    if not value:
        raise Usage(f"the value of {name} is empty", f"everup secret remove {name} forgets it.")
    return value


def _reads(body: "Json") -> str:
    """What is left to do for whoever uses it."""
    if body["used_by"]:
        labels = body["used_by"]
        return f"{' and '.join(labels)} will read it at the next start: everup restart {labels[0]}"
    return f"a service gets it by env: {{VARIABLE: {{secret: {body['name']}}}}}"


def _show(body: "Json") -> None:
    from rich.text import Text

    from everup.cli import render

    if not body["secrets"]:
        print("no secret is set")
    width = max((len(one["name"]) for one in body["secrets"]), default=0)
    for one in body["secrets"]:
        users = f"used by {', '.join(one['used_by'])}" if one["used_by"] else "used by nobody"
        render.show(Text(f"{one['name']:<{width}}   set {one['set_at_utc']} by {one['set_by']}   {users}"))
