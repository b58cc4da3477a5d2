"""A node's home directory: its files, its seeds, its data, and the generation that data belongs to."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from everup.engines.local.statefile import replace_text
from everup.model.desired import Node
from everup.model.errors import NodeFailed

_GENERATION = "generation"


class Home:
    """The directory of one node, readable by its owner only.

    `name` is whose it is, where the directory is called otherwise.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self._name = name or path.name

    def make(self) -> None:
        """Create it where it is missing."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def furnish(self, node: Node, fill: Callable[[str], str]) -> None:
        """Write the files of `node`, and those of its seeds that are absent; `fill` completes their texts.

        Raises:
            NodeFailed: a name leads out of the home.
            OSError: something cannot be written; each file is there whole or not at all.
        """
        self.make()
        self.rewrite(node.files, fill)
        for name, text in node.seeds.items():
            place = self._place(name)
            if not place.exists():
                replace_text(place, fill(text))

    def rewrite(self, files: Mapping[str, str], fill: Callable[[str], str]) -> None:
        """Write texts by name, whether they are there or not.

        Raises:
            NodeFailed: a name leads out of the home.
            OSError: something cannot be written; each file is there whole or not at all.
        """
        for name, text in files.items():
            replace_text(self._place(name), fill(text))

    def has(self, keeps: Iterable[str]) -> bool:
        """Every glob of `keeps` matches something here."""
        return all(next(self.path.glob(pattern), None) is not None for pattern in keeps)

    def generation(self, keeps: Iterable[str]) -> int | None:
        """The generation its data was marked with; None when it never was, or when the data is gone.

        A mark that was made for another node says nothing: whoever clones that one copies it, finished or not.
        """
        keeps = tuple(keeps)
        try:
            marked, *whose = (self._beside(keeps) / _GENERATION).read_text().split()
            generation = int(marked)
        except (OSError, ValueError):
            return None
        return generation if whose in ([], [self._name]) and self.has(keeps) else None

    def disk_bytes(self) -> tuple[int, int] | tuple[None, None]:
        """What its file system has left for an ordinary user, and has in all; None while it does not exist."""
        try:
            found = os.statvfs(self.path)
        except OSError:
            return None, None
        used = found.f_blocks - found.f_bfree
        return found.f_bavail * found.f_frsize, (used + found.f_bavail) * found.f_frsize

    def mark(self, generation: int, keeps: Iterable[str]) -> None:
        """Note the generation, durably, among the data itself: a copy of the data that comes back brings its own."""
        folder = self._beside(tuple(keeps))
        replace_text(folder / _GENERATION, f"{generation} {self._name}\n")
        if os.geteuid() == 0:  # whoever copies the data must be able to read it
            os.chown(folder / _GENERATION, folder.stat().st_uid, folder.stat().st_gid)

    def _beside(self, keeps: tuple[str, ...]) -> Path:
        """The directory of what it keeps."""
        return (self.path / keeps[0]).parent if keeps else self.path

    def discard(self, trash: Path) -> None:
        """Delete it: out of sight at once, then piece by piece. Blocks; leftovers in `trash` may go later."""
        if not self.path.exists():
            return
        trash.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = (trash / f"{self.path.name}.{number}" for number in itertools.count())
        place = next(name for name in names if not name.exists())
        self.path.rename(place)
        shutil.rmtree(place, ignore_errors=True)

    def _place(self, name: str) -> Path:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise NodeFailed(f"{self._name}: the file name {name!r} leads out of its home", node=self._name)
        place = self.path / parts
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place
