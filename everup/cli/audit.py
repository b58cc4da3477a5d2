"""The audit log: who asked for what, when, from where, what came of it, and whether the log is whole."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.exits import UNHEALTHY
from everup.cli.session import Session, session_of

if TYPE_CHECKING:
    from rich.text import Text

    from everup.cli.client import Client, Json
    from everup.core.chain import Chain

PAGE = 1000

UNSHOWN = ("directory", "text_sha256")
"""Arguments that only --json shows."""

COMMON = ("v1", "ui", "environments", "services", "nodes")
"""Words of routes that say nothing of what is done."""


def list_entries(
    context: typer.Context,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many requests to show.")] = 50,
) -> None:
    """Show who changed what, read passwords or signed in: every such request, also those that were refused.

    The word list may be left out.

    Examples:

      everup audit

      everup audit -n 500 --json
    """
    session = session_of(context)
    from everup.cli import render
    from everup.cli.daemon import control

    with control(session) as client:
        entries = list(_newest(client, lines))
    if session.as_json:
        render.show_json({"entries": entries})
    else:
        for line in told(entries, lines):
            render.show(line)


def verify_log(
    context: typer.Context,
    head: Annotated[
        str, typer.Option("--head", metavar="HASH", help="The head of an earlier time, kept elsewhere.")
    ] = "",
) -> None:
    """Check that no entry of the audit log was changed or taken out.

    It follows the chain of hashes from the first entry, prints the hash at its head, and ends with 3 at the first
    entry that is not as it was written. Keep the head where nobody who can write here can: --head compares it later,
    and only that proves that nothing is missing at the end.

    Examples:

      everup audit verify

      everup audit verify --head 5f0c2a...
    """
    session = session_of(context)
    from everup.cli.daemon import control
    from everup.core.chain import verify

    with control(session) as client:
        found = verify(_all(client), head.lower())
    _show_verdict(session, found)


def _show_verdict(session: Session, found: "Chain") -> None:
    from everup.cli import render

    whole = found.broken is None
    if session.as_json:
        render.show_json({"verdict": "whole" if whole else "broken", **asdict(found)})
    elif whole:
        print(f"{found.entries} entries, each as it was written\nhead {found.head}")
    else:
        print(f"broken: {found.because}\nthe {found.entries} entries before it are as they were written")
    if not whole:
        raise typer.Exit(UNHEALTHY)


def _all(client: "Client") -> Iterator["Json"]:
    """Every entry, oldest first."""
    after = 0
    while entries := client.get("audit", after=after, limit=PAGE)["entries"]:
        yield from entries
        after = entries[-1]["seq"]


def _newest(client: "Client", requests: int) -> Iterator["Json"]:
    """Enough of the newest entries, oldest first: a request has one or two."""
    newest = client.get("audit", after=-1)["entries"]
    after = max(0, newest[0]["seq"] - 2 * requests) if newest else 0
    while entries := client.get("audit", after=after, limit=PAGE)["entries"]:
        yield from entries
        after = entries[-1]["seq"]
        if len(entries) < PAGE:
            return


def told(entries: "list[Json]", requests: int) -> list["Text"]:
    """The newest requests, a line each; what was asked and never answered is marked."""
    answered = {one["asked"] for one in entries if one["asked"] is not None}
    return [_line(one) for one in entries if one["status"] is not None or one["seq"] not in answered][-requests:]


def _line(one: "Json") -> "Text":
    from rich.text import Text

    from everup.cli.render import clock

    status, where = one["status"], "/".join(one["where"].values())
    good = status is not None and status < 400
    outcome = "no answer" if status is None else "done" if good else one["code"] or str(status)
    shown = {name: str(value) for name, value in one["given"].items() if name not in UNSHOWN}
    given = " ".join(f"{name}={value}" for name, value in shown.items() if value not in ("", "None", "False"))
    return Text.assemble(
        (f"{one['seq']:>6}  {clock(one['at'])}  ", "dim"),
        (one["who"] or "nobody", "bold"),
        f" from {one['from']}  {_verb(one['what'])} {where} {given}".rstrip() + "  ",
        (outcome, "green" if good else "yellow"),
    )


def _verb(what: str) -> str:
    """What a route does, in the words that tell it from others."""
    method, _, route = what.partition(" ")
    words = [word for word in route.split("/") if word and word not in COMMON and not word.startswith("{")]
    return " ".join([method.lower(), *words] if method == "GET" and "/ui/" not in route else words)
