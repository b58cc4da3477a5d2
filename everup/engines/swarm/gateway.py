"""How agents and control planes know each other: both show the same certificate, and accept no other."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

HANDSHAKE_S = 5.0
"""How long a connection may take to show who it is."""

GRACE_S = 2
_CONNECTIONS = 256


def server_side(certificate: Path, key: Path) -> ssl.SSLContext:
    """For who listens: nobody is let in who does not hold the same key.

    Raises:
        OSError: the pair cannot be read, or is none.
    """
    return _only(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)


def client_side(certificate: Path, key: Path) -> ssl.SSLContext:
    """For who connects: nobody is trusted who does not hold the same key, whatever its name.

    Raises:
        OSError: the pair cannot be read, or is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _only(context, certificate, key)


def serve(app: Callable[..., Any], gate: ssl.SSLContext, address: str | None, port: int) -> None:
    """Serve an application to whoever `gate` lets in, until SIGTERM; on all addresses where none is given.

    Raises:
        OSError: somebody else listens there.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
    )
    _Server(config, gate, _listener(address, port)).run()


class _Server(uvicorn.Server):
    """Cuts a connection that does not show in time who it is; uvicorn would hold it for a minute."""

    def __init__(self, config: uvicorn.Config, gate: ssl.SSLContext, listener: socket.socket) -> None:
        super().__init__(config)
        self._gate = gate
        self._listener = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await self.lifespan.startup()
        self.servers = [
            await asyncio.get_running_loop().create_server(
                self._connection, sock=self._listener, ssl=self._gate, ssl_handshake_timeout=HANDSHAKE_S
            )
        ]
        self.started = True

    def _connection(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made


def _listener(address: str | None, port: int) -> socket.socket:
    if address is None and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    family = socket.AF_INET6 if address and ":" in address else socket.AF_INET
    return socket.create_server((address or "", port), family=family, backlog=128)


def _only(context: ssl.SSLContext, certificate: Path, key: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
