"""The control plane's address on every host that votes in the Swarm: passes bytes on to where it is now.

Bytes only: TLS ends at the control plane, so a door needs neither key nor certificate. Before them it says whose they
are (`core.announcing`), so that the control plane tells those who come through it apart. The control plane ends what is
idle, and the kernel what has broken off without a word.
"""

import argparse
import asyncio
from contextlib import suppress

from everup.core.announcing import announcement
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.hosts import watch_over
from everup.engines.swarm.manifest import manifest_in
from everup.engines.swarm.passing import pass_on
from everup.engines.swarm.placement import CONTROL_PORT, DOOR_PORT
from everup.model.errors import EngineError

LOOK_EVERY_S = 1.0
CONNECT_S = 5.0
"""How long whoever knocks waits, at most, for the control plane to take the connection."""

CLIENT_LOST_S = 60
"""How long a client may not even acknowledge what it was sent; a host is given less."""

CONNECTIONS, EACH = 512, 64
"""How many connections may be open at once, and how many of them from one address."""


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
"""Of a connection: what it says, and where it is told."""


class Door:
    """Passes connections on to the address that was seen last. `watch` keeps it up to date.

    Args:
        docker: of this host.
        port: on which the control plane listens.
        most, each: connections at once, and of one address.
    """

    def __init__(self, docker: Docker, port: int = CONTROL_PORT, most: int = CONNECTIONS, each: int = EACH) -> None:
        self._docker = docker
        self._port = port
        self._most, self._each = most, each
        self._address = ""
        self._open: dict[asyncio.Task[None], str] = {}

    async def watch(self) -> None:
        """See where the control plane is, for ever; while the Swarm does not answer, it is where it was."""
        while True:
            with suppress(EngineError):
                self.lead_to(manifest_in((await self._docker.cluster.inspect())["Spec"]).address)
            await asyncio.sleep(LOOK_EVERY_S)

    def lead_to(self, address: str) -> None:
        """The control plane is there from now on. Connections to another place end: a lost host never says that."""
        if address != self._address:
            for task in self._open:
                task.cancel()
        self._address = address

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends; one too many, or that leads nowhere, is ended at once."""
        task = asyncio.current_task()
        assert task is not None
        client, port = (writer.get_extra_info("peername") or ("", 0))[:2]  # none: it is gone again
        self._open[task] = client
        try:
            if self._address and client and self._admits(client):
                async with asyncio.timeout(CONNECT_S):
                    inner, outer = await asyncio.open_connection(self._address, self._port)
                try:
                    watch_over(writer.get_extra_info("socket"), CLIENT_LOST_S)
                    watch_over(outer.get_extra_info("socket"))
                    outer.write(announcement(client, port, *writer.get_extra_info("sockname")[:2]))
                    await _join((reader, writer), (inner, outer))
                finally:
                    outer.close()
        except (OSError, asyncio.CancelledError):  # nobody there, it took too long, or it leads elsewhere by now
            pass
        finally:
            del self._open[task]
            writer.close()

    def _admits(self, client: str) -> bool:
        """There is room for one more of it, which is counted already."""
        return len(self._open) <= self._most and list(self._open.values()).count(client) <= self._each


async def _join(client: _Ends, control: _Ends) -> None:
    """Pass bytes on both ways until the control plane has said all: a client may end its own part before."""
    asking = asyncio.create_task(pass_on(client[0], control[1]))
    try:
        await pass_on(control[0], client[1])
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def serve(address: str, port: int) -> None:
    """Keep the door until cancelled.

    Raises:
        OSError: the port is taken.
    """
    door = Door(Docker())
    server = await asyncio.start_server(door.enter, address, port)
    async with server:
        await door.watch()


def main(arguments: list[str] | None = None) -> None:
    """Serve until asked to end."""
    parser = argparse.ArgumentParser(prog="everup.engines.swarm.door", description=__doc__)
    parser.add_argument("--address", default="0.0.0.0", help="where to listen")
    parser.add_argument("--port", type=int, default=DOOR_PORT)
    wanted = parser.parse_args(arguments)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(wanted.address, wanted.port))


if __name__ == "__main__":
    main()
