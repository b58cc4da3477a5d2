"""Backups of what the control plane knows: the store and the files beside it, in one checked archive.

The data of services is not in it: nodes keep that in homes of their own.
"""

import gzip
import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from everup import __version__
from everup.model.errors import EverupError, NotFound, Refused
from everup.runtime.database import full, unusable
from everup.runtime.formats import STEPS, check_format
from everup.runtime.home import Home

FORMAT = 1
MANIFEST = "everup-backup.json"
STORE = "everup.sqlite"

ELSEWHERE = frozenset({"environments", "former", ".restoring"})
"""Folders of the home that are not backed up: what belongs to nodes, and what was there before a restore."""

KEY = "secret.key"
"""Left out as well: a backup that held it would hold every secret in the clear."""

PASSING = ("everup.sqlite", "everup.log", "everup.lock", "everup.use", "everup.sock", "drills.lock", "crash.log", ".")
"""How the names of those files begin that say nothing to another process; the store itself is copied apart."""


@dataclass(frozen=True)
class Member:
    """One file of a backup: its path in the home, its size, its checksum, and who may read it."""

    name: str
    size_bytes: int
    sha256: str
    mode: int


@dataclass(frozen=True)
class Contents:
    """What a backup says of itself; `store_format` is that of the store in it."""

    format: int
    everup: str
    at_utc: str
    store_format: int
    environments: tuple[str, ...]
    files: tuple[Member, ...]


def back_up(home: Home, file: Path) -> Contents:
    """Write a backup of `home` to `file`, mode 0600; a control plane may run, and write, meanwhile.

    Raises:
        NotFound: there is no store.
        Refused: `file` exists.
        EverupError: the store is damaged, or the backup cannot be written; then there is none.
    """
    if not home.store.exists():
        raise NotFound(f"there is nothing to back up in {home.path}", "everup up makes a store.", code="nothing_runs")
    if file.exists():
        raise Refused(f"{file} exists", "Name a file that does not.", code="refused.exists")
    try:
        with tempfile.TemporaryDirectory(prefix=".everup-backup-", dir=file.parent) as folder:
            draft = Path(folder) / "draft"
            contents = _pack(home, Path(folder) / STORE, draft)
            os.link(draft, file)  # whole, or not at all; and never over another one
        return contents
    except FileExistsError as error:
        raise Refused(f"{file} exists", "Name a file that does not.", code="refused.exists") from error
    except OSError as error:
        raise EverupError(f"{file} cannot be written: {error.strerror}", code="store.backup_failed") from error
    except sqlite3.Error as error:
        if full(error, file):
            raise EverupError(f"{file} cannot be written: its disk is full", code="store.backup_failed") from error
        raise unusable(home.store, error) from error


def _pack(home: Home, copy: Path, draft: Path) -> Contents:
    store_format, environments = copy_store(home.store, copy)
    places = {STORE: copy, **{name: home.path / name for name in _beside(home.path)}}
    members = tuple(_member(name, place) for name, place in places.items())
    now_utc = datetime.now(UTC).isoformat(timespec="seconds")
    contents = Contents(FORMAT, __version__, now_utc, store_format, environments, members)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:
        with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=6) as archive:
            _add(archive, MANIFEST, json.dumps(asdict(contents), indent=1).encode())
            for member in members:
                _add(archive, member.name, places[member.name].read_bytes())
        raw.flush()
        os.fsync(raw.fileno())
    verify(draft)  # what changed while it was read, or was written badly, shows now and not on the day it is needed
    return contents


def copy_store(store: Path, copy: Path) -> tuple[int, tuple[str, ...]]:
    """Copy the live store as it is at one moment; its format, and the environments in it."""
    copy.touch(mode=0o600)
    with closing(sqlite3.connect(f"file:{store}?mode=rw", uri=True)) as live, closing(sqlite3.connect(copy)) as db:
        live.execute("PRAGMA busy_timeout=10000")
        live.backup(db)
        db.execute("PRAGMA journal_mode=DELETE")
        return check_store(db, store)


