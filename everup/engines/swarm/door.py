"""The control plane's address on every host that votes in the Swarm: passes bytes on to where it is now.

Bytes only: TLS ends at the control plane, so a door needs neither key nor certificate.
"""

import argparse
import asyncio
from contextlib import suppress

from everup.engines.swarm.docker import Docker
from everup.engines.swarm.placement import CONTROL_PORT, DOOR_PORT
from everup.engines.swarm.state import manifest_in
from everup.model.errors import EngineError

LOOK_EVERY_S = 1.0
CONNECT_S = 5.0
"""How long whoever knocks waits, at most, for the control plane to take the connection."""

CONNECTIONS = 512
_CHUNK_BYTES = 65_536


class Door:
    """Passes connections on to the address that was seen last. `watch` keeps it up to date."""

    def __init__(self, docker: Docker, port: int = CONTROL_PORT) -> None:
        self.address = ""
        self._docker = docker
        self._port = port
        self._open = 0

    async def watch(self) -> None:
        """See where the control plane is, for ever; while the Swarm does not answer, it is where it was."""
        while True:
            with suppress(EngineError):
                self.address = manifest_in((await self._docker.cluster.inspect())["Spec"]).address
            await asyncio.sleep(LOOK_EVERY_S)

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until both sides have ended it; one too many, or that leads nowhere, is ended."""
        self._open += 1
        try:
            if self.address and self._open <= CONNECTIONS:
                async with asyncio.timeout(CONNECT_S):
                    inner, outer = await asyncio.open_connection(self.address, self._port)
                await asyncio.gather(_pass(reader, outer), _pass(inner, writer))
        except OSError:  # also that it took too long
            pass
        finally:
            self._open -= 1
            writer.close()


async def _pass(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends, and then the end."""
    try:
        while piece := await source.read(_CHUNK_BYTES):
            to.write(piece)
            await to.drain()
        if to.can_write_eof():
            to.write_eof()
    except OSError:
        to.close()


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
