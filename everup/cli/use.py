"""Using what runs: its variables, snippets, and a shell on it."""

import os
import shlex
import shutil
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from everup.cli.complete import labels
from everup.cli.exits import Usage
from everup.cli.session import Session, session_of

if TYPE_CHECKING:
    from everup.cli.client import Client

NO_SUCH_COMMAND, NOT_EXECUTABLE = 127, 126
"""Exit codes of `run` when the command itself cannot be run, as shells have them."""

OptionalLabel = Annotated[
    str | None, typer.Argument(metavar="LABEL", help="Only this service's variables.", autocompletion=labels)
]
Label = Annotated[str, typer.Argument(metavar="LABEL", help="The service.", autocompletion=labels)]


class Language(StrEnum):
    """Languages with a snippet."""

    PYTHON = "python"
    NODE = "node"
    RUBY = "ruby"
    GO = "go"
    JAVA = "java"
    SHELL = "shell"


def env(
    context: typer.Context,
    label: OptionalLabel = None,
    export: Annotated[
        bool, typer.Option("--export", help='Quoted for a shell: eval "$(everup env --export)".')
    ] = False,
) -> None:
    """Print the connection variables. They never change, also not on a failover.

    Examples:

      everup env

      everup env redis01 --json

      eval "$(everup env --export)"
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        by_label = _variables(client, session.name(client), label)
    if session.as_json:
        render.show_json(by_label[label] if label else by_label)
        return
    for name, value in _merged(by_label).items():
        print(f"export {name}={shlex.quote(value)}" if export else f"{name}={value}")


def run(context: typer.Context, label: OptionalLabel = None) -> None:
    """Run a command here, with the connection variables in its environment: everup run [LABEL] -- COMMAND.

    Ends with the command's own exit code.

    Examples:

      everup run -- python app.py

      everup run redis01 -- sh -c 'redis-cli -u $REDIS_URL ping'
    """
    session = session_of(context)
    if not session.tail:
        raise Usage("no command was given", "Put it after two dashes: everup run -- COMMAND")
    from everup.cli.daemon import control

    with control(session) as client:
        variables = _merged(_variables(client, session.name(client), label))
    become(session.tail, {**os.environ, **variables})


def connect(
    context: typer.Context,
    label: Label,
    lang: Annotated[Language, typer.Option("--lang", "-l", help="The snippet's language.")] = Language.PYTHON,
) -> None:
    """Print a snippet that connects to a service, with the live values.

    Examples:

      everup connect redis01

      everup connect redis01 --lang node > client.js
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        name = session.name(client)
        answer = client.get(f"environments/{name}/services/{label}/connect", language=lang.value)
    if session.as_json:
        render.show_json(answer)
    else:
        print(answer["snippet"].rstrip("\n"))


def shell(context: typer.Context, label: Label) -> None:
    """Open a shell on a service: redis-cli on the primary of a Redis, psql on that of a PostgreSQL.

    Examples:

      everup shell redis01

      echo PING | everup shell redis01
    """
    session = session_of(context)
    from everup.cli.client import service_in
    from everup.cli.daemon import control

    with control(session) as client:
        name = session.name(client)
        kind = service_in(client.get(f"environments/{name}"), label)["kind"]
        variables = _variables(client, name, label)[label]
    if kind == "postgres":
        _psql(label, variables)
    if kind != "redis":
        raise Usage(
            f"{label} is of kind {kind}, which has no shell of its own",
            f"Start one with its variables: everup run {label} -- $SHELL",
        )
    _redis_shell(session, label, variables)


def _psql(label: str, variables: Mapping[str, str]) -> NoReturn:
    """Become psql, the one on PATH or the one that came with Everup; the password is not among its words."""
    from everup.engines.local.programs import Programs

    program = shutil.which("psql") or str(Programs({}, os.environ).find("psql").path)
    start = label.upper().replace("-", "_")
    names = {"HOST": "PGHOST", "PORT": "PGPORT", "USER": "PGUSER", "PASSWORD": "PGPASSWORD", "NAME": "PGDATABASE"}
    become((program,), {**os.environ, **{name: variables[f"{start}_{suffix}"] for suffix, name in names.items()}})


def _redis_shell(session: Session, label: str, variables: Mapping[str, str]) -> None:
    url = variables[f"{label.upper().replace('-', '_')}_URL"]
    program = next((found for one in ("redis-cli", "valkey-cli") if (found := shutil.which(one))), None)
    if program:
        from urllib.parse import unquote, urlsplit

        parts = urlsplit(url)
        password = {"REDISCLI_AUTH": unquote(parts.password)} if parts.password else {}
        become((program, "-h", parts.hostname or "", "-p", str(parts.port)), {**os.environ, **password})
    from everup.cli.redis_shell import converse

    raise typer.Exit(converse(url))


def become(command: tuple[str, ...], environ: Mapping[str, str]) -> NoReturn:
    """Replace this process by `command`; ends with 127 or 126 when that cannot be done."""
    from everup.cli.exits import report
    from everup.model.errors import EverupError

    try:
        os.execvpe(command[0], command, dict(environ))
    except FileNotFoundError:
        report(EverupError(f"{command[0]}: there is no such command", code="run.not_found"), as_json=False)
        raise typer.Exit(NO_SUCH_COMMAND) from None
    except OSError as error:
        report(EverupError(f"{command[0]} cannot be run: {error.strerror}", code="run.failed"), as_json=False)
        raise typer.Exit(NOT_EXECUTABLE) from None


def _variables(client: "Client", name: str, label: str | None) -> dict[str, dict[str, str]]:
    from everup.model.errors import NotFound

    by_label: dict[str, dict[str, str]] = client.get(f"environments/{name}/variables")
    if label is None:
        return by_label
    if label not in by_label:
        raise NotFound(f"{name} has no service {label}", f"It has: {', '.join(by_label)}", label=label)
    return {label: by_label[label]}


def _merged(by_label: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {name: value for variables in by_label.values() for name, value in variables.items()}
