"""How a command ends: one table of exit codes, and errors told to people and to programs."""

import functools
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec

from everup.model.errors import EverupError, Inconclusive, NotPermitted, SpecError

DONE, FAILED, USAGE, UNHEALTHY, FORBIDDEN, INTERRUPTED = 0, 1, 2, 3, 4, 130

CODES: Mapping[type[EverupError], int] = {
    SpecError: USAGE,
    NotPermitted: FORBIDDEN,
    Inconclusive: UNHEALTHY,
    EverupError: FAILED,
}
"""The most specific class of an error decides the exit code."""


class Usage(EverupError):
    """The command was called in a way that makes no sense."""

    default_code = "usage"


class Interrupted(Exception):
    """The user pressed Ctrl-C, and the command had nothing of its own to say about it."""


class ReaderGone(Exception):
    """Whoever read our output has gone."""


P = ParamSpec("P")


def told_apart(command: Callable[P, None]) -> Callable[P, None]:
    """A command whose interruption and lost reader reach the entry point: the argument parser swallows both."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except KeyboardInterrupt:
            raise Interrupted from None
        except BrokenPipeError:
            raise ReaderGone from None

    return wrapped


def code_of(error: EverupError) -> int:
    """The exit code of an error."""
    if isinstance(error, Usage):
        return USAGE
    return next(CODES[cls] for cls in type(error).__mro__ if cls in CODES)


def report(error: EverupError, *, as_json: bool) -> None:
    """Tell an error on stderr: what, where, what to do; as one object with `as_json`."""
    if as_json:
        print(json.dumps({"error": _object(error)}), file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for message, code, where, hint in _told(error):
        first, *more = message.splitlines() or [""]
        console.print(Text.assemble(("error: ", "bold red"), first, (f" [{code}]", "dim")))
        for line in more:
            console.print(Text(line))
        if where:
            console.print(Text(f"  {where}", "cyan"))
        if hint:
            console.print(Text("\n".join(f"  {line}" for line in hint.splitlines())))


def _told(error: EverupError) -> list[tuple[str, str, str, str]]:
    if isinstance(error, SpecError):
        return [(one.message, one.code, f"{error.file}:{one.line}:{one.column}", one.hint) for one in error.flaws]
    return [(error.message, error.code, "", error.hint)]


def _object(error: EverupError) -> dict[str, Any]:
    """The error as documented: `{code, message, hint, at}`, and every flaw of a spec."""
    if isinstance(error, SpecError):
        flaws = [
            {"code": one.code, "message": one.message, "hint": one.hint, "at": f"{error.file}:{one.line}:{one.column}"}
            for one in error.flaws
        ]
        return {**flaws[0], "flaws": flaws}
    at = next((str(value) for value in error.subject.values()), None)
    return {"code": error.code, "message": error.message, "hint": error.hint, "at": at}


def unexpected(error: BaseException, home: Path) -> EverupError:
    """An error nobody foresaw, as one line; its details go to a file."""
    text = "".join(traceback.format_exception(error))
    file = home / "crash.log"
    try:
        file.write_text(text)
    except OSError:
        with tempfile.NamedTemporaryFile("w", prefix="everup-crash-", suffix=".log", delete=False) as other:
            other.write(text)
            file = Path(other.name)
    return EverupError(
        f"something broke inside everup: {type(error).__name__}: {error}", f"The details are in {file}", code="internal"
    )
