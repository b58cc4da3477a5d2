"""The ledger of lost writes: finds and keeps what a former primary has alone, before it follows another.

What is kept lies in folders of the environment, each with an `entry.json`; they are the ledger, and who deletes one has
settled it. Looking is the work of a program of its own, so that the control plane stays free for what is urgent.
"""

import asyncio
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everup.model.desired import Blueprint, NodeId
from everup.model.ledger import Kept
from everup.runtime.journal import Journal
from everup.runtime.subprogram import ProgramFailed, told_by

LOOK_S = 60.0
"""How long looking and keeping may take; the former primary waits for it, and nobody else does."""

ENTRY = "entry.json"


class Unkept(Exception):
    """Why nothing could be kept, and how many writes that was, where it is known."""

    def __init__(self, because: str, writes: int | None = None) -> None:
        super().__init__(because)
        self.writes = writes


class Ledger:
    """The lost writes of one environment; `folder` is made when there are some."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.folder = folder
        self._journal = journal
        self._read: tuple[int, tuple[Kept, ...]] = (0, ())

    def entries(self) -> tuple[Kept, ...]:
        """What is kept, oldest first; read again only when something came or went."""
        try:
            changed_ns = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return ()
        if changed_ns != self._read[0]:
            found = (_read(place) for place in sorted(self.folder.glob(f"[!.]*/{ENTRY}")))
            self._read = (changed_ns, tuple(one for one in found if one))
        return self._read[1]

    async def keep(
        self,
        blueprint: Blueprint,
        pair: tuple[NodeId, NodeId],
        homes: tuple[str | None, str | None],
        known: Mapping[str, int],
    ) -> None:
        """Find what the first of `pair` has and the second, its successor, lacks; keep it, and say so. Never raises.

        Args:
            homes: their directories; None where there is none, or nothing in it.
            known: what was noted of where their histories part.
        """
        node_id, successor = pair
        try:
            found = await self._keep(blueprint, pair, homes, known)
        except (OSError, ValueError, TypeError, Unkept) as error:
            fields: dict[str, object] = {"successor": successor, "because": str(error)}
            if isinstance(error, Unkept) and error.writes is not None:
                fields["writes"] = error.writes
            self._journal.say("lost.unkept", blueprint.label, node_id, **fields)
            return
        if found is None:
            self._journal.say("lost.none", blueprint.label, node_id, successor=successor)
            return
        fields = {"writes": found.writes, "bytes": found.size_bytes, "exact": found.exact, "folder": found.folder}
        self._journal.say("lost.kept", blueprint.label, node_id, successor=successor, **fields, because=found.because)

    async def discard(self) -> None:
        """Delete all that is kept, as was asked for."""
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def _keep(
        self,
        blueprint: Blueprint,
        pair: tuple[NodeId, NodeId],
        homes: tuple[str | None, str | None],
        known: Mapping[str, int],
    ) -> Kept | None:
        assert blueprint.salvage is not None
        old, new = homes
        if old is None or new is None:
            raise Unkept(f"the data of {pair[0] if old is None else pair[1]} is gone, or not on this machine")
        now = datetime.now(UTC)
        draft = self.folder / f".{now:%Y%m%dT%H%M%S%f}-{pair[0]}"
        for unfinished in self.folder.glob(f".*-{pair[0]}"):  # by a control plane that ended in the middle
            shutil.rmtree(unfinished, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        try:
            told = await _run(blueprint.salvage.program, (old, new, str(draft), json.dumps(dict(known))))
            if told.get("unkept"):
                raise Unkept(str(told["unkept"]), int(told["writes"]) or None)
            if not told["writes"]:
                return None
            place = self.folder / draft.name.removeprefix(".")
            found = Kept(
                service=blueprint.label,
                node=pair[0],
                successor=pair[1],
                at_utc=now.isoformat(timespec="milliseconds"),
                writes=int(told["writes"]),
                size_bytes=int(told["bytes"]),
                begin=str(told["from"]),
                end=str(told["to"]),
                exact=bool(told["exact"]),
                waited=blueprint.salvage.waited,
                because=str(told["because"]),
                folder=str(place),
                files=tuple(sorted(file.name for file in draft.iterdir())),
                keys=tuple(told.get("keys", ())),
            )
            (draft / ENTRY).write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
            draft.rename(place)
            self._read = (0, ())
            return found
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            with suppress(OSError):
                self.folder.rmdir()  # empty, or this fails


def _read(place: Path) -> Kept | None:
    """An entry; None when it is just being deleted, or somebody wrote into it what makes no sense."""
    try:
        fields: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        lists = {name: tuple(fields[name]) for name in ("files", "keys")}
        return Kept(**{**fields, **lists, "folder": str(place.parent)})
    except (OSError, ValueError, TypeError, KeyError):
        return None


async def _run(program: str, words: tuple[str, ...]) -> dict[str, Any]:
    try:
        return await told_by(program, words, within_s=LOOK_S)
    except ProgramFailed as error:
        raise Unkept(f"looking for it {error}") from error
