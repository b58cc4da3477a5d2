"""Everup's image where there is no registry: a base of the machine's own distribution, built in a rig, kept as a file.

Everything is kept under build/rig by what it is made of, so that only what has changed is made again.
"""

import fcntl
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploy.image import ROOT, building, digest, gather, libraries_key, own_key
from tests.swarm.host import Host
from tests.swarm.rig import Rig

STORE = ROOT / "build" / "rig"
TAG = "everup:rig"
LIBRARIES_TAG = "everup-libraries:rig"
PACKAGES = ("python3", "passwd")
SOURCES = [Path("/etc/apt") / name for name in ("sources.list.d/debian.sources", "sources.list.d/ubuntu.sources")]
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
LEFT_OUT = ("doc", "man", "locale", "info")


def everup_image() -> Path:
    """The image of this checkout, named `TAG`, in a file for `Rig.load`; made when there is none of it yet.

    Raises:
        CalledProcessError: something could not be fetched or built; it has said why.
    """
    libraries = digest([ROOT / "Containerfile", ROOT / ".dockerignore"], libraries_key(), *PACKAGES, *LEFT_OUT)
    kept = STORE / f"everup-{libraries}-{own_key()}.tar"
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers of this run wait for it
        if not kept.exists():
            _make(kept, sorted(STORE.glob(f"everup-{libraries}-*.tar")))
    return kept


def _make(kept: Path, former: Sequence[Path]) -> None:
    gather()
    with Rig(hosts=1, swarm=False) as rig:
        if former:
            rig.load(former[0], LIBRARIES_TAG)
        _build(rig.hosts[0], kept, have_libraries=bool(former))
    for other in STORE.glob("everup-*.tar"):
        if other != kept:
            other.unlink()


def _build(builder: Host, kept: Path, *, have_libraries: bool) -> None:
    arguments = {"BASE": "everup-base:rig"}
    if not have_libraries:
        path = {"changes": f"ENV PATH={SYSTEM_PATH}"}
        builder.docker.post(
            "/images/create",
            params={"fromSrc": "-", "repo": "everup-base", "tag": "rig", **path},
            content=base().open("rb"),
        ).raise_for_status()
        _docker(builder, *building(LIBRARIES_TAG, arguments, "--target", "libraries"))
    _docker(builder, *building(TAG, {**arguments, "LIBRARIES": LIBRARIES_TAG}))
    partial = kept.with_suffix(".partial")
    _docker(builder, "save", "-o", str(partial), TAG, LIBRARIES_TAG)
    partial.rename(kept)


def _docker(builder: Host, *words: str) -> None:
    """Run the distribution's own docker, which fits its dockerd; silent, unless it fails."""
    place = ["env", f"PATH={SYSTEM_PATH}", "DOCKER_BUILDKIT=1", "docker", *words]
    done = builder.run(place, timeout_s=600, check=False)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, place, f"{done.stdout}{done.stderr}"[-4000:])


def base() -> Path:
    """A tree of the machine's own distribution with Python and little else, as a tar file; made when there is none."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release["VERSION_CODENAME"].strip('"')
    kept = STORE / f"base-{digest([], suite, *PACKAGES, *LEFT_OUT)}.tar"
    if not kept.exists():
        partial = kept.with_suffix(".partial.tar")
        sources = [str(path) for path in SOURCES if path.exists()][:1] or ["/etc/apt/sources.list"]
        left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
        words = ["--quiet", "--variant=essential", f"--include={','.join(PACKAGES)}", *left_out]
        subprocess.run(["mmdebstrap", *words, suite, str(partial), *sources], check=True, stdin=subprocess.DEVNULL)
        partial.rename(kept)
    return kept
