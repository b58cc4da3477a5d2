"""The machine: what it has and lacks, the schema of spec files, the control plane in the foreground."""

import json
import os
import platform
import resource
import sys
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from everup.cli.exits import UNHEALTHY, Usage
from everup.cli.session import Session, session_of
from everup.model.errors import EverupError

DESCRIPTORS = 4096
"""Open files that a process should be allowed: an endpoint with a thousand clients needs two each."""


@dataclass(frozen=True)
class Check:
    """One line of `doctor`; `needed` things that are missing make it end with 3."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


def doctor(context: typer.Context) -> None:
    """Say what this machine has and lacks for Everup, and the command that brings it.

    Ends with 3 when something needed is missing. Docker is looked at where the spec file says engine: swarm, or an
    environment runs on a Swarm: its hosts, Everup's image, and the ports that must be reached from here.

    Examples:

      everup doctor

      everup doctor --json
    """
    session = session_of(context)
    session.here("doctor", "it looks at programs and kernel")
    from everup.cli import render

    checks = [*_programs(session), *_kernel(), *_control(session), *_docker(session)]
    ok = all(one.ok for one in checks if one.needed)
    if session.as_json:
        render.show_json({"ok": ok, "checks": [asdict(one) for one in checks]})
    else:
        render.show(render.checks([asdict(one) for one in checks]))
        print(
            "\nthis machine has what Everup needs"
            if ok
            else "\nsomething is missing; the lines with ○ say what brings it"
        )
    if not ok:
        raise typer.Exit(UNHEALTHY)


def _programs(session: Session) -> list[Check]:
    from everup.engines.local.programs import Programs

    settings: dict[str, str] = {}
    if session.find_file():
        try:
            settings = dict(session.parse()[1].programs)
        except EverupError:
            settings = {}  # a wrong spec is not this command's subject
    checks = []
    for one in Programs(settings, os.environ).survey():
        if one.program:
            found = f"{one.program.version}  {one.program.path}  ({one.program.origin})".strip()
            found += f"; {one.program.flaw}" if one.program.flaw else ""
            checks.append(Check(one.name, True, found))
        else:
            checks.append(Check(one.name, False, one.problem, one.remedy))
    return checks


def _kernel() -> list[Check]:
    from everup.engines.local.ports import loopback_range_usable

    new = sys.version_info >= (3, 11)
    python = Check("python version", new, platform.python_version(), "" if new else "Install Python 3.11 or newer.")
    watched = "pidfd: exits are seen at once" if _has_pidfd() else "no pidfd: exits are seen within 50 ms"
    exits = Check("exits", _has_pidfd(), watched, "" if _has_pidfd() else "Linux 5.3 or newer has it.", needed=False)
    usable = loopback_range_usable()
    loopback = Check(
        "loopback addresses",
        usable,
        "127.0.0.0/8: every node gets an address of its own"
        if usable
        else "only 127.0.0.1: nodes get ports of their own",
        needed=False,
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = hard == resource.RLIM_INFINITY or hard >= DESCRIPTORS
    words = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    files = Check("open files", many, f"up to {words} per process", "" if many else "ulimit -Hn 65536", needed=False)
    return [python, exits, loopback, files, _footing()]


def _footing() -> Check:
    from everup.engines.local.privilege import footing

    try:
        return Check("server user", True, footing().said, needed=False)
    except EverupError as error:
        return Check("server user", False, error.message, error.hint, needed=False)


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _control(session: Session) -> list[Check]:
    from everup.cli.daemon import answering

    home = session.home
    try:
        client = answering(home)
        found = client.get("control") if client else None
    except EverupError as error:
        return [Check("home", False, error.message, error.hint)]
    running = (
        f"pid {found['pid']}, runs {', '.join(found['running']) or 'nothing'}" if found else "none runs; up starts one"
    )
    return [Check("home", True, str(home.path)), Check("control plane", True, f"{running}; its log: {home.log}")]


def _docker(session: Session) -> list[Check]:
    """Docker and its Swarm, where somebody asks for them; a machine without either has all it needs."""
    if not _on_hosts(session):
        return []
    import asyncio

    from everup.engines.swarm.images import everup_named
    from everup.engines.swarm.place import remembered
    from everup.engines.swarm.survey import survey

    try:
        place = remembered(session.home.path / "swarm", keep=False)
        found = asyncio.run(survey(place, everup_named(os.environ)))
    except EverupError as error:
        return [Check("docker", False, error.message, error.hint)]
    return [Check(one.name, one.ok, one.found, one.remedy, one.needed) for one in found]


def _on_hosts(session: Session) -> bool:
    """The spec file, or an environment that was applied from here, is of a Swarm."""
    if any(session.home.path.glob("environments/*/cluster")):
        return True
    try:
        return session.find_file() is not None and session.parse()[1].engine == "swarm"
    except EverupError:
        return False


def schema(context: typer.Context) -> None:
    """Print the JSON Schema of everup.yaml, for editors.

    Examples:

      everup schema > everup.schema.json
    """
    from everup.cli import render
    from everup.kinds import load_kinds
    from everup.specfile.schema import schema as schema_of

    render.show_json(schema_of(load_kinds()))


def serve(
    context: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option(metavar="ADDR:PORT", help="Take requests there too, from whoever shows a token; else, as kept."),
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(metavar="FILE", help="Certificate (PEM): HTTPS.")] = None,
    tls_key: Annotated[str | None, typer.Option(metavar="FILE", help="Its key (PEM), without a passphrase.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Start nothing; keep --listen for every control plane, also that of up.")
    ] = False,
    install: Annotated[
        bool, typer.Option("--install", help="Have systemd run it, and start it whenever it ends.")
    ] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Have systemd run it no more.")] = False,
    show: Annotated[
        bool, typer.Option("--print", help="Show systemd's unit and the commands; change nothing.")
    ] = False,
    system: Annotated[
        bool | None, typer.Option("--system/--user", help="For the machine, or for you; default: the machine, if root.")
    ] = None,
) -> None:
    """Run the control plane in the foreground, until Ctrl-C; up starts one in the background by itself.

    What runs goes on running when it ends. It listens on a private Unix socket, and with --listen on a TCP port: HTTP
    on a loopback address, HTTPS on any. With --keep and no --listen, nothing is kept any more.

    Examples:

      everup serve --listen 127.0.0.1:7443

      everup serve --listen 10.0.0.5:7443 --tls-cert cert.pem --tls-key key.pem --keep

      everup serve --install --user
    """
    session = session_of(context)
    session.here("serve", "it is the control plane")
    if install or uninstall or show:
        from everup.cli import systemd

        systemd.perform(session, system=system, show_it=show, install_it=install)
        return
    words = _place(listen, tls_cert, tls_key)
    session.home.prepare()
    if keep:
        _keep(session, words)
        return
    environ = {**os.environ, "EVERUP_HOME": str(session.home.path)}
    os.execve(sys.executable, [sys.executable, "-P", "-m", "everup.serve", *words], environ)


def _place(listen: str | None, tls_cert: str | None, tls_key: str | None) -> list[str]:
    """Where to listen, as the control plane takes it; nothing for its socket only.

    Raises:
        EverupError: it is no address, or may not be listened on like that.
    """
    from everup.core.listening import listening

    if listen is None:
        if tls_cert or tls_key:
            hint = "everup serve --listen ADDR:PORT --tls-cert FILE --tls-key FILE"
            raise Usage("a certificate is for --listen", hint)
        return []
    listening(listen, tls_cert, tls_key)
    return [listen, *(os.path.abspath(one) for one in (tls_cert, tls_key) if one)]  # noqa: PTH100 - keeps symlinks


def _keep(session: Session, words: list[str]) -> None:
    """Keep in the home where the API listens, or, without words, keep nothing any more."""
    file = session.home.listening
    if words:
        file.write_text(json.dumps(words))
        file.chmod(0o600)
    else:
        file.unlink(missing_ok=True)
    print(f"kept in {file}" if words else "the API is on its Unix socket only")
    print("a control plane does so from its next start on: everup serve, or the first up after all was down")
