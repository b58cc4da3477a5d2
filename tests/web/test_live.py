"""News reach everybody who listens, are encoded once, and cost nothing where nobody does."""

import asyncio
import json
from collections.abc import Callable

from everup.api import views
from everup.api.errors import status_of
from everup.api.verdicts import verdict
from everup.model.errors import NodeFailed
from everup.model.events import Event
from everup.web.live import BEAT, MISSED, Feed, log_lines
from everup.web.ports import Tongue
from everup.web.sight import Sight
from tests.api.small_desk import SmallDesk, redis, web, world


class Talking(SmallDesk):
    """A desk whose events come from a queue; it counts who follows."""

    def __init__(self) -> None:
        super().__init__(world(redis(), web()))
        self.coming: asyncio.Queue[Event] = asyncio.Queue()
        self.followers = 0
        self.encoded = 0

    async def events(self, environment, *, after, follow):
        if not follow:
            return
        self.followers += 1
        try:
            while True:
                yield await self.coming.get()
        finally:
            self.followers -= 1

    def say(self, number: int) -> None:
        self.coming.put_nowait(
            Event("spec.applied", "shop", "2026-11-23T00:00:00Z", fields={"services": []}, seq=number)
        )


def tongue_of(desk: Talking) -> Tongue:
    def event(one):
        desk.encoded += 1
        return views.event(one)

    return Tongue(lambda picture: views.status(picture, "here"), verdict, event, status_of)


async def until(condition: Callable[[], bool]) -> None:
    """Let the others go on until it holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for is not the desk's to tell
            await asyncio.sleep(0)


def welcome() -> bool:
    return True


def seq(message: bytes) -> int:
    return json.loads(message.decode().partition("data: ")[2])["seq"]


async def test_fifty_listeners_are_told_by_one_follower_and_one_encoding():
    desk = Talking()
    feed = Feed(desk, tongue_of(desk))
    listeners = [feed.listen("shop", welcome) for _ in range(50)]
    for one in listeners:
        assert (await anext(one)).startswith(b":")
    desk.say(1)
    told = await asyncio.gather(*(anext(one) for one in listeners))
    assert b'"listeners": 50' in told[0]
    assert {seq(one) for one in told} == {1} and desk.encoded == 1 and desk.followers == 1
    assert told[0].startswith(b"id: 1\nevent: happened\ndata: ") and told[0].endswith(b"\n\n")
    for one in listeners:
        await one.aclose()
    await until(lambda: desk.followers == 0)


async def test_who_is_too_far_behind_is_told_that_something_was_missed(monkeypatch):
    monkeypatch.setattr("everup.web.live.BEHIND", 3)
    desk = Talking()
    feed = Feed(desk, tongue_of(desk))
    quick, slow = feed.listen("shop", welcome), feed.listen("shop", welcome)
    await anext(quick), await anext(slow)
    for number in range(1, 6):
        desk.say(number)
        assert seq(await anext(quick)) == number
    assert [await anext(slow), seq(await anext(slow))] == [MISSED, 5]
    await quick.aclose()
    await slow.aclose()


async def test_a_burst_comes_in_one_piece():
    desk = Talking()
    listener = Feed(desk, tongue_of(desk)).listen("shop", welcome)
    await anext(listener)
    for number in range(1, 4):
        desk.say(number)
    piece = await anext(listener)
    assert [one.partition(b"\n")[0] for one in piece.split(b"\n\n") if one] == [b"id: 1", b"id: 2", b"id: 3"]
    await listener.aclose()


async def test_who_is_signed_out_hears_no_more(monkeypatch):
    monkeypatch.setattr("everup.web.live.HEARTBEAT_S", 0.01)
    desk, welcomes = Talking(), [True, True, False]
    heard = [one async for one in Feed(desk, tongue_of(desk)).listen("shop", lambda: welcomes.pop(0))]
    assert heard == [BEAT, BEAT, BEAT] and welcomes == []


async def test_lines_of_a_log_are_told_as_they_come_and_its_end_too():
    desk = Talking()
    desk.breaks = NodeFailed("gone")
    told = [one async for one in log_lines(desk, "shop", "web-1", welcome, 2)]
    assert [one.partition(b"\n")[0] for one in told] == [b"event: line", b"event: line", b"event: over"]
    assert json.loads(told[0].decode().partition("data: ")[2]) == {"node": "web-1", "line": "line 0"}


async def test_many_who_look_at_one_moment_cost_one_look(monkeypatch):
    monkeypatch.setattr("everup.web.sight.FRESH_S", 3600.0)
    desk, looks = Talking(), []
    tongue = tongue_of(desk)

    def status(picture):
        looks.append(picture)
        return tongue.status(picture)

    sight = Sight(desk, Tongue(status, tongue.verdict, tongue.event, tongue.status_of))
    scenes = await asyncio.gather(*(sight.scene("shop") for _ in range(50)))
    assert len(looks) == 1 and all(one is scenes[0] for one in scenes)
