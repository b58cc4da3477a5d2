"""Secrets, set from the keyboard or standard input: every user can see command lines. And passwords that change."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.change import Label
from everup.cli.exits import Usage
from everup.cli.session import Session, session_of
from everup.model.errors import NotFound

if TYPE_CHECKING:
    from everup.cli.client import Client, Json


class What(StrEnum):
    """What `everup secret` is told."""

    SET = "set"
    LIST = "list"
    REMOVE = "remove"


def secret(
    context: typer.Context,
    what: Annotated[What, typer.Argument(metavar="set|list|remove", help="Set one, list all, or forget one.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The secret.")] = None,
) -> None:
    """Keep values that must not stand in the spec file, which names them: env: {API_KEY: {secret: NAME}}.

    set asks for the value, or reads it from standard input (a line end at its end is not part of it). It is encrypted
    at rest, and no command shows it again. Whoever uses it reads it when it starts: everup restart LABEL.

    Examples:

      everup secret set stripe-key

      everup secret set stripe-key < key.txt

      everup secret list

      everup secret remove stripe-key
    """
    session = session_of(context)
    if (name is None) != (what == What.LIST):
        raise Usage(f"secret {what} takes {'no name' if name else 'a name'}", "everup secret --help")
    value = _value(name) if what == What.SET and name else ""
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session, start=True) as client:
        path = f"environments/{_environment(session, client)}/secrets"
        if what == What.LIST:
            body = client.get(path)
        elif what == What.SET:
            body = client.post(path, {"name": name, "value": value})
        else:
            body = client.post(f"{path}/{name}/remove")
    if session.as_json:
        render.show_json(body)
    elif what == What.LIST:
        _show(body)
    elif what == What.SET:
        print(f"{name} is set; {_reads(body)}")
    else:
        print(f"{name} is forgotten")


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
