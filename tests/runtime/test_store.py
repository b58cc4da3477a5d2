"""What must outlive the control plane."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from everup.model.desired import Tcp
from everup.model.errors import EverupError
from everup.model.events import Event
from everup.model.observed import Group
from everup.model.spec import Source
from everup.runtime.store import KEPT_EVENTS, Saved, Store

SOURCE = Source(file="/srv/everup.yaml", text="environment: shop\n", directory="/srv", path="/bin")
SAVED = Saved(SOURCE, {"web": {"scale": 3}}, {"web": 2}, stopped=True)
RECORD = Group("redis01-2", 4, 3, {"redis01-1": {"offset": 7, "written": 9}, "redis01-3": {}})
GRANTS = {"redis01/data-1": {"redis": Tcp("127.64.0.2", 6379)}, "redis01/password": "hunter2"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def event(number: int, environment: str = "shop") -> Event:
    return Event("node.ready", environment, "2026-01-01T00:00:00Z", "web", "web-1", {"after_s": 0.5}, number)


async def test_everything_survives_a_reopening(path: Path):
    with closing(Store(path)) as store:
        await store.save_environment("shop", SAVED)
        await store.save_grants("shop", GRANTS)
        await store.save_group("shop", "redis01", RECORD)
        await store.append([event(store.number()), event(store.number())])
    with closing(Store(path)) as store:
        assert store.environments() == {"shop": SAVED}
        assert store.grants("shop") == GRANTS
        assert store.groups("shop") == {"redis01": RECORD}
        assert store.events("shop", 0) == [event(1), event(2)]
        assert store.number() == 3


@pytest.mark.parametrize("state", [{"stopped": False}, {"stopped": True}, {"stopped": True, "doomed": True}])
async def test_what_is_being_deleted_is_known_as_such_by_the_next_process(path: Path, state: dict[str, bool]):
    saved = Saved(SOURCE, {}, {}, **state)
    with closing(Store(path)) as store:
        await store.save_environment("shop", saved)
    with closing(Store(path)) as store:
        assert store.environments() == {"shop": saved}


async def test_what_was_recorded_survives_a_process_that_never_closes(path: Path):
    store = Store(path)
    await store.save_group("shop", "redis01", Group("redis01-2", 4, 3))
    with closing(Store(path)) as other:
        assert other.groups("shop") == {"redis01": Group("redis01-2", 4, 3)}
    store.close()


async def test_the_newest_record_counts(path: Path):
    with closing(Store(path)) as store:
        await store.save_group("shop", "redis01", Group("redis01-1", 1, 0))
        await store.save_group("shop", "redis01", Group("redis01-2", 2, 1))
        assert store.groups("shop") == {"redis01": Group("redis01-2", 2, 1)}
        assert store.groups("other") == {}


async def test_only_its_owner_may_read_it(path: Path):
    with closing(Store(path)):
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_file_is_a_clear_error(path: Path, damage: bytes):
    path.write_bytes(damage)
    with pytest.raises(EverupError) as caught:
        Store(path)
    assert caught.value.code == "store.unusable"
    assert str(path) in caught.value.message
    assert "Running services are not touched" in caught.value.hint
    assert path.read_bytes() == damage


async def test_a_file_with_a_hole_in_it_is_a_clear_error(path: Path):
    with closing(Store(path)) as store:
        await store.append([event(number) for number in range(1, 2000)])
        await store.save_environment("shop", SAVED)
    text = bytearray(path.read_bytes())
    text[4096 : len(text) - 4096] = b"\x5a" * (len(text) - 8192)
    path.write_bytes(text)
    with pytest.raises(EverupError) as caught:
        Store(path)
    assert caught.value.code == "store.unusable"


def test_a_place_that_does_not_exist_is_a_clear_error(tmp_path: Path):
    with pytest.raises(EverupError) as caught:
        Store(tmp_path / "nowhere" / "store.db")
    assert caught.value.code == "store.unusable"


async def test_a_write_that_is_refused_is_an_error_in_the_users_words(path: Path):
    with closing(Store(path)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE groups")
        other.commit()
        with pytest.raises(EverupError) as caught:
            await store.save_group("shop", "redis01", Group())
        assert caught.value.code == "store.refused"
        await store.save_grants("shop", GRANTS)


async def test_a_forgotten_environment_leaves_nothing(path: Path):
    with closing(Store(path)) as store:
        await store.save_environment("shop", SAVED)
        await store.save_grants("shop", GRANTS)
        await store.save_grants("other", GRANTS)
        await store.save_group("shop", "redis01", Group("redis01-1", 1, 1))
        await store.append([event(1)])
        await store.forget_environment("shop")
        assert (store.environments(), store.grants("shop"), store.groups("shop")) == ({}, {}, {})
        assert store.events("shop", 0) == []
        assert store.grants("other") == GRANTS


async def test_drills_are_kept_by_environment_oldest_first_up_to_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("everup.runtime.store.KEPT_DRILLS", 2)
    with closing(Store(path)) as store:
        for number in (3, 1, 2):
            await store.drills.keep("shop", f"2026-{number}", "redis01", {"number": number})
        await store.drills.keep("other", "2026-9", "web", {"number": 9})
        assert [one["number"] for one in store.drills.of("shop")] == [2, 3]
        await store.forget_environment("shop")
        assert (store.drills.of("shop"), [one["number"] for one in store.drills.of("other")]) == ([], [9])


async def test_events_are_paged_oldest_first(path: Path):
    with closing(Store(path)) as store:
        await store.append([event(number, "shop" if number % 2 else "other") for number in range(1, 11)])
        assert [one.seq for one in store.events("shop", 3)] == [5, 7, 9]
        assert [one.seq for one in store.events("shop", 0, limit=2)] == [1, 3]
        assert [one.seq for one in store.events("shop", -2)] == [7, 9]


async def test_the_oldest_events_are_dropped_in_the_end(path: Path):
    with closing(Store(path)) as store:
        for start in range(1, KEPT_EVENTS + 3000, 770):
            await store.append([event(number) for number in range(start, start + 770)])
        oldest = store.events("shop", 0, limit=1)[0].seq
        newest = store.events("shop", -1)[0].seq
        assert KEPT_EVENTS <= newest - oldest + 1 <= KEPT_EVENTS + 2000


async def test_a_full_disk_refuses_a_write_says_so_and_keeps_what_was_acknowledged(path: Path):
    with closing(Store(path)) as store:
        await store.save_grants("shop", GRANTS)
        await store._write(lambda db: db.execute("PRAGMA max_page_count = 1"))  # no page more than there are
        with pytest.raises(EverupError) as caught:
            await store.append([event(number) for number in range(1, 2000)])
        assert (caught.value.code, caught.value.hint) == ("store.refused", "Make room on its disk.")
        assert store.grants("shop") == GRANTS
    with closing(Store(path)) as store:
        assert store.grants("shop") == GRANTS
        await store.append([event(1)])


async def test_damage_anywhere_in_the_file_is_found_when_it_is_opened(path: Path):
    with closing(Store(path)) as store:
        await store.append([event(number) for number in range(1, 3000)])
    whole = path.read_bytes()
    for page in range(2, len(whole) // 4096, 7):
        path.write_bytes(whole[: page * 4096] + b"\x5a" * 4096 + whole[(page + 1) * 4096 :])
        with pytest.raises(EverupError) as caught:
            Store(path)
        assert caught.value.code == "store.unusable"
