"""Tokens on the command line: create, list, revoke."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.exits import Usage
from everup.cli.session import session_of
from everup.model.access import Level

if TYPE_CHECKING:
    from everup.cli.client import Json

NEVER = "never"

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}

Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is called; the audit log and lists say it.")]


def create_token(
    context: typer.Context,
    name: Name,
    level: Annotated[Level, typer.Option(help="viewer looks; developer deploys; operator does everything.")],
    environment: Annotated[
        list[str] | None,
        typer.Option("--environment", "-e", metavar="NAME", help="Only for this one; may come again. Default: all."),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="30d|12h|never", help="How long it is valid.")] = "90d",
) -> None:
    """Make a token and print it, this once: it is kept nowhere but as a hash.

    Examples:

      everup token create ci --level developer --environment shop --expires 30d

      everup token create wall --level viewer --expires never
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    wanted = environment or ([session.environment] if session.environment else None)
    body = {"name": name, "level": level.value, "environments": wanted, "expires_in_s": lifetime_s(expires)}
    with control(session, start=True) as client:
        answer = client.post("tokens", body)
    if session.as_json:
        render.show_json(answer)
        return
    typer.echo(f"{name}: {_says(answer)}; shown only now:", err=True)
    print(answer["secret"])


def list_tokens(context: typer.Context) -> None:
    """List the tokens there are, with their level, environments, expiry and last use.

    Examples:

      everup token list

      everup token list --json
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        answer = client.get("tokens")
    if session.as_json:
        render.show_json(answer)
    elif not answer["tokens"]:
        print("there is no token; to make one: everup token create NAME --level viewer")
    else:
        render.show(render.plain_grid([_row(one) for one in answer["tokens"]]))


def revoke_token(context: typer.Context, name: Name) -> None:
    """End a token, at once.

    Examples:

      everup token revoke ci
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        answer = client.delete(f"tokens/{name}")
    if session.as_json:
        render.show_json(answer)
    else:
        print(f"{name} is not valid any more")


def lifetime_s(text: str) -> float | None:
    """How long a token is to be valid, in seconds; None for ever.

    Raises:
        Usage: it is no such time.
    """
    if text == NEVER:
        return None
    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if not found or not int(found[1]):
        raise Usage(f"{text!r} is no time for a token to live", "Write for example 30d, 12h, 15m, or never.")
    return float(int(found[1]) * _UNITS_S[found[2]])


def _says(token: "Json") -> str:
    where = ", ".join(token["environments"]) if token["environments"] else "all environments"
    return f"{token['level']} of {where}, {_until(token)}"


def _until(token: "Json") -> str:
    return f"until {token['expires_utc'][:16].replace('T', ' ')} UTC" if token["expires_utc"] else "for ever"


def _row(token: "Json") -> list[str]:
    where = ", ".join(token["environments"]) if token["environments"] else "all environments"
    used = f"used {token['used_utc'][:16].replace('T', ' ')}" if token["used_utc"] else "never used"
    return [token["name"], token["level"], where, _until(token), used]
