"""A store that is kept elsewhere too: what is acknowledged is there, what is refused is nowhere, and it comes back."""

import asyncio
import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from everup.core.chain import verify
from everup.model.access import Level
from everup.model.audit import Deed
from everup.model.errors import EverupError, Unavailable
from everup.model.events import Event
from everup.model.observed import Group
from everup.model.spec import Source
from everup.runtime import copies
from everup.runtime.cipher import Cipher
from everup.runtime.copies import LOGS, Log, following, ranges_in
from everup.runtime.mirror import Mirror
from everup.runtime.store import Saved, Store

SAVED = Saved(Source(file="everup.yaml", text="environment: shop", directory="/", path=""), {}, {}, stopped=False)


class Shelf:
    """Keeps pieces in memory, for one keeper after another, as long as it is reachable."""

    def __init__(self) -> None:
        self.pieces: dict[str, bytes] = {}
        self.puts: list[set[str]] = []
        self.reachable = True

    async def take(self) -> Mapping[str, bytes]:
        return dict(self.pieces)

    async def put(self, pieces: Mapping[str, bytes], drop: Collection[str]) -> None:
        await asyncio.sleep(0)
        if not self.reachable:
            raise Unavailable("the shelf is out of reach", "Wait.")
        self.puts.append(set(pieces))
        self.pieces = {name: one for name, one in self.pieces.items() if name not in drop} | dict(pieces)

    async def confirm(self) -> None:
        if not self.reachable:
            raise Unavailable("the shelf is out of reach")

    async def look(self) -> None:
        pass

    async def release(self) -> None:
        pass


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "secret.key"
    Cipher(file).make_key()
    return file


class Machines:
    """Control planes one after another, each on a machine of its own that has nothing but the key."""

    def __init__(self, folder: Path, shelf: Shelf, key: Path) -> None:
        self._folder, self._shelf, self._key = folder, shelf, key
        self._count = 0

    async def open(self) -> Store:
        self._count += 1
        home = self._folder / f"machine-{self._count}"
        home.mkdir()
        mirror = Mirror(self._shelf, Cipher(self._key))
        await mirror.load(home / "everup.sqlite")
        return Store(home / "everup.sqlite", mirror)


@pytest.fixture
def machines(tmp_path: Path, shelf: Shelf, key: Path) -> Machines:
    return Machines(tmp_path, shelf, key)


def deed(target: str) -> Deed:
    return Deed("2026-11-23T00:00:00+00:00", "ada", "operator", "POST /v1/up", {"label": target})


async def story(store: Store) -> None:
    """Have what may follow later follow now."""
    assert store.mirror
    await store.mirror._together([], story=True)


async def test_all_that_was_declared_is_there_on_another_machine(machines: Machines) -> None:
    store = await machines.open()
    await store.save_environment("shop", SAVED)
    await store.save_grants("shop", {"redis/password": "s3cret"})
    await store.save_group("shop", "redis", Group("redis-2", 7, 7))
    _, secret = await store.tokens().create("ci", Level.OPERATOR, None, None)
    store.close()  # it was killed: nothing is finished
    other = await machines.open()
    assert other.environments() == {"shop": SAVED}
    assert other.grants("shop") == {"redis/password": "s3cret"}
    assert other.groups("shop")["redis"].primary == "redis-2"
    assert other.tokens().authenticate(secret) is not None
    await other.finish()
    other.close()


async def test_a_change_that_the_shelf_does_not_take_is_refused_and_forgotten(machines: Machines, shelf: Shelf) -> None:
    store = await machines.open()
    await store.save_environment("shop", SAVED)
    shelf.reachable = False
    with pytest.raises(EverupError) as refused:
        await store.save_environment("other", SAVED)
    assert refused.value.code == "store.refused"
    assert set(store.environments()) == {"shop"}
    shelf.reachable = True
    await store.save_grants("shop", {"a/b": "c"})
    store.close()
    other = await machines.open()
    assert set(other.environments()) == {"shop"}
    other.close()


async def test_nobody_sees_a_change_before_the_shelf_has_it(machines: Machines, shelf: Shelf) -> None:
    store = await machines.open()
    seen: list[Any] = []
    put = shelf.put

    async def looking(pieces: Mapping[str, bytes], drop: Collection[str]) -> None:
        seen.append(set(store.environments()))
        await put(pieces, drop)

    shelf.put = looking  # type: ignore[method-assign]
    await store.save_environment("shop", SAVED)
    assert seen == [set()]
    assert set(store.environments()) == {"shop"}
    store.close()


