"""Where the API listens besides its Unix socket, and what that takes: plain HTTP on loopback only."""

import ipaddress
from dataclasses import dataclass

from everup.model.errors import EverupError, Refused


@dataclass(frozen=True)
class Listening:
    """An address and a port; with a certificate and its key (paths of PEM files) it speaks HTTPS."""

    host: str
    port: int
    tls_cert: str | None = None
    tls_key: str | None = None

    @property
    def url(self) -> str:
        """What clients are given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"


def listening(address: str, tls_cert: str | None = None, tls_key: str | None = None) -> Listening:
    """Read `ADDR:PORT`, with an IP address or `localhost`; an IPv6 address stands in brackets.

    Raises:
        EverupError: it is no address and port.
        Refused: tokens would cross a network in the clear.
    """
    host, _, port = address.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    where = _address("127.0.0.1" if host == "localhost" else host)
    if where is None or not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise EverupError(
            f"{address} is no address and port", "For example: 127.0.0.1:7443, or [::1]:7443.", code="listen.address"
        )
    if (tls_cert is None) != (tls_key is None):
        raise EverupError("a certificate and its key go together", "--tls-cert FILE --tls-key FILE", code="listen.tls")
    if not where.is_loopback and tls_cert is None:
        raise Refused(
            f"{host} can be reached from other machines, and without TLS tokens and passwords would cross the network "
            "for everybody to read",
            f"With a certificate: --tls-cert cert.pem --tls-key key.pem. To make one of your own:\n{_making(where)}",
            code="refused.plain_http",
        )
    return Listening(str(where), int(port), tls_cert, tls_key)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _making(where: Address) -> str:
    """The command that makes a certificate for an address, or, where it listens on all, for names to fill in."""
    name = "DNS:$(hostname -f)" if where.is_unspecified else f"IP:{where}"
    return (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=everup"
        f" -addext subjectAltName={name} -keyout key.pem -out cert.pem"
    )


def is_here(server: str) -> bool:
    """Whether a URL leads to this machine, by a loopback address."""
    rest = server.partition("://")[2]
    authority = rest.partition("/")[0].rpartition("@")[2]
    host = authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
    where = _address("127.0.0.1" if host == "localhost" else host)
    return where is not None and where.is_loopback


def carries_secrets_openly(server: str) -> bool:
    """Whether a URL sends what it is given over a network in the clear: plain HTTP to other than loopback."""
    return not server.lower().startswith("https://") and not is_here(server)
