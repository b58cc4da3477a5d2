"""From a node to the words that start it: its program found, its environment put together, its ports looked at."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from everup.engines.local import kernel, privilege
from everup.engines.local.gate import Launch
from everup.engines.local.home import Home
from everup.engines.local.listeners import in_use, owner
from everup.engines.local.programs import Programs
from everup.model.desired import Node, Part, Tcp
from everup.model.errors import EngineError, EverupError, NodeFailed

_PASSED_ON = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_PATH = "/usr/local/bin:/usr/bin:/bin"


Reveal = Callable[[str], str]
"""The value of the secret of that name; an `EverupError` where there is none to be had."""

Fill = Callable[[str], str]
"""Completes a text of a node: puts paths where it says `{home}` and `{bin:NAME}`."""


def filler(node: Node, home: Home, programs: Programs) -> Fill:
    """How the texts of `node` are completed. Blocks as `prepare` does.

    Raises:
        NodeFailed: a program that it uses is missing.
    """
    return completing(paths(node, home, programs))


def paths(node: Node, home: Home, programs: Programs) -> dict[str, str]:
    """What stands in the texts of `node` -> the path that it stands for. Blocks as `prepare` does.

    Raises:
        NodeFailed: a program that it uses is missing.
    """
    found = {"{home}": str(home.path)}
    for name in node.uses:
        try:
            found[f"{{bin:{name}}}"] = str(programs.find(name).path.parent)
        except EngineError as error:
            raise _missing(node, name, error.message, error.hint) from error
    return found


def completing(paths: Mapping[str, str]) -> Fill:
    """Puts those paths where a text says so."""

    def fill(text: str) -> str:
        for word, path in paths.items():
            text = text.replace(word, path)
        return text

    return fill


def prepare(
    node: Node, home: Home, programs: Programs, marker: str, extra_args: tuple[str, ...], reveal: Reveal
) -> Launch:
    """Everything needed to start `node`. Blocks for some milliseconds when a program is looked at for the first time.

    Raises:
        NodeFailed: its program, its directory or a secret is missing, or it may not run as root and nobody else can be
            found.
    """
    fill = filler(node, home, programs)
    env = {**_environment(node, fill, marker), **confided(node, reveal)}
    cwd = fill(node.cwd) if node.cwd else str(home.path)
    if not Path(cwd).is_dir():
        raise NodeFailed(f"{node.id}: its directory {cwd} does not exist", "Correct `cwd` in the spec.", node=node.id)
    words = [_find(node, programs, env["PATH"], cwd), *map(fill, (*node.args, *extra_args))]
    if node.unprivileged:
        words = [*step_down(node, home, privilege.footing), *words]
    return Launch(words=words, env=env, cwd=cwd, log=home.path / "out.log")


def step_down(node: Node, home: Home, find: Callable[[], privilege.Footing]) -> tuple[str, ...]:
    """The words by which an engine that is root becomes somebody else; the home is given to that user.

    Raises:
        NodeFailed: `find` finds nobody, or that user cannot get there.
    """
    try:
        footing = find()
        footing.own(home.path, (*node.files, *node.seeds))
    except EngineError as error:
        raise NodeFailed(f"{node.id}: {error.message}", error.hint, code=error.code, node=node.id) from error
    return footing.words


def check_ports(node: Node) -> None:
    """See that nobody listens where `node` is going to.

    Raises:
        NodeFailed: somebody does (code `engine.address_in_use`), or nobody can.
    """
    for name, address in node.ports.items():
        try:
            taken = in_use(address)
        except OSError as error:
            raise NodeFailed(
                f"{node.id}: cannot listen on {address} ({name}): {error.strerror}",
                "See what this machine lacks: everup doctor",
                code="engine.address_unusable",
                node=node.id,
            ) from error
        if taken:
            raise _address_in_use(node, name, address)


def _address_in_use(node: Node, name: str, address: Tcp) -> NodeFailed:
    who = owner(address) or "another process"
    return NodeFailed(
        f"{node.id}: {address} ({name}) is in use by {who}",
        "Stop that process; Everup tries again by itself.",
        code="engine.address_in_use",
        node=node.id,
        address=str(address),
    )


def _environment(node: Node, fill: Fill, marker: str) -> dict[str, str]:
    base = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    own: Mapping[str, str] = {**node.ambient, **node.env}
    filled = {name: fill(text) for name, text in own.items()}
    return {"PATH": _PATH, **base, **filled, kernel.MARKER: marker}


def confided(node: Node, reveal: Reveal) -> dict[str, str]:
    """The variables whose values are secrets, with these. Blocks as `reveal` does.

    Raises:
        NodeFailed: one is not to be had.
    """
    try:
        return {variable: reveal(name) for variable, name in node.secrets.items()}
    except EverupError as error:
        raise NodeFailed(f"{node.id}: {error.message}", error.hint, code=error.code, node=node.id) from error


def _find(node: Node, programs: Programs, path: str, cwd: str) -> str:
    """The program's file. An instance runs the user's words, so its PATH comes first; other nodes are Everup's own."""
    name = node.program
    if "/" in name:
        place = Path(cwd, name)
        if place.is_file() and os.access(place, os.X_OK):
            return str(place)
        raise _missing(node, name, f"{place} {'cannot be executed' if place.exists() else 'does not exist'}")
    on_path = shutil.which(name, path=path)
    if node.part == Part.INSTANCE and on_path:
        return on_path
    if programs.knows(name):
        try:
            return str(programs.find(name).path)
        except EngineError as error:
            raise _missing(node, name, error.message, error.hint) from error
    if on_path:
        return on_path
    raise _missing(node, name, f"{name} is not in its PATH ({path})")


def _missing(node: Node, name: str, because: str, hint: str = "") -> NodeFailed:
    return NodeFailed(
        f"{node.id}: its program {name} cannot be started: {because}",
        hint or "Install it, or correct the spec; everup doctor says what Everup finds on this machine.",
        code="engine.program_missing",
        node=node.id,
        program=name,
    )
