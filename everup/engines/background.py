"""Work that is done to its end, whoever asked for it and stopped waiting."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class Background:
    """Tasks that a cancelled caller leaves behind."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        """Do it from now on; an error that nobody waits for is dropped."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def finish(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do it and wait for it; when the caller is cancelled it goes on all the same."""
        return await asyncio.shield(self.begin(work))

    async def settled(self) -> None:
        """Wait until all of it is done."""
        while self._tasks:
            await asyncio.wait(self._tasks)
