"""Having a host left for maintenance, and used again: drain, undrain."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everup.cli.apply import Timeout, seconds
from everup.cli.exits import INTERRUPTED
from everup.cli.session import Session, session_of
from everup.model.errors import NotFound

if TYPE_CHECKING:
    from everup.cli.client import Client

Json = dict[str, Any]

POLL_S = 0.5

LEAVING = {"hands over": "leads", "moves": "moves", "is not well yet": "unwell"}
"""What is waited for before a host may be switched off, in words -> its key in what the API says of the host."""

HostName = Annotated[str, typer.Argument(metavar="HOST", help="The host, as everup status --nodes names it.")]
Force = Annotated[bool, typer.Option("--force", help="Also where a server is there that nobody can take over from.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow until the host is left.")]


def drain(
    context: typer.Context, host: HostName, force: Force = False, wait: Wait = True, timeout: Timeout = "300s"
) -> None:
    """Have a host of a Swarm left, so that it can be switched off without a client noticing.

    Primaries hand over, apps and workers move to other hosts, and nothing new comes. The other members of groups stay
    and run until the host is switched off. It is refused where a quorum would not outlive that.

    Examples:

      everup drain node1

      everup drain node1 --force
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        client.post(f"hosts/{host}/drain", {"force": force})
        found = _follow(session, client, host, seconds(timeout)) if wait else _site(client, host)
    if session.as_json:
        render.show_json(found)
    elif wait:
        print(f"{host} is left: it may be switched off, and back to use it: everup undrain {host}")
        for word, key in (("away with it, until it is back", "alone"), ("stay there, and are not missed", "stays")):
            if names := _names(found, key):
                print(f"  {word}: {', '.join(names)}")


def undrain(context: typer.Context, host: HostName) -> None:
    """Let a host be used again; what has left it does not come back by itself.

    Examples:

      everup undrain node1
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        client.post(f"hosts/{host}/undrain")
        found = _site(client, host)
    if session.as_json:
        render.show_json(found)
    else:
        print(f"{host} may be used again")


def _follow(session: Session, client: "Client", host: str, timeout_s: float) -> Json:
    """Say what is still there, until nothing is that has to leave, and all is well without it."""
    from everup.cli.progress import NotReady

    end_s, told = time.monotonic() + timeout_s, ""
    try:
        while True:
            found = _site(client, host)
            lists = {word: _names(found, key) for word, key in LEAVING.items()}
            text = "; ".join(f"{word}: {', '.join(names)}" for word, names in lists.items() if names)
            if not text:
                return found
            if text != told:
                told = text
                print(f"{host}: {text}", file=sys.stderr if session.as_json else sys.stdout, flush=True)
            if time.monotonic() > end_s:
                hint = "It stays drained, and goes on: everup status says what is waited for."
                raise NotReady(f"{host} is not left after {timeout_s:g} s; {text}", hint)
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        print(f"\nstopped watching; {host} stays drained: everup undrain {host} takes that back", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _site(client: "Client", host: str) -> Json:
    for one in client.get("hosts")["hosts"]:
        if one["name"] == host:
            found: Json = one
            return found
    raise NotFound(f"the host {host} has left", "See docker node ls.", host=host)


def _names(site: Json, key: str) -> list[str]:
    """What of all environments is there, with the environment where there are several."""
    several = len(site["environments"]) > 1
    each = site["environments"].items()
    return [f"{name}/{node}" if several else node for name, there in each for node in there[key]]
