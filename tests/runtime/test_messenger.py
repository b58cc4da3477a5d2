"""Notifications reach a real HTTP server through Apprise, also one that fails at first."""

import asyncio
import gzip
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from everup.model.errors import EverupError, NotFound, Refused
from everup.model.notices import Destination, Letter, Notice, Tone, Topic
from everup.runtime.courier import WAITING, Courier
from everup.runtime.home import Home
from everup.runtime.messenger import Messenger
from everup.runtime.outbox import Outbox
from everup.runtime.safekeeping import back_up
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
        await carrier.add(Destination("team", "json"), server.url)
        await carrier.post(notice())
        await until(lambda: carrier.courier.outcomes["sent"])
        assert server.asked == 3
        (taken,) = server.taken
        assert (taken["title"], taken["message"]) == (notice().title, "redis01-2 took over")
        assert (taken["type"], carrier.courier.waiting) == ("success", 0)


async def test_a_server_that_never_takes_it_costs_that_message_and_its_secret_stays_one(store: Store):
    carrier = messenger(store)
    with Receiver(failures=10**6).open() as server:
        await carrier.add(Destination("team", "json"), server.url)
        await carrier.post(notice())
        await until(lambda: carrier.courier.outcomes["failed"])
        assert server.asked == 4
        (tried,) = await carrier.test("team")
    assert not tried.sent and tried.because
    assert SECRET not in tried.because and str(server.server_port) not in tried.because


async def test_a_url_nobody_understands_is_refused_at_once_and_not_repeated(store: Store):
    carrier = messenger(store)
    with pytest.raises(Refused) as caught:
        await carrier.add(Destination("team", "nonsense"), f"nonsense://{SECRET}")
    assert "appriseit.com" in caught.value.message and SECRET not in caught.value.message
    assert carrier.destinations() == ()


async def stopped(carrier: Messenger) -> None:
    """What becomes of it when its control plane ends."""
    run = asyncio.create_task(carrier.run(lambda events: ""))
    await asyncio.sleep(0)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_what_waited_when_the_control_plane_ended_is_delivered_by_the_next_one_once(tmp_path: Path):
    with Receiver(failures=10**6).open() as server:
        with closing(Store(tmp_path / "store.db")) as store:
            first = Messenger(SimpleNamespace(store=store, names=lambda: []), retry_s=(3600.0,))  # type: ignore[arg-type]
            await first.add(Destination("team", "json"), server.url)
            for title in ("one", "one", "two", "one"):  # the second says nothing new
                await first.post(notice(title))
            await until(lambda: server.asked)
            await stopped(first)
        server.failures = 0
        with closing(Store(tmp_path / "store.db")) as store:
            second = messenger(store)
            await second.courier.resume()
            await second.post(notice("one"))  # found once more by a control plane that knows nothing of before
            await until(lambda: second.courier.outcomes["sent"] == 3)
            assert [one["title"] for one in server.taken] == ["one", "two", "one"]
            assert (second.courier.waiting, store.outbox.all()) == (0, ())


async def test_a_message_that_comes_late_says_when_it_was_and_one_of_yesterday_does_not_come(store: Store):
    now = datetime.now(UTC)
    with Receiver().open() as server:
        await messenger(store).add(Destination("team", "json"), server.url)
        for title, before in (("old", timedelta(days=1)), ("late", timedelta(minutes=30)), ("new", timedelta())):
            await store.outbox.put(Letter("team", notice(title), (now - before).isoformat(timespec="seconds")))
        await store.outbox.put(Letter("removed", notice("elsewhere"), now.isoformat(timespec="seconds")))
        given_up: list[tuple[str, str]] = []
        courier = Courier(store, (), lambda letter, done: given_up.append((letter.notice.title, done.because)))
        await courier.resume()
        await until(lambda: courier.outcomes["sent"] == 2)
    assert given_up == [("old", "it waited for more than 2 h")]
    assert [one["title"] for one in server.taken] == ["late", "new"]
    assert "This was at" in server.taken[0]["message"] and "This was at" not in server.taken[1]["message"]


async def test_a_store_that_takes_no_more_keeps_no_message_back(store: Store, monkeypatch: pytest.MonkeyPatch):
    async def full(*_: object) -> None:
        raise EverupError("the disk is full", code="store.refused")

    carrier = messenger(store)
    with Receiver().open() as server:
        await carrier.add(Destination("team", "json"), server.url)
        monkeypatch.setattr(Outbox, "put", full)
        monkeypatch.setattr(Outbox, "take", full)
        await carrier.post(notice())
        await until(lambda: carrier.courier.outcomes["sent"])
    assert len(server.taken) == 1


async def test_urls_are_encrypted_and_no_backup_holds_one(tmp_path: Path):
    home = Home(tmp_path / "home")
    home.prepare()
    with closing(Store(home.store)) as store:
        await store.destinations.add(Destination("team", "json"), f"json://there/{SECRET}")
        assert store.destinations.url("team") == f"json://there/{SECRET}"
        written = b"".join(file.read_bytes() for file in home.path.iterdir())
        back_up(home, tmp_path / "backup")
    assert SECRET.encode() not in written + gzip.decompress((tmp_path / "backup").read_bytes())
    (home.path / "secret.key").unlink()
    with closing(Store(home.store)) as store:
        assert [one.scheme for one in store.destinations.all()] == ["json"]
        done = await messenger(store).test("team")
        assert (done[0].sent, "secret.key" in done[0].because) == (False, True)
        with pytest.raises(EverupError, match=r"secret\.key"):  # and no other key is made in its place
            await store.destinations.add(Destination("other", "json"), "json://there")


async def test_destinations_are_kept_by_name(store: Store):
    kept = store.destinations
    team = Destination("team", "json", (Topic.DRILL,), ("shop",))
    await kept.add(team, "json://there:80/x")
    assert (kept.all(), kept.url("team")) == ((team,), "json://there:80/x")
    with pytest.raises(Refused):
        await kept.add(Destination("team", "json"), "json://elsewhere")
    with pytest.raises(NotFound):
        await kept.remove("other")
    await kept.remove("team")
    assert kept.all() == ()
    with pytest.raises(NotFound):
        await messenger(store).test(None)


async def test_no_more_than_so_many_messages_wait(store: Store):
    carrier = messenger(store)
    await store.destinations.add(Destination("team", "json"), "json://127.0.0.1:1/x")
    for number in range(WAITING + 30):
        await carrier.post(notice(str(number)))
    assert (carrier.courier.waiting, carrier.courier.outcomes["dropped"]) == (WAITING, 30)
    assert len(store.outbox.all()) == WAITING
    await carrier.remove("team")
    assert (carrier.courier.waiting, store.outbox.all()) == (0, ())
