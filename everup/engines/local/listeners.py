"""Who listens where on this machine."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from everup.model.desired import Tcp

_LISTEN = "0A"


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket; `host` is `0.0.0.0` when it listens on every address."""

    host: str
    port: int
    inode: str


def in_use(address: Tcp) -> bool:
    """Somebody listens on `address`, or on its port on all addresses.

    Connections that linger from an earlier listener do not count.

    Raises:
        OSError: nobody could listen there: no such address on this machine, or no permission.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def listeners() -> Iterator[Listener]:
    """Every listening TCP socket that /proc shows; none where there is no /proc."""
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTEN:
                    host, _, port = words[1].partition(":")
                    yield Listener(_host(host), int(port, 16), words[9])


def owner(address: Tcp) -> str:
    """Who listens on `address`, as "process 123 (nginx)"; empty where /proc does not tell."""
    inodes = {f"socket:[{one.inode}]" for one in listeners() if one.port == address.port and _covers(one, address)}
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        with contextlib.suppress(OSError):
            if any(str(handle.readlink()) in inodes for handle in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return ""


def _covers(one: Listener, address: Tcp) -> bool:
    return one.host in (address.host, "0.0.0.0")


def _host(text: str) -> str:
    """Read the kernel's spelling: hexadecimal words of 32 bits in the byte order of the machine (little-endian)."""
    raw = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    if len(raw) == 4:
        return str(IPv4Address(raw))
    address = IPv6Address(raw)
    if address == IPv6Address("::"):
        return "0.0.0.0"
    return str(address.ipv4_mapped or address)
