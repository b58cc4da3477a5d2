"""The image of Everup with its servers: gathers the wheels that go into it, and builds it with Docker.

Usage: python -m deploy.image [TAG]. The variable BASE names another base; it needs a Python of this one's version.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from everup import __version__

ROOT = Path(__file__).parent.parent
LIBRARIES = ROOT / "build" / "wheels"
"""Wheels of what Everup stands on, and pip's own, which installs the others."""

OWN = ROOT / "build" / "own"
"""Everup's wheel."""

EARLIER = ("async-timeout>=4",)
"""What libraries want besides with an earlier patch release of the same Python, which the base may have: redis-py."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BASE = f"python:{PYTHON}-slim-bookworm"


def libraries_key() -> str:
    """What the wheels of `LIBRARIES` follow from, as a short hash."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return digest([], PYTHON, *EARLIER, *project["dependencies"], *project["optional-dependencies"]["servers"])


def own_key() -> str:
    """What Everup's wheel follows from, as a short hash."""
    sources = [path for path in (ROOT / "everup").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return digest([ROOT / "pyproject.toml", *sorted(sources)])


def digest(files: list[Path], *words: str) -> str:
    """A short hash of words and of files, their names within the project included."""
    whole = hashlib.sha256("\0".join(words).encode())
    for path in files:
        whole.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:12]


def gather() -> None:
    """Make Everup's wheel and, where pyproject.toml has changed since, get those of its libraries.

    Raises:
        CalledProcessError: pip could not; it has said why.
    """
    stamp = LIBRARIES / "made-of"
    if not stamp.exists() or stamp.read_text() != libraries_key():
        shutil.rmtree(LIBRARIES, ignore_errors=True)
        wheel(LIBRARIES, f"{ROOT}[servers]", "pip", *EARLIER)
        for path in LIBRARIES.glob("everup-*.whl"):
            path.unlink()
        stamp.write_text(libraries_key())
    shutil.rmtree(OWN, ignore_errors=True)
    wheel(OWN, "--no-deps", str(ROOT))


def wheel(folder: Path, *words: str) -> None:
    """Let pip put wheels into a folder."""
    pip = [sys.executable, "-m", "pip", "wheel", "-qq", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "--wheel-dir", str(folder), *words], check=True)


def building(tag: str, arguments: Mapping[str, str], *words: str) -> list[str]:
    """The words after `docker` that build the Containerfile offline, with these build arguments."""
    given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    return ["build", "--network=none", "-f", str(ROOT / "Containerfile"), "-t", tag, *given, *words, str(ROOT)]


def main() -> int:
    """Build the image; returns the exit code."""
    if not shutil.which("docker"):
        print(
            "error: docker builds the image, and is not on the PATH (Debian: apt-get install docker.io)",
            file=sys.stderr,
        )
        return 1
    tag = sys.argv[1] if len(sys.argv) > 1 else f"everup:{__version__}"
    try:
        gather()
    except subprocess.CalledProcessError:
        print("error: pip could not get or build every wheel; it says why above", file=sys.stderr)
        return 1
    words = building(tag, {"BASE": os.environ.get("BASE", BASE)})
    return subprocess.run(["docker", *words], env={**os.environ, "DOCKER_BUILDKIT": "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
