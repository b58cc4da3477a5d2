"""Stores of former versions are brought up to this one's format, and those of newer ones are refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from everup.model.errors import EverupError
from everup.model.observed import Group
from everup.runtime.formats import STEPS, bring_up
from everup.runtime.revision_shelf import RevisionShelf
from everup.runtime.store import Store

FORMER = sorted((Path(__file__).parent / "stores").glob("format-*.sql"))
"""As versions of that format wrote them, in words (`sqlite3 everup.sqlite .dump`)."""


def written(path: Path, script: Path) -> Path:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script.read_text())
    return path


def format_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def shape(path: Path) -> set[tuple[str, str]]:
    """Every column of every table."""
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {(table, row[1]) for table in tables for row in db.execute(f"PRAGMA table_info({table})")}


def test_there_is_a_store_of_every_former_format():
    assert {int(script.stem.split("-")[1]) for script in FORMER} == set(range(len(STEPS)))


@pytest.mark.parametrize("script", FORMER, ids=lambda path: path.stem)
def test_a_former_store_is_brought_up_and_keeps_all_that_it_knows(tmp_path: Path, script: Path):
    path = written(tmp_path / "everup.sqlite", script)
    with closing(Store(path)) as store:
        assert list(store.environments()) == ["shop"]
        assert store.grants("shop")["redis01/password"] == "kept"
        assert store.groups("shop") == {"redis01": Group("redis01-2", 4, 3)}
        assert [event.name for event in store.events("shop", 0)] == ["control.started", "primary.changed"]
        assert store.number() == 9
        assert store.drills.of("gone") == []
    assert format_of(path) == len(STEPS)
    with closing(Store(tmp_path / "fresh.sqlite")):
        assert shape(path) == shape(tmp_path / "fresh.sqlite")


@pytest.mark.parametrize("script", FORMER, ids=lambda path: path.stem)
def test_the_former_store_is_kept_beside_the_new_one(tmp_path: Path, script: Path):
    path = written(tmp_path / "everup.sqlite", script)
    before = format_of(path)
    with closing(Store(path)):
        kept = path.with_name(f"everup.sqlite.format-{before}")
        assert format_of(kept) == before
        assert kept.stat().st_mode & 0o777 == 0o600
    kept.unlink()
    with closing(Store(path)):  # nothing is left to do, and nothing is kept again
        assert not kept.exists()


SECRET = b"a-token-in-the-path"


async def test_urls_that_were_kept_as_they_were_are_encrypted_and_leave_no_trace(tmp_path: Path):
    path = written(tmp_path / "everup.sqlite", FORMER[-1])
    assert SECRET in path.read_bytes()
    with closing(Store(path)) as store:
        (team,) = store.destinations.all()
        assert (team.name, team.scheme, team.environments) == ("oncall", "json", ("shop",))
        key = tmp_path / "secret.key"
        key.write_text("command: false")
        key.chmod(0o600)
        with pytest.raises(EverupError):
            await store.destinations.seal()
        assert store.destinations.url("oncall").encode().endswith(SECRET)  # it works without, as it did before
        key.unlink()
    with closing(Store(path)) as store:
        await store.destinations.seal()
        assert store.destinations.url("oncall").encode().endswith(SECRET)
        assert not [file.name for file in tmp_path.iterdir() if SECRET in file.read_bytes()]
        assert key.exists() and (tmp_path / "everup.sqlite.format-1").exists()


def test_a_new_store_has_the_newest_format_and_nothing_to_keep(tmp_path: Path):
    with closing(Store(tmp_path / "everup.sqlite")):
        assert format_of(tmp_path / "everup.sqlite") == len(STEPS)
    assert [place.name for place in tmp_path.iterdir()] == ["everup.sqlite"]


def test_a_store_that_was_opened_for_one_of_its_parts_first_is_brought_up_all_the_same(tmp_path: Path):
    path = written(tmp_path / "everup.sqlite", FORMER[0])
    with closing(RevisionShelf(path, "")):
        assert format_of(path) == len(STEPS)
    with closing(Store(path)) as store:
        assert list(store.environments()) == ["shop"]


def test_a_newer_store_is_refused_and_left_as_it_is(tmp_path: Path):
    path = tmp_path / "everup.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"PRAGMA user_version = {len(STEPS) + 1}; CREATE TABLE of_tomorrow (x)")
    before = path.read_bytes()
    with pytest.raises(EverupError) as caught:
        Store(path)
    assert caught.value.code == "store.newer"
    assert "newer Everup" in caught.value.message
    assert path.read_bytes() == before


def test_steps_are_taken_in_order_from_where_the_store_is(tmp_path: Path):
    taken: list[int] = []
    steps = [lambda db, number=number: taken.append(number) for number in range(4)]
    path = tmp_path / "everup.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA user_version = 2; CREATE TABLE t (x)")
        bring_up(db, path, "", steps)
        bring_up(db, path, "", steps)
    assert (taken, format_of(path)) == ([2, 3], 4)


def test_a_step_that_fails_changes_nothing(tmp_path: Path):
    def break_off(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM t")
        raise sqlite3.OperationalError("database or disk is full")

    path = tmp_path / "everup.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        with pytest.raises(sqlite3.OperationalError):
            bring_up(db, path, "CREATE TABLE IF NOT EXISTS u (x);", [break_off])
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT x FROM t").fetchall() == [(1,)]
        assert shape(path) == {("t", "x")}
    assert format_of(path) == 0
