"""What somebody asks for is performed once, and answered with how it ended."""

import asyncio

from everup.model.actions import Operate
from everup.model.observed import Attempt
from everup.runtime.wishes import Wishes

WISH = Operate("db01", "switchover", "somebody asked for it", "db01-2")


async def test_a_wish_is_open_until_its_operation_ended():
    woken = asyncio.Event()
    wishes = Wishes(woken.set)
    asked = asyncio.create_task(wishes.fulfil(WISH, 5.0))
    await asyncio.wait_for(woken.wait(), 1.0)
    assert wishes.open() == (WISH,)
    wishes.ended("db01", "lead", Attempt(1.0, True, "the endpoint leads there"))
    assert wishes.open() == (WISH,)
    wishes.ended("db01", "switchover", Attempt(2.0, True, "db01-2 took over"))
    assert wishes.open() == ()
    assert (await asked).because == "db01-2 took over"


async def test_a_wish_that_nobody_can_fulfil_is_taken_back_in_time():
    wishes = Wishes(lambda: None)
    attempt = await wishes.fulfil(WISH, 0.01)
    assert not attempt.done
    assert wishes.open() == ()


async def test_two_who_ask_for_the_same_share_one_operation():
    wishes = Wishes(lambda: None)
    asked = [asyncio.create_task(wishes.fulfil(WISH, 5.0)) for _ in range(2)]
    await asyncio.sleep(0)
    assert wishes.open() == (WISH,)
    wishes.ended("db01", "switchover", Attempt(2.0, False, "nobody is in sync"))
    assert [attempt.because for attempt in await asyncio.gather(*asked)] == ["nobody is in sync"] * 2
