"""Running programs that refuse to run as root, when Everup itself is root; or as a user without a name.

In a user namespace of its own a process is somebody else for itself and still root for the files it opens: nothing has
to change hands. Where the kernel or a container forbids that, the program runs as a dedicated user, who then owns the
node's home.
"""

import functools
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from everup.model.errors import EngineError

DEDICATED = ("everup", "postgres")
"""Users that servers may run as where namespaces are forbidden; the first that exists."""

OWN_FOLDERS = 4
"""How many directories above a home are Everup's: `nodes`, the environment, `environments`, the home of all."""

OPENED = 0o701
"""The mode of those that a dedicated user must pass through."""

_NAMES = (*DEDICATED, "nobody", "daemon")  # who root seems to be in a namespace: PostgreSQL wants a user with a name
_PROBE_S = 5.0
_SYS_PTRACE = 19  # CAP_SYS_PTRACE: to see what another user's processes are


@dataclass(frozen=True)
class Footing:
    """How to run a program as somebody who is not root: the words before its own, and who then owns its files.

    `owner` is (user id, group id) or None where nothing changes hands; `said` is for `everup doctor`.
    """

    words: tuple[str, ...]
    owner: tuple[int, int] | None
    said: str

    def own(self, home: Path, names: Iterable[str]) -> None:
        """Give a node's home to whoever its program runs as, and let that user through to it.

        Args:
            home: what is in it belongs to its owner already, but for the files `names`, which Everup writes.

        Raises:
            OSError: it cannot be given away.
            EngineError: that user cannot get there (code `engine.home_out_of_reach`).
        """
        if os.geteuid() != 0:
            return
        owner = self.owner or (0, os.getegid())
        if _owner(home) != owner:  # the home itself comes last: what was left half-way is begun again
            for folder, _, files in os.walk(home, topdown=False):
                for place in (*(f"{folder}/{name}" for name in files), folder):
                    os.chown(place, *owner, follow_symlinks=False)
        written = [home / name for name in names]
        for path in (*written, *(parent for one in written for parent in one.parents if home in parent.parents)):
            if _owner(path) != owner:
                os.chown(path, *owner, follow_symlinks=False)
        if self.owner:
            self._open_the_way(home)

    def _open_the_way(self, home: Path) -> None:
        for folder in home.parents[:OWN_FOLDERS]:
            if not folder.stat().st_mode & stat.S_IXOTH:
                folder.chmod(OPENED)
        reached = subprocess.run([*self.words, "test", "-x", str(home)], timeout=_PROBE_S, check=False).returncode == 0
        if not reached:
            raise EngineError(
                f"{home} is out of reach for the user that servers run as",
                "Set EVERUP_HOME to a directory that every user may pass through, such as /var/lib/everup.",
                code="engine.home_out_of_reach",
            )


@functools.lru_cache(maxsize=1)
def footing() -> Footing:
    """How programs that refuse to be root run on this machine; looked for once. Blocks for some milliseconds.

    A user that the machine has no name for, as containers are often given, is refused by PostgreSQL too.

    Raises:
        EngineError: Everup is root, may not make a namespace, and there is nobody else (code `engine.only_root`).
    """
    if os.geteuid() != 0:
        nameless = _namespace("a user without a name") if not _has_name(os.geteuid()) else None
        return nameless or Footing((), None, "servers run as the user who started Everup")
    return _namespace("root") or dedicated()


def _has_name(user_id: int) -> bool:
    try:
        pwd.getpwuid(user_id)
    except KeyError:
        return False
    return True


def _namespace(who: str) -> Footing | None:
    unshare, name = shutil.which("unshare", path="/usr/bin:/bin:/usr/sbin"), _known(_NAMES)
    if unshare is None or name is None:
        return None
    words = (unshare, "-U", f"--map-user={name.pw_uid}", f"--map-group={name.pw_gid}")
    try:
        done = subprocess.run([*words, "true"], capture_output=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Footing(words, None, f"{who}: servers run in a user namespace") if done.returncode == 0 else None


def dedicated(*, alone: bool = False) -> Footing:
    """Running as a user that the machine keeps for it; `alone`: in a container, whose end says all about it.

    Raises:
        EngineError: there is nobody, or Everup could not see its processes (code `engine.only_root`).
    """
    user, setpriv = _known(DEDICATED), shutil.which("setpriv", path="/usr/bin:/bin:/usr/sbin")
    hint = "Run Everup as an ordinary user; or, as root: useradd --system everup"
    if user is None or setpriv is None:
        raise EngineError(
            "servers that refuse to run as root cannot be run: user namespaces are forbidden here, and there is no "
            f"user {' or '.join(DEDICATED)}{'' if setpriv else ' and no setpriv'}",
            hint,
            code="engine.only_root",
        )
    if not alone and sys.platform == "linux" and not _sees_others():
        raise EngineError(
            f"servers cannot run as {user.pw_name}: this container hides other users' processes from root, so their "
            "death could never be confirmed",
            "Run Everup as an ordinary user, or give the container CAP_SYS_PTRACE.",
            code="engine.only_root",
        )
    words = (setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--")
    return Footing(words, (user.pw_uid, user.pw_gid), f"root: servers run as the user {user.pw_name}")


def _owner(place: Path) -> tuple[int, int]:
    found = place.lstat()
    return found.st_uid, found.st_gid


def _known(names: tuple[str, ...]) -> pwd.struct_passwd | None:
    for name in names:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _sees_others() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _SYS_PTRACE & 1)
    return False
