"""The API on a TCP port: the socket, its certificate, and connections that cannot pile up."""

import asyncio
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass

from uvicorn.protocols.http.h11_impl import H11Protocol

from everup.api.certificate import Certificate
from everup.core.listening import Listening
from everup.model.errors import EverupError

CONNECTIONS = 256
"""How many connections may be open at once; the control plane needs its descriptors for what it looks after."""

HEAD_S = 10.0
"""How long a connection may take to say what it wants, each time."""


@dataclass(frozen=True)
class OpenPort:
    """A TCP port that is open already, and where it is; whoever comes in by it has to say who they are.

    `doors` gives the addresses from which connections of others are passed on; None: there is no door to it.
    """

    listener: socket.socket
    to: Listening
    certificate: Certificate | None
    doors: Callable[[], Collection[str]] | None = None


def open_tcp(to: Listening) -> OpenPort:
    """Open a port.

    Raises:
        EverupError: the address is taken or not of this machine, or the certificate and its key cannot be used.
    """
    certificate = Certificate(to.tls_cert, to.tls_key) if to.tls_cert and to.tls_key else None
    try:
        return OpenPort(_bound(to), to, certificate)
    except OSError as error:
        raise EverupError(
            f"the API cannot listen on {to.host}:{to.port}: {error.strerror or error}",
            "Take another: everup serve --listen ADDR:PORT",
            code="listen.failed",
        ) from error


def _bound(to: Listening) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in to.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((to.host, to.port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


class Bounded(H11Protocol):
    """A connection that is cut when there are too many, or when it does not say in time what it wants.

    `passed_on_for` is the address and the port of whom it is of, where that is not who made it; `each` is how many may
    be of one address.
    """

    passed_on_for: tuple[str, int] | None = None
    each = CONNECTIONS
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or cut it."""
        super().connection_made(transport)
        self.client = self.passed_on_for or self.client
        clients = [getattr(one, "client", None) for one in self.connections]
        of_one = [client and client[0] for client in clients].count(self.client and self.client[0])
        if len(self.connections) > CONNECTIONS or of_one > self.each:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Read on, and note whether a request is whole."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