async def test_changes_that_wait_at_the_same_time_go_together(machines: Machines, shelf: Shelf) -> None:
    store = await machines.open()
    await store.save_environment("shop", SAVED)
    shelf.puts.clear()
    await asyncio.gather(*(store.save_grants("shop", {f"a/{number}": "x"}) for number in range(50)))
    assert len(shelf.puts) <= 2
    assert len(store.grants("shop")) == 50
    store.close()


async def test_a_change_that_fails_by_itself_takes_no_other_with_it(machines: Machines) -> None:
    store = await machines.open()

    def broken(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO grants VALUES ('shop', 'half', '1')")
        raise sqlite3.IntegrityError("no")

    answers = await asyncio.gather(store._write(broken), store.save_environment("shop", SAVED), return_exceptions=True)
    assert isinstance(answers[0], EverupError)
    assert answers[1] is None
    assert store.grants("shop") == {}
    assert set(store.environments()) == {"shop"}
    store.close()


async def test_the_audit_log_is_whole_on_another_machine_and_goes_on_there(machines: Machines) -> None:
    store = await machines.open()
    for number in range(20):
        await store.audit.append(deed(f"web-{number}"))
    store.close()
    other = await machines.open()
    await other.audit.append(deed("last"))
    chain = verify(other.audit.page(0, 100))
    assert (chain.entries, chain.broken) == (21, None)
    other.close()
    third = await machines.open()
    assert verify(third.audit.page(0, 100)) == chain
    third.close()


async def test_an_audit_entry_that_was_refused_leaves_no_gap_and_no_ghost(machines: Machines, shelf: Shelf) -> None:
    store = await machines.open()
    await store.audit.append(deed("first"))
    put = shelf.put

    async def forgetful(pieces: Mapping[str, bytes], drop: Collection[str]) -> None:
        await put(pieces, drop)  # it was kept, and the answer got lost
        raise Unavailable("no answer")

    shelf.put = forgetful  # type: ignore[method-assign]
    with pytest.raises(EverupError):
        await store.audit.append(deed("ghost"))
    shelf.put = put  # type: ignore[method-assign]
    assert await store.audit.append(deed("second")) == 2
    store.close()
    other = await machines.open()
    assert [entry["where"]["label"] for entry in other.audit.page(0, 100)] == ["first", "second"]
    assert verify(other.audit.page(0, 100)).broken is None
    other.close()


async def test_events_follow_and_their_numbers_are_never_given_twice(machines: Machines) -> None:
    store = await machines.open()
    await store.save_environment("shop", SAVED)
    await store.append([event(store.number())])
    await story(store)
    told = store.number()
    await store.append([event(told)])  # and the machine is lost before that one follows
    store.close()
    other = await machines.open()
    assert [one.seq for one in other.events("shop", 0)] == [1]
    assert other.number() > told
    other.close()


async def test_numbers_of_events_that_are_gone_with_their_environment_are_not_given_again(machines: Machines) -> None:
    store = await machines.open()
    await store.save_environment("shop", SAVED)
    await store.append([event(store.number()) for _ in range(copies.SPARE_NUMBERS + 5)])
    told = store.number()
    await store.forget_environment("shop")
    await story(store)
    store.close()
    other = await machines.open()
    assert other.number() > told
    await other.save_environment("shop", SAVED)  # and the next one comes before it has told of anything
    other.close()
    third = await machines.open()
    assert third.number() > told
    third.close()


async def test_events_alone_are_put_nowhere_at_once(machines: Machines, shelf: Shelf) -> None:
    store = await machines.open()
    await store.save_environment("shop", SAVED)
    shelf.puts.clear()
    await store.append([event(store.number())])
    assert shelf.puts == []
    store.close()


async def test_what_is_told_of_a_destroyed_environment_does_not_come_back(machines: Machines) -> None:
    store = await machines.open()
    await store.save_environment("shop", SAVED)
    await store.append([event(store.number())])
    await story(store)
    await store.forget_environment("shop")
    await store.save_environment("shop", SAVED)
    await story(store)
    store.close()
    other = await machines.open()
    assert other.events("shop", 0) == []
    other.close()


async def test_the_moment_a_token_was_used_is_not_worth_a_put(machines: Machines, shelf: Shelf) -> None:
    store = await machines.open()
    await store.tokens().create("ci", Level.OPERATOR, None, None)
    shelf.puts.clear()
    await store._write(lambda db: db.execute("UPDATE tokens SET used_utc = 'now'"))
    assert shelf.puts == []
    await store._write(lambda db: db.execute("UPDATE tokens SET level = 'viewer'"))
    assert shelf.puts == [{"state"}]
    store.close()


async def test_the_shelf_holds_nothing_that_can_be_read_without_the_key(
    machines: Machines, shelf: Shelf, tmp_path: Path
) -> None:
    store = await machines.open()
    await store.save_grants("shop", {"redis/password": "s3cret"})
    assert not any(b"s3cret" in one or one.startswith(b"\x1f\x8b") for one in shelf.pieces.values())
    store.close()
    wrong = tmp_path / "wrong.key"
    Cipher(wrong).make_key()
    with pytest.raises(EverupError) as refused:
        await Mirror(shelf, Cipher(wrong)).load(tmp_path / "stolen.sqlite")
    assert refused.value.code == "secret.sealed"


async def test_a_piece_cannot_stand_in_for_another(machines: Machines, shelf: Shelf, key: Path, tmp_path: Path) -> None:
    store = await machines.open()
    await store.audit.append(deed("first"))
    store.close()
    shelf.pieces["audit-2-2"] = shelf.pieces["audit-1-1"]
    with pytest.raises(EverupError):
        await Mirror(shelf, Cipher(key)).load(tmp_path / "other.sqlite")


async def test_a_state_of_an_older_format_is_brought_up(machines: Machines, shelf: Shelf, key: Path) -> None:
    store = await machines.open()
    await store.save_environment("shop", SAVED)
    store.close()
    about = "everup/state"
    old = copies._unpacked("state", Cipher(key).unwrap(shelf.pieces["state"], about))
    del old["tables"]["deposed"]  # an Everup of before that table
    old["schema"] = [sql for sql in old["schema"] if "deposed" not in sql]
    shelf.pieces["state"] = Cipher(key).wrap(copies._packed({**old, "format": 0}), about)
    other = await machines.open()
    assert set(other.environments()) == {"shop"}
    await other.save_group("shop", "redis", Group("redis-1", 1, 1))
    other.close()
    third = await machines.open()
    assert third.groups("shop")["redis"].primary == "redis-1"
    third.close()


async def test_a_state_of_a_newer_format_is_refused(machines: Machines, shelf: Shelf, key: Path) -> None:
    store = await machines.open()
    await store.save_environment("shop", SAVED)
    store.close()
    about = "everup/state"
    new = copies._unpacked("state", Cipher(key).unwrap(shelf.pieces["state"], about))
    shelf.pieces["state"] = Cipher(key).wrap(copies._packed({**new, "format": 99}), about)
    with pytest.raises(EverupError) as refused:
        await machines.open()
    assert refused.value.code == "store.newer"


def event(seq: int) -> Event:
    return Event("control.started", "shop", "2026-11-23T00:00:00.000+00:00", seq=seq)


def test_a_log_stays_a_few_pieces_and_each_row_is_written_seldom() -> None:
    log, ranges, written = Log("audit", 4096), [], 0
    for newest in range(1, 20_001):
        after = following(ranges, newest, log)
        written += sum(last - first + 1 for first, last in set(after) - set(ranges))
        ranges = after
    assert [first for first, _ in ranges] == [1, *(last + 1 for _, last in ranges[:-1])]
    assert ranges[-1][1] == 20_000
    assert len(ranges) < 24
    assert written < 20_000 * 16


def test_a_long_log_that_is_kept_for_the_first_time_is_cut_into_pieces() -> None:
    ranges = following([], 10_000, Log("audit", 4096))
    assert ranges[0][0] == 1
    assert ranges[-1][1] == 10_000
    assert all(last - first < 4096 for first, last in ranges)


def test_of_a_log_that_is_kept_in_part_the_oldest_pieces_go() -> None:
    log, ranges = Log("events", 4096, kept=8192), []
    for newest in range(100, 50_001, 100):
        ranges = following(ranges, newest, log)
    assert ranges[0][0] > 30_000
    assert ranges[-1][1] - ranges[0][0] >= 8191
    assert following([], 50_000, log)[0][0] == 50_000 - 8192 + 1


def test_every_table_is_a_log_or_declared(tmp_path: Path) -> None:
    store = Store(tmp_path / "everup.sqlite")
    tables = set(copies.declared(store._db))
    assert {"environments", "grants", "groups", "deposed", "revisions", "secrets", "tokens", "destinations"} <= tables
    assert not tables & {log.table for log in LOGS}
    store.close()


def test_names_of_pieces_say_what_is_in_them() -> None:
    assert ranges_in(["state", "audit-1-8", "events-5-6", "audit-9-9"], LOGS[0]) == [(1, 8), (9, 9)]
