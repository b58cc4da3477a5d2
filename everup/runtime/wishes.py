"""Operations that somebody asked for: performed like those that rules propose, and answered with how they ended."""

import asyncio
from collections.abc import Callable

from everup.model.actions import Operate
from everup.model.observed import Attempt


class Wishes:
    """What was asked for and has not ended yet; one per service and operation. `wake` lets the loop plan again."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._open: dict[tuple[str, str], tuple[Operate, asyncio.Future[Attempt]]] = {}

    async def fulfil(self, wish: Operate, within_s: float) -> Attempt:
        """Have an operation performed, and say how it ended; one that did not end in time counts as not done."""
        key = (wish.service, wish.operation)
        if key not in self._open:
            self._open[key] = (wish, asyncio.get_running_loop().create_future())
        _, ended = self._open[key]
        self._wake()
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(ended)
        except TimeoutError:
            return Attempt(0.0, False, f"it did not end within {within_s:g} s")
        finally:
            self._open.pop(key, None)

    def open(self) -> tuple[Operate, ...]:
        """What is to be performed, before anything that rules propose."""
        return tuple(wish for wish, _ in self._open.values())

    def ended(self, service: str, operation: str, attempt: Attempt) -> None:
        """An operation ended: tell whoever asked for it."""
        _, future = self._open.pop((service, operation), (None, None))
        if future is not None and not future.done():
            future.set_result(attempt)
