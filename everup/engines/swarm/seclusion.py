"""An agent's part in drills of hosts: it cuts its own host off from all others, and kills what runs there."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from everup.engines.background import Background
from everup.engines.local.statefile import replace_text
from everup.engines.swarm.cut import cut_off, let_go
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.look import Lookout
from everup.engines.swarm.sight import LONGEST_S, Cut
from everup.model.errors import EngineError

ANSWER_S = 0.2
"""How long the answer to whoever asked for a cut has to get through."""

SWEEP_EVERY_S = 0.2
"""How often what must not run is looked for."""


_NOTE = "cut"
_AFTER_S = 1.0  # the kernel's clock and this one need not agree to the second


class Seclusion:
    """Keeps a host to itself for a while. The end of a cut is the kernel's to bring about: this agent may be killed.

    What a cut leaves behind then, a table that drops nothing, is for the next agent to take away (`clear_away`).

    Args:
        docker, lookout: of this host.
        folder: where it is noted until when there is a cut.
    """

    def __init__(self, docker: Docker, lookout: Lookout, folder: Path) -> None:
        self._docker = docker
        self._lookout = lookout
        self._note = folder / _NOTE
        self._work = Background()
        self._number = 0

    async def begin(self, wish: Cut, asker: str, here: str) -> None:
        """Make sure that this host can be cut off, and see to it in a moment.

        Args:
            wish: from whom, for how long, and what is killed.
            asker: the address of whoever asks; it is cut off too, so that it cannot see what others do not.
            here: the address of this host that it was asked at.

        Raises:
            EngineError: the kernel refuses; or whoever asks is on this host, and would be none the wiser.
        """
        asking = _plain(asker)
        if asking == _plain(here) or ip_address(asking).is_loopback:
            raise EngineError(
                "the control plane works from the host that it wants cut off",
                "Run it elsewhere, or cut off another host.",
                code="engine.cut_here",
            )
        with suppress(OSError):  # a full disk: then the table stays for the next cut, as one that was never noted
            await asyncio.to_thread(replace_text, self._note, f"{time.time() + ANSWER_S + wish.for_s}\n")
        await asyncio.to_thread(cut_off, (), wish.for_s)
        self._number += 1
        self._work.begin(self._seclude(wish.model_copy(update={"addresses": (*wish.addresses, asking)}), self._number))

    async def _seclude(self, wish: Cut, number: int) -> None:
        await asyncio.sleep(ANSWER_S)
        end_s = time.monotonic() + wish.for_s
        await asyncio.to_thread(cut_off, set(wish.addresses), wish.for_s)
        while wish.killed and time.monotonic() < end_s:
            await self._kill(wish.killed)
            await asyncio.sleep(SWEEP_EVERY_S)
        await asyncio.sleep(max(0.0, end_s - time.monotonic()) + _AFTER_S)
        if number == self._number:  # the cut is over; its table is what is left
            await asyncio.to_thread(let_go)
            self._note.unlink(missing_ok=True)

    async def _kill(self, environment: str) -> None:
        """Kill whatever stands of an environment; what cannot be asked for now is killed the next time."""
        try:
            traces = await self._lookout.traces(environment)
            standing = [one for trace in traces.values() for one in trace.containers if one.standing]
            await asyncio.gather(*(self._docker.containers.kill(one.id, "SIGKILL") for one in standing))
        except EngineError:
            return


def clear_away(folder: Path, end: Callable[[], None] = let_go) -> threading.Timer | None:
    """See to it that nothing is left of a cut that an earlier agent began, once that is over; None: there was none.

    Args:
        folder: as for `Seclusion`.
        end: takes the table away.
    """
    note = folder / _NOTE
    try:
        text = note.read_text()
        left_s = min(max(0.0, float(text) - time.time()), LONGEST_S) + _AFTER_S
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        text, left_s = "", LONGEST_S + _AFTER_S

    def clear() -> None:
        with suppress(OSError, EngineError):  # then the next cut replaces the table
            if text in ("", note.read_text()):  # else there was another cut since, whose end is seen to
                end()
                note.unlink(missing_ok=True)

    timer = threading.Timer(left_s, clear)
    timer.daemon = True
    timer.start()
    return timer


def _plain(address: str) -> str:
    """An address as its own protocol writes it: `::ffff:10.0.0.1` is 10.0.0.1, `fe80::1%eth0` is fe80::1."""
    found = ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)
