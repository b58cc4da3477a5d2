"""The command `everup`: its commands, its global options, and the one place where every failure ends."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from everup import __version__
from everup.cli import (
    apply,
    audit,
    change,
    dashboard,
    drill,
    hosts,
    judge,
    ledger,
    look,
    machine,
    notify,
    places,
    release,
    secret,
    store,
    swarm,
    tokens,
    use,
)
from everup.cli.arguments import hoist
from everup.cli.exits import (
    DONE,
    FAILED,
    INTERRUPTED,
    USAGE,
    Interrupted,
    ReaderGone,
    Usage,
    code_of,
    report,
    told_apart,
    unexpected,
)
from everup.cli.session import Session, session_of
from everup.model.errors import EverupError

EPILOG = "The options -f, -e, --json, --yes, --server and --token work before and after a command's name."

app = typer.Typer(
    name="everup",
    help="Keeps the services of an environment up: one file declares them, everup up runs them.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

COMMANDS: Mapping[str, tuple[Callable[..., None], ...]] = {
    "Bring up and take down": (apply.up, apply.plan, apply.down),
    "Look": (look.status, judge.check, judge.explain, ledger.lost, look.events, look.logs, dashboard.dashboard),
    "Connect": (use.env, use.run, use.connect, use.shell),
    "Change": (change.scale, change.limit, change.switchover, hosts.drain, hosts.undrain),
    "Release": (release.deploy, release.rollback, release.restart),
    "Prove": (drill.drill,),
    "Keep safe": (secret.rotate,),
    "This machine": (machine.doctor, machine.schema, machine.serve),
}
"""Heading of the help -> its commands, each named like its function."""

GROUPS: Mapping[str, tuple[str, str, Mapping[str, Callable[..., None]]]] = {
    "notify": (
        "Tell",
        "Tell people of incidents, changed primaries, failed drills and lost redundancy: by mail, chat, webhook, ...",
        {
            "add": notify.add_destination,
            "list": notify.list_destinations,
            "test": notify.test_destinations,
            "remove": notify.remove_destination,
        },
    ),
    "ha": (
        "Change",
        "Add redundancy to a service that runs, or take it away.",
        {"enable": change.enable_ha, "disable": change.disable_ha},
    ),
    "secret": (
        "Keep safe",
        "Values that must not stand in the spec file, which names them: env: {API_KEY: {secret: NAME}}.",
        {"set": secret.set_secret, "list": secret.list_secrets, "remove": secret.remove_secret},
    ),
    "audit": (
        "Keep safe",
        "Who changed what, when and from where; and whether that record is whole.",
        {"list": audit.list_entries, "verify": audit.verify_log},
    ),
    "store": (
        "This machine",
        "Back up what the control plane knows, or restore it.",
        {"backup": store.backup_store, "verify": store.verify_store, "restore": store.restore_store},
    ),
    "token": (
        "Access",
        "Who may use the API over TCP, and how far.",
        {"create": tokens.create_token, "list": tokens.list_tokens, "revoke": tokens.revoke_token},
    ),
    "context": (
        "Access",
        "Control planes elsewhere, each by a name.",
        {
            "add": places.add_context,
            "use": places.use_context,
            "list": places.list_contexts,
            "remove": places.remove_context,
        },
    ),
    "swarm": (
        "This machine",
        "The control plane inside of the Docker Swarm that it looks after.",
        {"install": swarm.install_in_swarm, "uninstall": swarm.uninstall_from_swarm},
    ),
}
"""A first word -> its heading, what it is about, and its commands by their second word."""

for _heading, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(_command.__name__, rich_help_panel=_heading, epilog=EPILOG)(told_apart(_command))

for _word, (_heading, _about, _members) in GROUPS.items():
    _group = typer.Typer(name=_word, help=_about, no_args_is_help=True, rich_markup_mode="rich")
    for _second, _command in _members.items():
        _group.command(_second, epilog=EPILOG)(told_apart(_command))
    app.add_typer(_group, rich_help_panel=_heading)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"everup {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="The spec file; default: everup.yaml here or in a folder above."
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option("--environment", "-e", metavar="NAME", help="The environment; default: the spec file's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer every question with yes.")] = False,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            help="The control plane to talk to, or local; default: $EVERUP_SERVER, else the context in use.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", metavar="TOKEN", help="What to show to it; others can read it in ps: rather $EVERUP_TOKEN."
        ),
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, help="Print the version.")] = False,
) -> None:
    """Note the global options for the command that follows."""
    session = session_of(context)
    session.file, session.environment, session.as_json, session.yes = file, environment, as_json, yes
    session.server, session.token = server, token


def run() -> None:
    """The entry point of the command; never shows a traceback."""
    words, tail = hoist(sys.argv[1:], {word: tuple(members) for word, (_, _, members) in GROUPS.items()})
    session = Session(tail=tail, as_json="--json" in words)
    code = DONE
    try:
        code = _invoke(words, session)
    except (ReaderGone, BrokenPipeError):
        _silence()
    except EverupError as error:
        code = code_of(error)
        _report(error, session)
    except (Interrupted, KeyboardInterrupt):
        code = INTERRUPTED
        print("\ninterrupted; whatever runs goes on running", file=sys.stderr)
    except Exception as error:
        code = FAILED
        _report(unexpected(error, session.home.path), session)
    sys.exit(code)


def _invoke(words: list[str], session: Session) -> int:
    try:
        code = app(words, prog_name="everup", standalone_mode=False, obj=session)
    except typer.Abort:
        print("stopped; nothing was changed", file=sys.stderr)
        return FAILED
    except typer.Exit as error:
        return error.exit_code
    except _PARSE_ERROR as error:
        return _misused(error, session)
    return code if isinstance(code, int) else DONE


_PARSE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""What the argument parser raises, whichever edition of it typer brings."""


def _misused(error: Exception, session: Session) -> int:
    describe = getattr(error, "format_message", None)
    message = (
        str(describe() if describe else error).strip().replace(": Value error, ", ": ")
    )  # typer says so of choices
    if not message:  # the help was shown instead
        return USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "everup"
    first = message[0].lower() + message[1:] if message else "the command line makes no sense"
    words = ", ".join(GROUPS[command.split()[-1]][-1]) if command.split()[-1] in GROUPS else ""
    hint = f"{command} --help shows what is possible{f': {words}' if words else ''}."
    _report(Usage(first.rstrip("."), hint), session)
    return USAGE


def _report(error: EverupError, session: Session) -> None:
    with contextlib.suppress(BrokenPipeError):
        report(error, as_json=session.as_json)


def _silence() -> None:
    """Whoever read our output has gone: write the rest nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
