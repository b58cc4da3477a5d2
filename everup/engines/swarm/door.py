"""The control plane's address on every host that votes in the Swarm: passes bytes on to where it is now.

Bytes only: TLS ends at the control plane, so a door needs neither key nor certificate.
"""

import argparse
import asyncio
from contextlib import suppress

from everup.engines.swarm.docker import Docker
from everup.engines.swarm.manifest import manifest_in
from everup.engines.swarm.passing import pass_on
from everup.engines.swarm.placement import CONTROL_PORT, DOOR_PORT
from everup.model.errors import EngineError

LOOK_EVERY_S = 1.0
CONNECT_S = 5.0
"""How long whoever knocks waits, at most, for the control plane to take the connection."""

CONNECTIONS = 512

_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
"""Of a connection: what it says, and where it is told."""


class Door:
    """Passes connections on to the address that was seen last. `watch` keeps it up to date.

    Args:
        docker: of this host.
        port: on which the control plane listens.
        most: connections at once.
    """

    def __init__(self, docker: Docker, port: int = CONTROL_PORT, most: int = CONNECTIONS) -> None:
        self._docker = docker
        self._port = port
        self._most = most
        self._address = ""
        self._open: set[asyncio.Task[None]] = set()

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
        self._open.add(task)
        try:
            if self._address and len(self._open) <= self._most:
                async with asyncio.timeout(CONNECT_S):
                    inner, outer = await asyncio.open_connection(self._address, self._port)
                await _join((reader, writer), (inner, outer))
        except (OSError, asyncio.CancelledError):  # nobody there, it took too long, or it leads elsewhere by now
            pass
        finally:
            self._open.discard(task)
            writer.close()


async def _join(client: _Ends, control: _Ends) -> None:
    """Pass bytes on both ways until the control plane has said all: a client may end its own part before."""
    asking = asyncio.create_task(pass_on(client[0], control[1]))
    try:
        await pass_on(control[0], client[1])
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        control[1].close()


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
