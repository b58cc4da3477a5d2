"""What a control plane in a Swarm shows to its clients: a certificate of the hosts that vote now.

The key that the Swarm keeps signs it; clients keep the certificate of that key, and need no other when hosts join.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

from everup.engines.local.statefile import replace_text
from everup.engines.swarm.certificates import signed
from everup.engines.swarm.control import CONFIGS, SECRETS, SHOWN_CERT, SHOWN_KEY, TLS_CERT, TLS_KEY
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.fleet import view_of
from everup.model.errors import EngineError

LOOK_EVERY_S = 20.0
"""How often it is seen whether other hosts vote. What is shown is read anew as often as any API certificate."""

ALWAYS = ("127.0.0.1", "localhost")


class Leaf:
    """The certificate in `home`, for which the API looks there.

    Args:
        docker: of a host that votes.
        home: of the control plane.
        secrets, configs: where the container finds what the Swarm gives it.

    Attributes:
        addresses: of the hosts that vote, by the newest look: each has a door.
    """

    def __init__(self, docker: Docker, home: Path, secrets: Path = SECRETS, configs: Path = CONFIGS) -> None:
        self._docker = docker
        self._home = home
        self._above = (secrets / TLS_KEY, configs / TLS_CERT)
        self._names: tuple[str, ...] = ()
        self.addresses: frozenset[str] = frozenset()

    async def renew(self) -> bool:
        """Sign a new one where other hosts vote than before; whether that was so.

        Raises:
            EngineError: the Swarm does not answer, or what it gave cannot be used.
        """
        voters = [host for host in map(view_of, await self._docker.cluster.nodes()) if host.votes]
        self.addresses = frozenset(host.address for host in voters)
        names = tuple(dict.fromkeys([*ALWAYS, *sorted({one for host in voters for one in (host.address, host.name)})]))
        if names == self._names:
            return False
        try:
            await asyncio.to_thread(self._sign, names)
        except (OSError, ValueError) as error:
            raise EngineError(f"the API's certificate cannot be made: {error}") from error
        self._names = names
        return True

    async def watch(self) -> None:
        """Renew it for ever; while the Swarm does not answer, the former one is shown."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(EngineError):
                await self.renew()

    def _sign(self, names: tuple[str, ...]) -> None:
        above_key, above_cert = (place.read_text() for place in self._above)
        key, cert = signed(above_key, above_cert, names)
        replace_text(self._home / SHOWN_KEY, key)
        replace_text(self._home / SHOWN_CERT, cert)
