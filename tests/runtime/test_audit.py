"""The audit log in the store only grows, and is there after any end of the process."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from everup.core.chain import verify
from everup.model.audit import Deed
from everup.model.errors import EverupError
from everup.runtime.store import Store

MOMENT = "2026-11-23T12:00:00.000+00:00"


def deed(number: int) -> Deed:
    return Deed(MOMENT, "ann", "operator", "POST /v1/apply", {"environment": "shop"}, {"count": number}, "socket")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def test_entries_are_numbered_and_chained_across_processes(path: Path):
    for round_ in range(3):
        store = Store(path)
        for number in range(4):
            assert await store.audit.append(deed(number)) == round_ * 4 + number + 1
        if round_ != 1:
            store.close()
    with closing(Store(path)) as store:
        entries = store.audit.page(0, 100)
        assert [one["seq"] for one in entries] == list(range(1, 13))
        assert verify(entries).broken is None
        assert entries[5]["given"] == {"count": 1}


async def test_pages_begin_where_they_are_asked_to(path: Path):
    with closing(Store(path)) as store:
        assert store.audit.page(0, 10) == store.audit.page(-5, 10) == []
        for number in range(9):
            await store.audit.append(deed(number))
        assert [one["seq"] for one in store.audit.page(3, 4)] == [4, 5, 6, 7]
        assert [one["seq"] for one in store.audit.page(-2, 10)] == [8, 9]
        assert [one["seq"] for one in store.audit.page(-99, 2)] == [1, 2]
        assert store.audit.page(9, 10) == []


@pytest.mark.parametrize("change", ["UPDATE audit SET entry = '{}' WHERE seq = 1", "DELETE FROM audit WHERE seq = 2"])
async def test_nothing_changes_or_deletes_an_entry(path: Path, change: str):
    with closing(Store(path)) as store:
        for number in range(3):
            await store.audit.append(deed(number))
        with closing(sqlite3.connect(path)) as other, pytest.raises(sqlite3.IntegrityError, match="only grows"):
            other.execute(change)
        await store.forget_environment("shop")
        assert verify(store.audit.page(0, 10)).entries == 3


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("UPDATE audit SET entry = replace(entry, 'ann', 'bob') WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("UPDATE audit SET hash = 'feed' WHERE seq = 3", 3),
    ],
)
async def test_whoever_takes_the_guard_away_is_found_out(path: Path, change: str, broken: int):
    with closing(Store(path)) as store:
        for number in range(4):
            await store.audit.append(deed(number))
    with closing(sqlite3.connect(path)) as other:
        other.executescript(f"DROP TRIGGER audit_unchanged; DROP TRIGGER audit_undeleted; {change}")
    with closing(Store(path)) as store:
        assert verify(store.audit.page(0, 10)).broken == broken


async def test_a_store_that_takes_no_more_says_so_and_keeps_its_chain(path: Path):
    with closing(Store(path)) as store:
        await store.audit.append(deed(1))
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        taken = 1
        with pytest.raises(EverupError) as refused:
            while taken < 1000:
                await store.audit.append(deed(taken))
                taken += 1
        assert refused.value.code == "store.refused"
        assert verify(store.audit.page(0, 1000)).entries == taken
        store._db.execute("PRAGMA max_page_count = 100000")
        assert await store.audit.append(deed(0)) == taken + 1
