"""The certificate that the API's port shows: tried before it is used, and taken anew when its files change."""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from everup.core.tally import Certified
from everup.model.errors import EverupError

LOOK_EVERY_S = 10.0

_NO_CHECK_TIME = 0x200000
"""`X509_V_FLAG_NO_CHECK_TIME` of OpenSSL's x509_vfy.h, for which the standard library has no name."""

_ROUNDS = 8
"""More turns than any handshake takes."""

Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A pair of PEM files, and the context that serves it; `now` tells how that stands.

    Raises:
        EverupError: the pair cannot be used.
    """

    def __init__(self, cert: str, key: str, clock: Callable[[], float] = time.time) -> None:
        self._pair = (cert, key)
        self._clock = clock
        self.context = _serving()
        try:
            self._shown: Stamp | None = self._stamp()
            self.context.load_cert_chain(cert, key, password="")  # never ask
        except (OSError, ValueError) as error:
            raise EverupError(
                f"the certificate {cert} with the key {key} cannot be used: {_said(error)}",
                "Both are PEM files; the key belongs to the certificate and has no passphrase.",
                code="listen.tls",
            ) from error
        self._failed: Stamp | None = ()  # of no files
        self.now = Certified(self._expires_s())

    async def watch(self, tell: Callable[[Certified], None]) -> None:
        """Take the files anew whenever they change, for ever; `tell` is called with how it stands, often."""
        while True:
            tell(self.now)
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Take the files anew if they changed. Connections that are open keep what they began with.

        A pair that does not work is not taken, and told of when it is the same at the next look: whoever replaces two
        files one after the other leaves a pair that does not fit, for a moment.
        """
        found: Stamp | None = None
        try:
            found = self._stamp()
            if found == self._shown:
                self.now = replace(self.now, refused="")
                return
            expires_s = await asyncio.to_thread(tried, *self._pair, self._clock())
            if found != self._stamp():
                return
            self.context.load_cert_chain(*self._pair, password="")
        except (OSError, ValueError) as error:
            if found == self._failed:
                self.now = replace(self.now, refused=_said(error))
            self._failed = found
            return
        self._shown, self._failed, self.now = found, None, Certified(expires_s)

    def _stamp(self) -> Stamp:
        found = [Path(file).stat() for file in self._pair]
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)

    def _expires_s(self) -> float | None:
        """When the pair expires, for one that is used whatever comes of trying it."""
        try:
            return _ends_s(_shaken(*self._pair))
        except (OSError, ValueError):
            return None


def tried(cert: str, key: str, now_s: float) -> float:
    """When a certificate expires (seconds since 1970), once a handshake with it has worked, in memory.

    Raises:
        OSError: the pair cannot be used.
        ValueError: it is not valid at the moment `now_s`.
    """
    found = _shaken(cert, key)
    if now_s < ssl.cert_time_to_seconds(found["notBefore"]):
        raise ValueError(f"it is not valid before {found['notBefore']}")
    if now_s >= _ends_s(found):
        raise ValueError(f"it expired at {found['notAfter']}")
    return _ends_s(found)


def _shaken(cert: str, key: str) -> dict[str, Any]:
    """What a client reads in the certificate that a server with that pair shows."""
    server = _serving()
    server.load_cert_chain(cert, key, password="")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cert)
    client.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)  # itself is trusted
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(to_client, to_server)
    ends = (caller, server.wrap_bio(to_server, to_client, server_side=True))
    for _ in range(_ROUNDS):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return dict(caller.getpeercert() or {})


def _ends_s(found: dict[str, Any]) -> float:
    return float(ssl.cert_time_to_seconds(found["notAfter"]))


def _serving() -> ssl.SSLContext:
    return ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)


def _said(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "one of the two is no PEM file of its sort").replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
