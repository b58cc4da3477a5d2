"""What HAProxy says of its servers: the answer of one copy of an endpoint, or of several read as one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from everup.model.observed import Reading

_RUNNING = 2  # srv_op_state, in HAProxy's management guide under "show servers state"
_MAINTENANCE, _DRAINING = 0x01 | 0x02 | 0x20, 0x08 | 0x10  # srv_admin_state, ibidem


@dataclass(frozen=True)
class Server:
    """One server as HAProxy sees it: `address` is `ip:port`, `admin` is ready, drain or maint; `sessions` are open."""

    address: str
    up: bool
    admin: str
    sessions: int = 0

    @property
    def serves(self) -> bool:
        """It gets new requests."""
        return self.up and self.admin == "ready"


def read_servers(replies: tuple[Any, ...]) -> Reading:
    """Turn the answer to `STATE` into `facts["servers"]`: name -> `Server`. Lines that make no sense are skipped.

    Several copies of an endpoint answer one after the other, and are read as one.
    """
    texts = [reply if isinstance(reply, str) else "" for reply in replies]
    servers: dict[str, Server] = {}
    for states, counts in zip_longest(texts[::2], texts[1::2], fillvalue=""):
        for name, server in _servers(states, _sessions(counts)):
            servers[name] = _together(servers[name], server) if name in servers else server
    if not servers:
        return Reading(ready=False, because="HAProxy did not name its servers")
    return Reading(ready=True, facts={"servers": servers})


def _together(one: Server, other: Server) -> Server:
    """What two copies say of a server: it serves only where it does for the clients of both."""
    address = one.address if one.address == other.address else f"{one.address} and {other.address}"
    admin = one.admin if one.admin != "ready" else other.admin
    return Server(address, one.up and other.up, admin, one.sessions + other.sessions)


def _servers(text: str, sessions: Mapping[tuple[str, str], int]) -> Iterator[tuple[str, Server]]:
    for row in _rows(text, " "):
        try:
            admin, state, port = int(row["srv_admin_state"]), int(row["srv_op_state"]), int(row["srv_port"])
            name, address = row["srv_name"], row["srv_addr"]
        except (KeyError, ValueError):
            continue
        word = "maint" if admin & _MAINTENANCE else "drain" if admin & _DRAINING else "ready"
        open_sessions = sessions.get((row.get("be_name", ""), name), 0)
        yield name, Server(f"{address}:{port}", state == _RUNNING, word, open_sessions)


def _sessions(text: str) -> dict[tuple[str, str], int]:
    found = {}
    for row in _rows(text, ","):
        if row.get("scur", "").isdecimal():
            found[row.get("pxname", ""), row.get("svname", "")] = int(row["scur"])
    return found


def _rows(text: str, separator: str) -> Iterator[dict[str, str]]:
    """The lines under the header that starts with `# `, by column name."""
    names: list[str] | None = None
    for line in text.splitlines():
        if line.startswith("# "):
            names = line[2:].split(separator)
        elif names and line.strip():
            yield {name: value for name, value in zip_longest(names, line.split(separator), fillvalue="") if name}
