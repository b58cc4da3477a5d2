"""A main process from its start to its confirmed end."""

import asyncio
import contextlib
import signal
from collections.abc import Callable

from everup.engines.local import fencing, kernel
from everup.engines.local.process import Process
from everup.engines.local.watcher import Watcher
from everup.model.errors import EngineError

_RETRY_S = 1.0


class Life:
    """Watches `process`; once it has ended, kills what is left of the node and calls `buried` with its exit code.

    Attributes:
        asked: somebody ended it on purpose.
        staged: a drill ended it, so it is not a crash of its own.
    """

    def __init__(self, process: Process, trail: kernel.Trail, buried: "Callable[[Life, int | None], None]") -> None:
        self.process = process
        self.asked = False
        self.staged = False
        self._trail = trail
        self._buried = buried
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._burial: asyncio.Task[None] | None = None
        self._watcher = Watcher(process, self._end)

    @property
    def over(self) -> bool:
        """It has ended, and nothing of it is left."""
        return self._over.done()

    @property
    def running(self) -> bool:
        """Its main process lives."""
        return self._burial is None and self.process.alive()

    def ask(self, number: int) -> None:
        """Send a signal that is meant to end it."""
        self.asked = True
        self.process.signal(number)

    def strike(self) -> None:
        """Kill the main process at once; what may not be killed is found by whoever waits for the end."""
        if not self.over:
            with contextlib.suppress(PermissionError):
                self.ask(signal.SIGKILL)

    async def wait(self, timeout_s: float) -> bool:
        """Wait until it is over, at most `timeout_s` seconds; say whether it is."""
        await asyncio.wait([self._over], timeout=timeout_s)
        return self.over

    async def close(self) -> None:
        """Let go of it; it runs on."""
        self._watcher.close()
        if self._burial:
            await asyncio.wait([self._burial], timeout=fencing.PATIENCE_S)
        self.process.close()

    def _end(self) -> None:
        self._burial = asyncio.get_running_loop().create_task(self._bury())

    async def _bury(self) -> None:
        exit_code = self.process.exit_code()
        while True:
            try:
                await asyncio.to_thread(fencing.sweep, self._trail, self.process.pid, self.process.start)
                break
            except EngineError:  # something of it cannot be ended yet: its death is not confirmed
                await asyncio.sleep(_RETRY_S)
        if exit_code is None:  # adopted: the kernel tells once PID 1 has reaped it
            exit_code = self.process.exit_code()
        self.process.close()
        self._buried(self, exit_code)
        self._over.set_result(None)
