"""A store that is kept outside of its machine too: nothing counts as kept before it is there.

Each change is made on the disk, put on a *shelf* elsewhere, and only then committed; where the shelf refuses, the
change is taken back and whoever asked is told, as with a full disk. Changes that wait at the same time go together.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from everup.model.errors import EverupError, Refused
from everup.runtime.cipher import Cipher
from everup.runtime.copies import (
    LOGS,
    PASSING,
    STATE,
    Log,
    Range,
    declared,
    following,
    format_of,
    piece_name,
    ranges_in,
    rebuild,
    rows_of,
    state_of,
)

STORY_EVERY_S = 5.0
"""How often what need not be kept at once is put on the shelf: events, and results of drills."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]


class Shelf(Protocol):
    """Keeps named pieces elsewhere. Exactly one control plane, its keeper, may change them.

    Every method raises `EverupError` where the shelf cannot be reached, or belongs to another keeper by now.
    """

    async def take(self) -> Mapping[str, bytes]:
        """Become its keeper, in place of any other; return once no other acts any more, with all pieces."""
        ...

    async def put(self, pieces: Mapping[str, bytes], drop: Collection[str]) -> None:
        """Put these pieces there, in place of those of the same names, and remove others: all of it, or nothing."""
        ...

    async def confirm(self) -> None:
        """Return if it is certain that no other keeper acts now, and for some seconds more."""
        ...

    async def look(self) -> None:
        """See whether it still belongs to this keeper; a shelf that cannot be reached says nothing."""
        ...

    async def release(self) -> None:
        """Be its keeper no more: the next one need not wait."""
        ...


