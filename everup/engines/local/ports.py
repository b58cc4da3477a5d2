"""Addresses for nodes: a block of loopback addresses per environment, or ports on 127.0.0.1 where there is none."""

import hashlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from everup.engines.local.listeners import in_use, listeners
from everup.model.contracts import Claim
from everup.model.desired import Tcp
from everup.model.errors import EngineError

RANGE = IPv4Network("127.64.0.0/10")
"""Where blocks are taken from: 16,384 of 254 addresses each, far from the 127.0.0.1 that everybody uses."""

_BLOCKS = RANGE.num_addresses // 256
_FIRST_HOST, _LAST_HOST = 2, 254
_FREE_PORTS = range(20_000, 30_000)  # below what the kernel hands out to clients
_PORT_TRIES = 100
_SHARED = "127.0.0.1"


def loopback_range_usable(environ: Mapping[str, str] = os.environ) -> bool:
    """All of 127.0.0.0/8 can be listened on. False on macOS, and with `EVERUP_LOOPBACK=ports`."""
    if environ.get("EVERUP_LOOPBACK") == "ports":
        return False
    try:
        in_use(Tcp(str(RANGE[-2]), 0))
    except OSError:
        return False
    return sys.platform != "darwin"


def choose_block(seed: str, taken: Collection[str]) -> str:
    """The first three numbers of a /24, such as `127.91.7`, in which nobody listens and which is not in `taken`.

    The same `seed` leads to the same block while that is free.

    Raises:
        EngineError: no block is free.
    """
    busy = {one.host.rpartition(".")[0] for one in listeners()} | set(taken)
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    for step in range(_BLOCKS):
        block = str(RANGE[(start + step) % _BLOCKS * 256]).rpartition(".")[0]
        if block not in busy:
            return block
    raise EngineError(f"no block of addresses is free in {RANGE}", "Set EVERUP_LOOPBACK=ports to use ports instead.")


def free_port(taken: Collection[int], start: int = 0) -> int:
    """A port of 127.0.0.1 on which nobody listens, not in `taken`; the search begins `start` ports into the range.

    Raises:
        EngineError: none is free.
    """
    for step in range(len(_FREE_PORTS)):
        port = _FREE_PORTS[(start + step) % len(_FREE_PORTS)]
        if port not in taken and not in_use(Tcp(_SHARED, port)):
            return port
    raise EngineError(f"no port from {_FREE_PORTS[0]} to {_FREE_PORTS[-1]} is free on {_SHARED}")


class LocalAddresses:
    """Issues addresses to the environments of one control plane, once and for ever.

    Args:
        home: the control plane's directory; another one leads to other blocks.
        elsewhere: called with an environment's name, gives every address issued to the other environments.
        usable: every loopback address can be used (see `loopback_range_usable`).
    """

    spread = False

    def __init__(
        self,
        home: Path,
        elsewhere: Callable[[str], Iterable[Tcp]] = lambda environment: (),
        usable: bool | None = None,
    ) -> None:
        self._home = home
        self._elsewhere = elsewhere
        self._usable = loopback_range_usable() if usable is None else usable

    def issue(
        self,
        environment: str,
        claims_by_label: Mapping[str, Sequence[Claim]],
        issued: Mapping[str, Mapping[str, Tcp]],
        forsaken: Set[Tcp] = frozenset(),
    ) -> dict[str, Mapping[str, Tcp]]:
        """Grant what is claimed and not granted yet.

        Args:
            environment: its name.
            claims_by_label: the claims of each service; those without ports (secrets) are passed over.
            issued: `<label>/<claim key>` -> port name -> address, granted earlier; all of it is kept as it is.
            forsaken: addresses of lost hosts: there are none here.

        Returns:
            `issued` and what is new, in the same shape.

        Raises:
            EngineError: no address or port is free.
        """
        granted = {key: dict(ports) for key, ports in issued.items()}
        for label, claims in claims_by_label.items():
            for claim in claims:
                key = f"{label}/{claim.key}"
                missing = {name: port for name, port in claim.ports.items() if name not in granted.get(key, {})}
                if missing:
                    new = self._grant(environment, missing, granted.get(key, {}), granted)
                    granted[key] = {**granted.get(key, {}), **new}
        return dict(granted)

    def _grant(
        self,
        environment: str,
        wanted: Mapping[str, int],
        had: Mapping[str, Tcp],
        granted: Mapping[str, Mapping[str, Tcp]],
    ) -> dict[str, Tcp]:
        mine = [address for ports in granted.values() for address in ports.values()]
        on_ports = mine[0].host == _SHARED if mine else not self._usable
        if on_ports:
            return self._ports(environment, wanted, [*mine, *self._elsewhere(environment)])
        host = next(iter(had.values())).host if had else self._next_host(environment, mine)
        new: dict[str, Tcp] = {}
        for name, port in wanted.items():
            taken = {address.port for address in (*had.values(), *new.values())}
            new[name] = Tcp(host, _first_free(host, port, taken))
        return new

    def _ports(self, environment: str, wanted: Mapping[str, int], taken: Iterable[Tcp]) -> dict[str, Tcp]:
        numbers = {address.port for address in taken}
        start = int.from_bytes(hashlib.sha256(self._seed(environment).encode()).digest()[:4], "big")
        new: dict[str, Tcp] = {}
        for name in wanted:
            new[name] = Tcp(_SHARED, free_port(numbers, start))
            numbers.add(new[name].port)
        return new

    def _next_host(self, environment: str, mine: Sequence[Tcp]) -> str:
        if not mine:
            others = {address.host.rpartition(".")[0] for address in self._elsewhere(environment)}
            return f"{choose_block(self._seed(environment), others)}.{_FIRST_HOST}"
        used = {int(IPv4Address(address.host)) & 0xFF for address in mine}
        block = mine[0].host.rpartition(".")[0]
        if max(used) < _LAST_HOST:
            return f"{block}.{max(used) + 1}"
        free = next((number for number in range(_FIRST_HOST, _LAST_HOST) if number not in used), None)
        if free is None:
            raise EngineError(f"{environment}: all addresses of {block}.0/24 are granted")
        return f"{block}.{free}"

    def _seed(self, environment: str) -> str:
        return f"{os.getuid()}:{self._home.resolve()}:{environment}"


def _first_free(host: str, preferred: int, taken: Collection[int]) -> int:
    """The preferred port, or the next one where somebody on this machine listens on it on all addresses."""
    for port in range(preferred, min(preferred + _PORT_TRIES, 65_536)):
        if port not in taken and not in_use(Tcp(host, port)):
            return port
    raise EngineError(f"no port from {preferred} upwards is free on {host}")
