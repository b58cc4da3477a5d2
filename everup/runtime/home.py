"""Where Everup keeps its state on this machine: one private directory, with every path in it."""

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from everup.model.errors import EverupError, NotPermitted

SOCKET_LIMIT_BYTES = 100
"""Longest path used for a Unix socket; the kernel's own limit is 107 bytes on Linux and 103 on macOS."""


class Home:
    """The paths of one control plane. Creating a `Home` touches nothing; `prepare` makes the directories.

    Attributes:
        path: absolute; `$EVERUP_HOME`, by default `$XDG_STATE_HOME/everup`, else `~/.local/state/everup`.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - Path.resolve would follow symlinks

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> "Home":
        """The home that these environment variables lead to."""
        if environ.get("EVERUP_HOME"):
            return cls(Path(environ["EVERUP_HOME"]))
        state = environ.get("XDG_STATE_HOME")
        return cls((Path(state) if state else Path("~/.local/state")) / "everup")

    @property
    def socket(self) -> Path:
        """The API's Unix socket: in the home, or, where that path is too long, in a private directory under /tmp.

        Not under `$XDG_RUNTIME_DIR` or `$TMPDIR`: a cron job and a shell, which differ in both, must find the same one.
        """
        inside = self.path / "everup.sock"
        if len(os.fsencode(inside)) <= SOCKET_LIMIT_BYTES:
            return inside
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path("/tmp") / f"everup-{os.getuid()}-{name}" / "everup.sock"

    @property
    def lock(self) -> Path:
        """The file whose lock the one control plane of this home holds."""
        return self.path / "everup.lock"

    @property
    def use(self) -> Path:
        """The file whose lock commands share while they use the control plane; who ends it must have it alone."""
        return self.path / "everup.use"

    @property
    def store(self) -> Path:
        """The SQLite file with specs, grants and events."""
        return self.path / "everup.sqlite"

    @property
    def listening(self) -> Path:
        """Where the API listens besides its socket, if somebody asked for that once and for all."""
        return self.path / "listen.json"

    @property
    def log(self) -> Path:
        """What a control plane in the background prints."""
        return self.path / "everup.log"

    def environment(self, name: str) -> Path:
        """The directory of one environment."""
        return self.path / "environments" / name

    def prepare(self) -> None:
        """Make the home and the socket's directory, both mode 0700.

        A directory that was there and is empty or Everup's is closed to others; one with other files is only checked.

        Raises:
            NotPermitted: one of them belongs to another user, or others may write to it.
            EverupError: one of them cannot be made.
        """
        for directory in (self.path, self.socket.parent):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                if directory.stat().st_uid == os.getuid() and (self.lock.exists() or not any(directory.iterdir())):
                    directory.chmod(0o700)
            except OSError as error:
                raise EverupError(
                    f"{directory} cannot be made: {error.strerror}", "Set EVERUP_HOME to a directory of yours."
                ) from error
        self.check()

    def check(self) -> None:
        """Make sure that nobody else can have put a socket where ours is expected.

        Raises:
            NotPermitted: a directory belongs to another user, or others may write to it.
        """
        for directory in (self.path, self.socket.parent):
            try:
                found = directory.lstat() if directory != self.path else directory.stat()
            except FileNotFoundError:
                continue
            if found.st_uid != os.getuid():
                raise NotPermitted(
                    f"{directory} belongs to another user (uid {found.st_uid})",
                    "Run everup as that user, or set EVERUP_HOME to a directory of yours.",
                )
            if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
                raise NotPermitted(f"{directory} can be changed by other users", f"Close it: chmod 700 {directory}")
