"""Notifications reach a real HTTP server through Apprise, also one that fails at first."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from everup.model.errors import NotFound, Refused
from everup.model.notices import Destination, Notice, Tone, Topic
from everup.runtime.messenger import WAITING, Messenger
from everup.runtime.store import Store
from tests.receiver import SECRET, Receiver


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "store.db")) as opened:
        yield opened


def messenger(store: Store) -> Messenger:
    environments: Any = SimpleNamespace(store=store, names=lambda: [])
    return Messenger(environments, retry_s=(0.05, 0.05, 0.05))


def notice(title: str = "shop: redis01 failed and is whole again") -> Notice:
    return Notice("shop", "redis01", frozenset({Topic.INCIDENT}), Tone.SUCCESS, title, "redis01-2 took over")


async def until(done: Any) -> None:
    async with asyncio.timeout(120):
        while not done():  # noqa: ASYNC110 - what is waited for happens in a thread
            await asyncio.sleep(0.02)


async def test_a_message_arrives_although_its_server_failed_twice(store: Store):
    carrier = messenger(store)
    with Receiver(failures=2).open() as server:
        await carrier.add(Destination("team", server.url))
        carrier.post(notice())
        await until(lambda: carrier.outcomes["sent"])
        assert server.asked == 3
        (taken,) = server.taken
        assert (taken["title"], taken["message"]) == (notice().title, "redis01-2 took over")
        assert (taken["type"], carrier.waiting) == ("success", 0)


async def test_a_server_that_never_takes_it_costs_that_message_and_its_secret_stays_one(store: Store):
    carrier = messenger(store)
    with Receiver(failures=10**6).open() as server:
        await carrier.add(Destination("team", server.url))
        carrier.post(notice())
        await until(lambda: carrier.outcomes["failed"])
        assert server.asked == 4
        (tried,) = await carrier.test("team")
    assert not tried.sent and tried.because
    assert SECRET not in tried.because and str(server.server_port) not in tried.because


async def test_a_url_nobody_understands_is_refused_at_once_and_not_repeated(store: Store):
    carrier = messenger(store)
    with pytest.raises(Refused) as caught:
        await carrier.add(Destination("team", f"nonsense://{SECRET}"))
    assert "appriseit.com" in caught.value.message and SECRET not in caught.value.message
    assert carrier.destinations() == ()


async def test_destinations_are_kept_by_name(store: Store):
    kept = store.destinations
    await kept.add(Destination("team", "json://there", (Topic.DRILL,), ("shop",)))
    assert kept.all() == (Destination("team", "json://there", (Topic.DRILL,), ("shop",)),)
    with pytest.raises(Refused):
        await kept.add(Destination("team", "json://elsewhere"))
    with pytest.raises(NotFound):
        await kept.remove("other")
    await kept.remove("team")
    assert kept.all() == ()
    with pytest.raises(NotFound):
        await messenger(store).test(None)


async def test_no_more_than_so_many_messages_wait(store: Store):
    carrier = messenger(store)
    await store.destinations.add(Destination("team", "json://127.0.0.1:1/x"))
    for number in range(WAITING + 30):
        carrier.post(notice(str(number)))
    assert (carrier.waiting, carrier.outcomes["dropped"]) == (WAITING, 30)
    await carrier.remove("team")
    assert carrier.waiting == 0