class Mirror:
    """Writes to a store that is on a shelf too. First `load` or `begin`, then the store is opened, then `attach`.

    Args:
        shelf: where pieces are kept.
        cipher: seals them, since grants hold passwords and a shelf may be read by others.

    Attributes:
        doubted: the newest `confirm` failed, or has not ended yet.
    """

    def __init__(self, shelf: Shelf, cipher: Cipher) -> None:
        self.doubted = False
        self._shelf = shelf
        self._cipher = cipher
        self._db: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._turn: asyncio.Task[None] | None = None
        self._alone = asyncio.Lock()
        self._touched: set[str] = {STATE}
        self._ranges: dict[str, list[Range]] = {log.table: [] for log in LOGS}
        self._names: set[str] = set()
        self._format: int | None = None

    async def load(self, path: Path) -> None:
        """Take the shelf, and make the store at `path` from what is on it.

        Raises:
            EverupError: the shelf cannot be reached, or what is on it cannot be read.
        """
        sealed = await self._shelf.take()
        pieces = {name: await asyncio.to_thread(self._cipher.unwrap, one, _about(name)) for name, one in sealed.items()}
        self._names = set(pieces)
        self._ranges = {log.table: ranges_in(pieces, log) for log in LOGS}
        self._format = await asyncio.to_thread(rebuild, path, pieces)

    async def begin(self) -> None:
        """Take the shelf for a store that is on no shelf yet, instead of `load`: all of it is put there with the first
        write.

        Raises:
            Refused: the shelf keeps something already.
            EverupError: it cannot be reached.
        """
        if await self._shelf.take():
            raise Refused("another control plane's knowledge is kept there already", code="refused.kept_already")

    def attach(self, path: Path, thread: ThreadPoolExecutor) -> None:
        """The store is open by now, and `thread` is the one that writes to it."""
        self._thread = thread
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA synchronous=FULL; PRAGMA busy_timeout=2000;")
        if format_of(self._db) != self._format:  # pieces of the former format are of no use beside a newer state
            self._ranges = {log.table: [] for log in LOGS}
        self._db.create_function("everup_touched", 1, self._touched.add)
        for table, columns in declared(self._db).items():
            lasting = ", ".join(one for one in columns if one not in PASSING.get(table, ()))
            for when in ("INSERT", "DELETE", f"UPDATE OF {lasting}"):
                self._notice(table, when, STATE)
        for log in LOGS:
            self._notice(log.table, "DELETE", log.table)

    def _notice(self, table: str, when: str, what: str) -> None:
        assert self._db
        name = f"notice_{table}_{when.split()[0]}"
        self._db.execute(
            f"CREATE TEMP TRIGGER {name} AFTER {when} ON main.{table} BEGIN SELECT everup_touched('{what}'); END"
        )

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` on the store; it is on the shelf and on the disk when this returns.

        Raises:
            sqlite3.Error: the store refuses it.
            EverupError: the shelf refuses it. Nothing was changed, either way.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        if self._turn is None or self._turn.done():
            self._turn = asyncio.create_task(self._turns())
        return await done

    async def confirm(self) -> None:
        """Return if it is certain that this control plane is the one that decides.

        Raises:
            EverupError: it is not, or nobody can tell.
        """
        self.doubted = True
        await self._shelf.confirm()
        self.doubted = False

    async def keep_story(self) -> None:
        """Put what may follow later on the shelf, for ever."""
        while True:
            await asyncio.sleep(STORY_EVERY_S)
            with suppress(EverupError, sqlite3.Error):  # again in some seconds
                await self._shelf.look()
                await self._together([], story=True)

    async def close(self) -> None:
        """Put the rest on the shelf, and release it."""
        if self._turn:
            await asyncio.gather(self._turn, return_exceptions=True)
        with suppress(EverupError, sqlite3.Error):
            if self._db:
                await self._together([], story=True)
            await self._shelf.release()
        if self._db:
            self._db.close()

    async def _turns(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                answers = await self._together([work for work, _ in group], story=False)
            except Exception as error:
                answers = [error] * len(group)
            for (_, done), answer in zip(group, answers, strict=True):
                if done.done():  # whoever asked does not wait any more
                    continue
                if isinstance(answer, Exception):
                    done.set_exception(answer)
                else:
                    done.set_result(answer)

    async def _together(self, works: list[Work], *, story: bool) -> list[Any]:
        """Do all of it or nothing, but for work that fails by itself: its answer is the error."""
        loop = asyncio.get_running_loop()
        async with self._alone:
            names = set(self._names)
            try:
                answers = await loop.run_in_executor(self._thread, self._begin, works)
                ranges, pieces = await loop.run_in_executor(self._thread, self._changed, story)
                after = {piece_name(log, one) for log in LOGS for one in ranges[log.table]} | {STATE}
                gone = names - after
                if pieces or gone:
                    names |= after
                    await self._put(pieces, gone)
                await loop.run_in_executor(self._thread, self._end, "COMMIT")
            except BaseException:
                self._names = names
                self._touched.add(STATE)  # the shelf may have it, or not
                await asyncio.shield(loop.run_in_executor(self._thread, self._end, "ROLLBACK"))
                raise
            self._names, self._ranges = after, ranges
            self._touched -= {STATE, *(log.table for log in LOGS if story or log.prompt)}
            return answers

    async def _put(self, pieces: Mapping[str, bytes], drop: Collection[str]) -> None:
        try:
            await self._shelf.put(pieces, drop)
        except EverupError as error:
            raise EverupError(f"nothing was changed: {error.message}", error.hint, code="store.refused") from error

    def _begin(self, works: list[Work]) -> list[Any]:
        assert self._db
        self._db.execute("BEGIN IMMEDIATE")
        answers: list[Any] = []
        for work in works:
            self._db.execute("SAVEPOINT one")
            try:
                answers.append(work(self._db))
            except Exception as error:
                if not self._db.in_transaction:  # the disk refused more than this one
                    raise
                self._db.execute("ROLLBACK TO one")
                answers.append(error)
            self._db.execute("RELEASE one")
        return answers

    def _changed(self, story: bool) -> tuple[dict[str, list[Range]], dict[str, bytes]]:
        """The ranges of all logs from now on, and the pieces that are new, sealed."""
        assert self._db
        pieces = {STATE: state_of(self._db)} if STATE in self._touched else {}
        ranges = dict(self._ranges)
        for log in LOGS:
            if story or log.prompt:
                ranges[log.table] = self._grown(log)
                for one in set(ranges[log.table]) - set(self._kept(log)):
                    pieces[piece_name(log, one)] = rows_of(self._db, log, one)
        return ranges, {name: self._cipher.wrap(one, _about(name)) for name, one in pieces.items()}

    def _grown(self, log: Log) -> list[Range]:
        assert self._db
        newest = self._db.execute(f"SELECT MAX(rowid) FROM {log.table}").fetchone()[0] or 0
        return following(self._kept(log), newest, log)

    def _kept(self, log: Log) -> list[Range]:
        """What is on the shelf of a log and is still true: rows that were deleted must not come back."""
        return [] if log.table in self._touched else self._ranges[log.table]

    def _end(self, how: str) -> None:
        if self._db and self._db.in_transaction:
            self._db.execute(how)


def _about(name: str) -> str:
    return f"everup/{name}"
