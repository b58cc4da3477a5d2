"""How long writers wait for a change: a write is sent again and again, where clients write, until it is done."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Sequence

from everup.model.desired import Ask, ReplyError, Silence
from everup.runtime.talk import Console, Link, ask_again

BEAT_EVERY_S = 0.02
AFTER_S = 1.0
"""How long the measurement goes on when the change is done."""


async def beats_until(done: Callable[[], bool], beat: Ask, console: Console, within_s: float) -> list[float]:
    """Send `beat` until `done`, and a moment longer, `within_s` at most; when each was answered (monotonic seconds)."""
    answered: list[float] = []
    end_s = time.monotonic() + within_s
    link: Link | None = None
    while time.monotonic() < end_s:
        link, reply = await ask_again(beat, console, link)
        if not isinstance(reply, Silence) and not any(isinstance(one, ReplyError) for one in reply):
            answered.append(time.monotonic())
        if done():
            end_s = min(end_s, time.monotonic() + AFTER_S)
            done = _never
        await asyncio.sleep(BEAT_EVERY_S)
    if link:
        link.close()
    return answered


def _never() -> bool:
    return False


def pause_of(answered: Sequence[float]) -> tuple[float, float] | None:
    """(the longest time between two answers, the usual one) in seconds; None where there were not even two."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(answered)]
    return (max(gaps), statistics.median(gaps)) if gaps else None
