"""What a control plane must know to adopt a node after a restart, kept in the node's home."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everup.model.desired import NodeId

_NAME = "state.json"
_FORMAT = 1


@dataclass(frozen=True)
class Record:
    """The newest start of a node, and its end once that is confirmed.

    Attributes:
        pid, start, boot: its main process: number, start time (field 22 of /proc/pid/stat), boot of the machine.
        starts: how often it was started since its home was made.
        ended: nothing of it runs any more; `exit_code` follows Popen, None where unknown.
        lost_until_s: a drill keeps it lost until then; seconds on the monotonic clock of that boot.
    """

    node_id: NodeId
    service: str
    pid: int
    start: str
    boot: str
    digest: str
    files_digest: str
    started_utc: str
    starts: int
    stop_signal: str
    stop_grace_s: float
    stop_repeat_s: float | None = None
    keeps: tuple[str, ...] = ()
    ended: bool = False
    exit_code: int | None = None
    lost_until_s: float = 0.0


def load(home: Path) -> Record | None:
    """Read the record of the node that lives in `home`; None when there is none, or none that can be understood."""
    try:
        fields: Mapping[str, Any] = json.loads((home / _NAME).read_text())
        if fields.pop("format") != _FORMAT:  # type: ignore[attr-defined]
            return None
        return Record(**{**fields, "keeps": tuple(fields["keeps"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def save(home: Path, record: Record, *, durable: bool = True) -> None:
    """Write the record, whole or not at all.

    Raises:
        OSError: the disk is full, or the like; what was there before still is.
    """
    text = json.dumps({"format": _FORMAT, **dataclasses.asdict(record)}, indent=1)
    replace_text(home / _NAME, text + "\n", durable=durable)


def replace_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Put `text` at `path` (mode 0600), whole or not at all; with `durable`, it is on the disk on return.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
