"""Being told of the end of a process the moment it comes."""

import asyncio
from collections.abc import Callable

from everup.engines.local.process import Process

_LOOK_EVERY_S = 0.05


class Watcher:
    """Calls `ended` once, on the event loop, when `process` has ended; its own child or not makes no difference.

    Where there is no pidfd it looks every 50 ms.
    """

    def __init__(self, process: Process, ended: Callable[[], None]) -> None:
        self._process = process
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._open = True
        if process.pidfd >= 0:
            self._loop.add_reader(process.pidfd, self._tell)
        else:
            self._look()

    def close(self) -> None:
        """Stop watching."""
        if self._open and self._process.pidfd >= 0:
            self._loop.remove_reader(self._process.pidfd)
        if self._timer:
            self._timer.cancel()
        self._open = False

    def _look(self) -> None:
        if self._process.alive():
            self._timer = self._loop.call_later(_LOOK_EVERY_S, self._look)
        else:
            self._tell()

    def _tell(self) -> None:
        self.close()
        self._ended()
