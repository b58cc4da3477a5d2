"""Which control plane looks after a Swarm: each that begins takes a number there, larger than that of any before it.

Every call to an agent, and every start that is ordered, bears the number; who has a smaller one than has been heard of
is refused. So what a control plane wanted before it was frozen, or cut off, happens no more once another one acts.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from everup.engines.swarm.manifest import Manifest, manifest_in, with_manifest
from everup.engines.swarm.newest import DEPOSED
from everup.model.errors import EverupError, Unavailable

if TYPE_CHECKING:  # every control plane has a turn, and few have a Swarm
    from everup.engines.swarm.docker import Docker, Thing

Lost = Callable[[EverupError], None]


class Keeping:
    """The turn of this control plane at looking after a Swarm.

    Args:
        lost: told once, when it is certain that another one's turn has come.

    Attributes:
        name: by which the Swarm knows this control plane; no other has it.
        number: larger than that of any before it; 0 until it has taken one.
    """

    def __init__(self, lost: Lost) -> None:
        self.name = secrets.token_hex(4)
        self.number = 0
        self._lost = lost
        self._over: Unavailable | None = None  # never raised itself: each raise would make its traceback longer

    async def take(self, docker: "Docker", address: str) -> tuple[Manifest, Manifest]:
        """Begin, whoever looked after the Swarm until now; what the Swarm said before, and what it says now.

        The number follows the clock, so it also is larger than any that a host heard in an earlier Swarm.

        Args:
            docker: of a host that votes.
            address: where this control plane is, for whoever asks.

        Raises:
            EngineError: the Swarm does not take it.
        """
        former = Manifest()

        def claim(spec: "Thing") -> "Thing":
            nonlocal former
            former = manifest_in(spec)
            number = max(former.keeping + 1, time.time_ns() // 1_000_000)
            mine = replace(former, number=former.number + 1, keeper=self.name, address=address, keeping=number)
            return with_manifest(spec, mine)

        now = manifest_in(await docker.cluster.change(claim))
        self.number = now.keeping
        return former, now

    def see(self, found: Manifest) -> None:
        """The Swarm says this by now; what it said before this turn began says nothing."""
        if self.number and found.keeping > self.number:
            self.end(found.address)

    def end(self, address: str = "") -> Unavailable:
        """Another one looks after the Swarm by now, at `address`: this one may do nothing more there; says so."""
        if self._over is None:
            self._over = _replaced(address)
            self._lost(self._over)
        return _replaced(address)

    def check(self) -> None:
        """Return while nothing is known of a later one.

        Raises:
            Unavailable: another control plane looks after the Swarm by now (code `engine.deposed`).
        """
        if self._over:
            raise deposed(self._over.message)


def deposed(message: str) -> Unavailable:
    """The error for whoever is not the newest any more."""
    hint = "The one that was started last decides, this one does nothing there any more: use that one, or restart this."
    return Unavailable(message, hint, code=DEPOSED)


def _replaced(address: str) -> Unavailable:
    where = f", at {address}" if address else ""
    return deposed(f"another control plane looks after this Swarm since{where}")
