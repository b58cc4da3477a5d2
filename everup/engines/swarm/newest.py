"""The newest control plane that a host has heard of: its agent notes the number, and who has a smaller one is refused.

The note is in a volume of the agent's own, which the start program of every node on that host reads.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

from everup.engines.swarm.volume import hear, heard
from everup.model.errors import EngineError

HEADER = "Everup-Keeping"
"""Of every request to an agent: the number of the control plane that asks."""

MEANT = "Everup-Host"
"""Of every request to an agent: the id of the host that is meant. Addresses pass on to other hosts, ids do not."""

DEPOSED = "engine.deposed"


class Newest:
    """Keeps the largest number, durably, in `folder`. Its methods belong to one event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = self._number = heard(folder)
        self._alone = asyncio.Lock()

    async def admit(self, number: int) -> None:
        """Return if nobody with a larger number has been heard, and see to it that nobody with a smaller one will be.

        While the disk is full a larger number counts until the agent ends, and is noted as soon as there is room:
        whoever is the newest must be able to act all the same.

        Raises:
            EngineError: a newer control plane has been heard (code `engine.deposed`).
        """
        self._refuse(number)
        self._number = number
        if number == self._kept:
            return
        async with self._alone:
            if number > self._kept:
                with suppress(OSError):
                    await asyncio.to_thread(hear, self._folder, number)
                    self._kept = number
        self._refuse(number)  # somebody newer may have come meanwhile

    def _refuse(self, number: int) -> None:
        if number < self._number:
            raise EngineError(
                "a newer control plane has been heard on this host, and this one may do nothing here any more",
                "The one that was started last decides.",
                code=DEPOSED,
            )