def check_store(db: sqlite3.Connection, place: Path) -> tuple[int, tuple[str, ...]]:
    """The format of a store, and the names of its environments, once every page of it was looked at.

    Raises:
        EverupError: a newer Everup wrote it.
        sqlite3.Error: it is damaged.
    """
    found = check_format(db, place)
    if [word for (word,) in db.execute("PRAGMA integrity_check(1)")] != ["ok"]:
        raise sqlite3.DatabaseError("its pages are damaged")
    return found, tuple(name for (name,) in db.execute("SELECT name FROM environments ORDER BY name"))


def _beside(home: Path) -> Iterator[str]:
    """Files of the home beside the store, such as keys and settings; no links, no sockets."""
    for place in sorted(home.rglob("*") if home.is_dir() else ()):
        name = place.relative_to(home)
        if name.parts[0] in ELSEWHERE or any(name.parts[0].startswith(word) for word in (*PASSING, KEY)):
            continue
        if stat.S_ISREG(place.lstat().st_mode):
            yield name.as_posix()


def _member(name: str, place: Path) -> Member:
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Member(name, place.stat().st_size, digest, stat.S_IMODE(place.stat().st_mode) & 0o700)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o600
    archive.addfile(entry, io.BytesIO(content))


def verify(file: Path) -> Contents:
    """Read a whole backup and compare every checksum.

    Raises:
        EverupError: it is damaged, no backup at all (`store.backup_damaged`), or of a newer Everup (`store.newer`).
    """
    with _members(file) as (contents, read):
        for member in contents.files:
            read(member)
        return contents


def unpack(file: Path, folder: Path) -> Contents:
    """Put the files of a backup into the empty `folder`, each compared with its checksum.

    Raises:
        EverupError: as `verify`.
        OSError: the disk refuses it.
    """
    with _members(file) as (contents, read):
        for member in contents.files:
            place = folder / member.name
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode), "wb") as written:
                written.write(read(member))
                written.flush()
                os.fsync(written.fileno())
        return contents


@contextmanager
def _members(file: Path) -> Iterator[tuple[Contents, Any]]:
    """The manifest of a backup, and what reads a member of it."""
    try:
        with tarfile.open(file, "r:gz") as archive:

            def read(member: Member) -> bytes:
                entry = archive.extractfile(member.name)
                content = entry.read() if entry else b""
                if hashlib.sha256(content).hexdigest() != member.sha256:
                    raise _damaged(file, f"{member.name} is not what it was")
                return content

            first = archive.next()
            if first is None or first.name != MANIFEST:
                raise _damaged(file, "it is no backup of Everup's")
            manifest = archive.extractfile(first)
            yield _contents(json.loads(manifest.read() if manifest else b""), file), read
            while archive.fileobj and archive.fileobj.read(1 << 16):
                pass  # to the end, where the checksum of the whole stands
    except FileNotFoundError as error:
        raise NotFound(f"there is no {file}", code="store.no_backup") from error
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, KeyError, TypeError, ValueError) as error:
        raise _damaged(file, str(error)) from error


def _contents(manifest: dict[str, Any], file: Path) -> Contents:
    if manifest["format"] > FORMAT or manifest["store_format"] > len(STEPS):
        by = f"{file} was made by Everup {manifest['everup']}, which is newer than this one ({__version__})"
        raise EverupError(by, "Restore it with that version.", code="store.newer")
    members = tuple(Member(**one) for one in manifest["files"])
    for member in members:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise _damaged(file, f"{member.name} leads out of the home")
    return Contents(**{**manifest, "environments": tuple(manifest["environments"]), "files": members})


def _damaged(file: Path, because: str) -> EverupError:
    hint = "Nothing was changed. Take another backup."
    return EverupError(f"{file} cannot be used: {because}", hint, code="store.backup_damaged")
