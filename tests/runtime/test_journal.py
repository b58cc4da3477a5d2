"""Events: said once, stored soon, streamed at once."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from everup.model.errors import EverupError
from everup.runtime.journal import RECENT, Journal
from everup.runtime.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "store.db")) as opened:
        yield opened


def say(journal: Journal, count: int = 1) -> None:
    for number in range(count):
        journal.say("node.ready", "web", f"web-{number}", after_s=0.1)


async def heard(journal: Journal, after: int) -> list[int]:
    return [event.seq async for event in journal.follow(after, forever=False)]


async def test_what_was_said_is_stored_by_a_flush(store: Store):
    journal = Journal("shop", store)
    say(journal, 3)
    assert store.events("shop", 0) == []
    await journal.flush()
    assert [event.seq for event in store.events("shop", 0)] == [1, 2, 3]
    assert store.events("shop", 0) == journal.recent()


async def test_what_is_said_is_heard_at_once_and_a_broken_ear_costs_nobody_else_anything(
    store: Store, capsys: pytest.CaptureFixture[str]
):
    heard: list[str] = []

    def broken(event: object) -> None:
        raise ValueError("deaf")

    journal = Journal("shop", store, [broken, lambda event: heard.append(event.name)])
    say(journal, 2)
    assert heard == ["node.ready", "node.ready"]
    assert capsys.readouterr().err == "node.ready was not heard: ValueError: deaf\n" * 2


async def test_it_is_stored_within_a_moment_by_itself(store: Store):
    journal = Journal("shop", store)
    keeping = asyncio.create_task(journal.keep())
    say(journal)
    for _ in range(100):
        await asyncio.sleep(0.02)
        if store.events("shop", 0):
            break
    keeping.cancel()
    assert [event.seq for event in store.events("shop", 0)] == [1]


async def test_flushes_at_the_same_time_lose_nothing(store: Store):
    journal = Journal("shop", store)
    for _ in range(50):
        say(journal, 2)
        flushes = [asyncio.create_task(journal.flush()) for _ in range(3)]
        await asyncio.sleep(0)
        say(journal)
        await asyncio.gather(*flushes)
    await journal.flush()
    assert [event.seq for event in store.events("shop", 0)] == list(range(1, 151))


async def test_what_a_full_disk_refused_is_stored_later(store: Store, monkeypatch: pytest.MonkeyPatch):
    journal, append = Journal("shop", store), store.append

    async def refuse(events: object) -> None:
        raise EverupError("the disk is full")

    monkeypatch.setattr(store, "append", refuse)
    say(journal, 2)
    await journal.flush()
    monkeypatch.setattr(store, "append", append)
    say(journal)
    await journal.flush()
    assert [event.seq for event in store.events("shop", 0)] == [1, 2, 3]


async def test_a_new_journal_remembers_the_old_one(store: Store):
    first = Journal("shop", store)
    say(first, 3)
    await first.flush()
    assert Journal("shop", store).recent() == first.recent()
    assert Journal("other", store).recent() == []


async def test_numbers_go_on_where_an_earlier_process_stopped(tmp_path: Path):
    with closing(Store(tmp_path / "store.db")) as store:
        journal = Journal("shop", store)
        say(journal, 3)
        await journal.flush()
    with closing(Store(tmp_path / "store.db")) as store:
        assert Journal("shop", store).say("restart.requested").seq == 4


async def test_events_are_told_from_any_point(store: Store):
    journal = Journal("shop", store)
    say(journal, 5)
    assert await heard(journal, 0) == [1, 2, 3, 4, 5]
    assert await heard(journal, 3) == [4, 5]
    assert await heard(journal, -2) == [4, 5]
    assert await heard(journal, 5) == []
    assert await heard(Journal("other", store), 0) == []


async def test_all_stored_events_are_told_however_many(store: Store):
    journal = Journal("shop", store)
    count = RECENT + 2500
    for _ in range(count // 100):
        say(journal, 100)
        await journal.flush()
    assert await heard(journal, 0) == list(range(1, count + 1))


async def test_listeners_hear_each_event_once_and_in_order(store: Store):
    journal = Journal("shop", store)
    say(journal, 2)
    seen: list[int] = []

    async def listen() -> None:
        async for event in journal.follow(1, forever=True):
            seen.append(event.seq)

    listening = asyncio.create_task(listen())
    for _ in range(20):
        await asyncio.sleep(0.001)
        say(journal, 2)
    for _ in range(200):
        if len(seen) == 41:
            break
        await asyncio.sleep(0.01)
    listening.cancel()
    assert seen == list(range(2, 43))


def test_only_events_of_the_catalogue_are_said(store: Store):
    with pytest.raises(AssertionError):
        Journal("shop", store).say("node.sneezed")
