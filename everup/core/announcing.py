"""Who is at the other end of a connection that somebody passes on: the PROXY protocol, version 2. Pure.

The header comes before all else: 16 bytes, of which the last two say how many more follow, and those.
"""

import ipaddress

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
HEAD_BYTES = 16
LONGEST_BYTES = 216 + HEAD_BYTES
"""Of a whole header, as the protocol has it; what claims more is none."""

_PASSED_ON = 0x21  # version 2, command PROXY
_FAMILIES = {4: (0x11, 4), 6: (0x21, 16)}  # TCP over IPv4 and IPv6: the family's byte, the length of an address
_PORTS_BYTES = 4


def announcement(client: str, client_port: int, to: str, to_port: int) -> bytes:
    """The header for a connection from `client` to `to`: IP addresses of one family."""
    source, target = ipaddress.ip_address(client.partition("%")[0]), ipaddress.ip_address(to.partition("%")[0])
    family, _ = _FAMILIES[source.version]
    body = source.packed + target.packed + client_port.to_bytes(2, "big") + to_port.to_bytes(2, "big")
    return SIGNATURE + bytes([_PASSED_ON, family]) + len(body).to_bytes(2, "big") + body


def may_begin(begin: bytes) -> bool:
    """These first bytes of a connection, at least one, may be those of a header."""
    return begin[: len(SIGNATURE)] == SIGNATURE[: len(begin)]


def length_of(head: bytes) -> int:
    """The bytes of a whole header, from its first 16.

    Raises:
        ValueError: there is none of that length.
    """
    length = HEAD_BYTES + int.from_bytes(head[HEAD_BYTES - 2 : HEAD_BYTES], "big")
    if length > LONGEST_BYTES:
        raise ValueError(f"a header of {length} bytes")
    return length


def client_in(header: bytes) -> tuple[str, int] | None:
    """The address and the port of the client that a whole header tells of; None: of none."""
    for number, length in _FAMILIES.values():
        if header[12:14] == bytes([_PASSED_ON, number]) and len(header) >= HEAD_BYTES + 2 * length + _PORTS_BYTES:
            ports = HEAD_BYTES + 2 * length
            address = ipaddress.ip_address(header[HEAD_BYTES : HEAD_BYTES + length])
            return str(address), int.from_bytes(header[ports : ports + 2], "big")
    return None
