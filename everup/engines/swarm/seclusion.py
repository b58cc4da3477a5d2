"""An agent's part in drills of hosts: it cuts its own host off from all others, and kills what runs there."""

import asyncio
import time
from ipaddress import IPv6Address, ip_address

from everup.engines.background import Background
from everup.engines.swarm.cut import cut_off, let_go
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.look import Lookout
from everup.engines.swarm.sight import Cut
from everup.model.errors import EngineError

ANSWER_S = 0.2
"""How long the answer to whoever asked for a cut has to get through."""

SWEEP_EVERY_S = 0.2
"""How often what must not run is looked for."""


class Seclusion:
    """Keeps a host to itself for a while. The end of a cut is the kernel's to bring about: this agent may be killed."""

    def __init__(self, docker: Docker, lookout: Lookout) -> None:
        self._docker = docker
        self._lookout = lookout
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
        await asyncio.sleep(max(0.0, end_s - time.monotonic()) + 1.0)
        if number == self._number:  # the cut is over; its table is what is left
            await asyncio.to_thread(let_go)

    async def _kill(self, environment: str) -> None:
        """Kill whatever stands of an environment; what cannot be asked for now is killed the next time."""
        try:
            traces = await self._lookout.traces(environment)
            standing = [one for trace in traces.values() for one in trace.containers if one.standing]
            await asyncio.gather(*(self._docker.containers.kill(one.id, "SIGKILL") for one in standing))
        except EngineError:
            return


def _plain(address: str) -> str:
    """An address as its own protocol writes it: `::ffff:10.0.0.1` is 10.0.0.1, `fe80::1%eth0` is fe80::1."""
    found = ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)
