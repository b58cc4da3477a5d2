"""Where what is claimed goes: members of one group on hosts apart, ports unique on each host. Pure.

A *group* is what bears the same name and a number: `data-1`, `data-2`. What is *everywhere* (a service's endpoint) has
one loopback address that is the same on every host.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from everup.model.contracts import Claim
from everup.model.desired import Tcp
from everup.model.errors import EngineError, Refused
from everup.model.observed import Ground

LOOPBACK = IPv4Network("127.64.0.0/10")
"""Where the addresses of what is everywhere are taken from: a block of 254 for each environment."""

DOOR_PORT, AGENT_PORT, CONTROL_PORT = 8484, 8485, 8486
RESERVED = frozenset({DOOR_PORT, AGENT_PORT, CONTROL_PORT, 2375, 2376, 2377, 4789, 7946})
"""Ports that every host needs for itself: Everup's own and Docker's."""

Listeners = Mapping[str, Mapping[str, Tcp]]
"""`<label>/<claim key>` -> port name -> address."""

_BLOCKS = LOOPBACK.num_addresses // 256
_FIRST, _LAST = 2, 254


@dataclass(frozen=True)
class HostView:
    """A host of the Swarm: `id` is the Swarm's; it is `available` while it is ready and nobody has drained it.

    Attributes:
        ready: the Swarm hears from it.
        votes: it is one of those that keep the Swarm's state and elect its leader.
        down: the Swarm has given it up for now, which is more than not being ready.
        drained: it is to be left, by Everup's mark or by Docker's.
        emptied: Docker has drained it: the Swarm runs nothing there.
        cpus: how many processors it has; 0 where nobody has said.
    """

    id: str
    name: str
    address: str
    zone: str = ""
    available: bool = True
    votes: bool = False
    ready: bool = True
    down: bool = False
    drained: bool = False
    emptied: bool = False
    cpus: float = 0.0


@dataclass(frozen=True)
class Wanted:
    """A claim whose address is asked for: by whom, and which group and number its key means."""

    label: str
    claim: Claim

    @property
    def key(self) -> str:
        """What it is granted by."""
        return f"{self.label}/{self.claim.key}"

    @property
    def group(self) -> tuple[str, str]:
        """The label, and what the names of its group have in common."""
        return group_of(self.key)[:2]

    @property
    def number(self) -> int | None:
        """Which member of its group it is."""
        return group_of(self.key)[2]


def group_of(key: str) -> tuple[str, str, int | None]:
    """The label, the group and the number of a grant's key: `redis01/data-2` is number 2 of `data`."""
    label, _, name = key.partition("/")
    match = re.fullmatch(r"(.*)-(\d+)", name)
    return (label, match[1], int(match[2])) if match else (label, name, None)


def place(
    environment: str,
    claims: Mapping[str, Sequence[Claim]],
    issued: Listeners,
    hosts: Sequence[HostView],
    elsewhere: Iterable[Tcp] = (),
    running: Collection[str] = (),
) -> dict[str, Mapping[str, Tcp]]:
    """Grant what is claimed and not granted yet; what is granted stays as it is.

    Members of a group go to hosts that have the fewest of it, then to zones that have the fewest: first of those that
    run, then of all that are granted; then beside what has the same number in the same service, and then where the
    fewest addresses are granted. The same input gives the same answer.

    Args:
        environment: its name; it decides between hosts that are equal in all else.
        claims: those of each service; those without ports (secrets) are passed over.
        issued: what was granted earlier.
        hosts: all of the Swarm; only those that are available get something new.
        elsewhere: what is granted to other environments of the same Swarm.
        running: keys of grants whose nodes run, or are about to: most addresses of an app wait for a larger scale.

    Returns:
        `issued` and what is new, in the same shape.

    Raises:
        Refused: a quorum would have two members on one host (code `refused.hosts`).
        EngineError: no host is available, or no port is free.
    """
    ground = _Granting(environment, claims, issued, hosts, tuple(elsewhere))
    ground.running = frozenset(running)
    wanted = [Wanted(label, claim) for label, ones in claims.items() for claim in ones if claim.ports]
    for one in sorted(wanted, key=lambda one: (not one.claim.public, not one.claim.everywhere)):
        ground.grant(one)
    return ground.granted


def released(issued: Listeners, used: Collection[Tcp], hosts: Sequence[HostView]) -> dict[str, Mapping[str, Tcp]]:
    """`issued` without what may be granted anew: what no node ever used, of groups that lie unevenly over the hosts.

    So a group whose addresses were granted while there were fewer hosts grows over those that have joined since.

    Args:
        used: addresses at which a node was ever started; they stay, as others remember them.
        hosts: as for `place`.
    """
    by_address = {address: host.id for address, host in at_addresses(hosts).items()}
    spread: dict[tuple[str, str], Counter[str]] = {}
    for key, ports in issued.items():
        for address in {to.host for to in ports.values()} & set(by_address):
            spread.setdefault(group_of(key)[:2], Counter())[by_address[address]] += 1
    available = [host.id for host in hosts if host.available]
    uneven = {
        group
        for group, count in spread.items()
        if available and max(count.values()) - min(count[host_id] for host_id in available) > 1
    }
    return {
        key: ports
        for key, ports in issued.items()
        if group_of(key)[:2] not in uneven or any(to in used or to.host not in by_address for to in ports.values())
    }


def vacated(
    issued: Listeners, movable: Collection[str], busy: Set[Tcp], hosts: Sequence[HostView]
) -> dict[str, Mapping[str, Tcp]]:
    """`issued` without what is to be granted on another host: that of lost ones, and of drained ones once it is free.

    While no host is available everything stays as it is. Nothing moves back by itself.

    Args:
        movable: keys of grants whose nodes hold nothing.
        busy: addresses at which a node is to run now.
        hosts: as for `place`.
    """
    if not any(host.available for host in hosts):
        return dict(issued)
    by_address = at_addresses(hosts)

    def goes(ports: Mapping[str, Tcp]) -> bool:
        host = by_address.get(next((to.host for to in ports.values()), ""))
        if host is None or host.down or host.emptied:
            return True
        return host.drained and busy.isdisjoint(ports.values())

    return {key: ports for key, ports in issued.items() if key not in movable or not goes(ports)}


def at_addresses(hosts: Iterable[HostView]) -> dict[str, HostView]:
    """The host at each address: a machine that joined again is listed twice, and the one that is not ready is gone."""
    return {host.address: host for host in sorted(hosts, key=lambda host: host.ready)}


def forsaking(
    issued: Listeners, forsaken: Set[Tcp], hosts: Sequence[HostView], living: Collection[str]
) -> dict[str, Mapping[str, Tcp]]:
    """`issued` without what has a `forsaken` address and can be granted one where none of its group is.

    Where a group has more of those than there are such hosts, the first ones by number go.

    Args:
        hosts: as for `place`.
        living: keys of grants whose nodes run, ever did, or vote: others of a group keep nobody from a host.
    """
    by_address = {address: host.id for address, host in at_addresses(hosts).items()}
    free = [host.id for host in hosts if host.available]
    due = sorted(key for key, ports in issued.items() if not forsaken.isdisjoint(ports.values()))
    taken: dict[tuple[str, str], set[str]] = {}
    for key in set(living) & set(issued) - set(due):
        at = {by_address.get(to.host, "") for to in issued[key].values()}
        taken.setdefault(group_of(key)[:2], set()).update(at)
    room = Counter({group: len(set(free) - taken.get(group, set())) for group in {group_of(key)[:2] for key in due}})
    gone = set()
    for key in due:
        if room[group_of(key)[:2]] > 0:
            room[group_of(key)[:2]] -= 1
            gone.add(key)
    return {key: ports for key, ports in issued.items() if key not in gone}


def ground_of(hosts: Sequence[HostView], host_id: str, silent: bool) -> Ground:
    """How a host stands: it is lost only once the Swarm says so and its agent is `silent`.

    None is to be left while there is no other.
    """
    if not any(host.available for host in hosts):
        return Ground.SOUND
    host = next((host for host in hosts if host.id == host_id), None)
    if silent and (host is None or host.down):
        return Ground.LOST
    return Ground.DRAINED if host and host.drained else Ground.SOUND


class _Granting:
    """What is granted so far, and what that leaves free."""

    def __init__(
        self,
        environment: str,
        claims: Mapping[str, Sequence[Claim]],
        issued: Listeners,
        hosts: Sequence[HostView],
        elsewhere: Sequence[Tcp],
    ) -> None:
        self.granted: dict[str, Mapping[str, Tcp]] = {key: dict(ports) for key, ports in issued.items()}
        self.running: Collection[str] = ()
        self._environment = environment
        self._hosts = sorted(hosts, key=lambda host: host.id)
        self._by_address = at_addresses(self._hosts)
        self._elsewhere = elsewhere
        self._used = Counter((to.host, to.port) for to in elsewhere)
        self._public = set(RESERVED) | {to.port for to in elsewhere if is_loopback(to)}
        private = {
            f"{label}/{claim.key}"
            for label, ones in claims.items()
            for claim in ones
            if not claim.public and claim.ports
        }
        for key, ports in issued.items():
            self._note(ports.values(), public=key not in private and any(map(is_loopback, ports.values())))

    def grant(self, one: Wanted) -> None:
        """Give `one` an address for each port that it has none for."""
        had = self.granted.get(one.key, {})
        missing = {name: port for name, port in one.claim.ports.items() if name not in had}
        if not missing:
            return
        if had:
            address = next(iter(had.values())).host
        elif one.claim.everywhere:
            address = self._next_loopback()
        else:
            address = self._choose(one).address
        new: dict[str, Tcp] = {}
        for name, port in missing.items():
            new[name] = Tcp(address, self._free_port(address, port, one))
            self._note([new[name]], one.claim.public)
        self.granted[one.key] = {**had, **new}

    def _note(self, addresses: Iterable[Tcp], public: bool) -> None:
        for to in addresses:
            self._used[to.host, to.port] += 1
            if public:
                self._public.add(to.port)

    def _free_port(self, address: str, preferred: int, one: Wanted) -> int:
        """The port it would like, or the next one that is free: on every address of every host for a public one."""
        for port in range(preferred, 65_536):
            taken = any(port == used for _, used in self._used) if one.claim.public else (address, port) in self._used
            if not taken and port not in self._public:
                return port
        raise EngineError(f"no port from {preferred} upwards is free on {address} for {one.key}")

    def _next_loopback(self) -> str:
        mine = {to.host for ports in self.granted.values() for to in ports.values() if is_loopback(to)}
        block = min(mine).rpartition(".")[0] if mine else self._new_block()
        used = {int(host.rpartition(".")[2]) for host in mine}
        free = [number for number in range(_FIRST, _LAST + 1) if number not in used]
        if not free:
            raise EngineError(f"{self._environment}: all addresses of {block}.0/24 are granted")
        after = [number for number in free if number > max(used, default=0)]
        return f"{block}.{(after or free)[0]}"

    def _new_block(self) -> str:
        taken = {to.host.rpartition(".")[0] for to in self._elsewhere}
        start = int.from_bytes(hashlib.sha256(self._environment.encode()).digest()[:4], "big")
        for step in range(_BLOCKS):
            block = str(LOOPBACK[(start + step) % _BLOCKS * 256]).rpartition(".")[0]
            if block not in taken:
                return block
        raise EngineError(f"no block of addresses is free in {LOOPBACK}")

    def _choose(self, one: Wanted) -> HostView:
        candidates = [host for host in self._hosts if host.available]
        if not candidates:
            raise EngineError(
                f"{one.key} cannot be placed: no host of this Swarm is available ({_described(self._hosts)})",
                "See docker node ls.",
                code="engine.no_host",
            )
        of_group = Counter(host.id for host in self._at(one.group))
        of_zone = Counter(host.zone for host in self._at(one.group))
        live = Counter(host.id for host in self._at(one.group, self.running))
        live_zone = Counter(host.zone for host in self._at(one.group, self.running))
        beside = Counter(host.id for host in self._beside(one))
        load = Counter(host.id for ports in self.granted.values() for host in self._hosts_of(ports))
        if one.claim.votes and min(of_group[host.id] for host in candidates) > 0:
            raise self._too_few(one, sum(of_group.values()))

        def cost(host: HostView) -> tuple[tuple[int, ...], bytes]:
            tie = hashlib.sha256(f"{self._environment}/{one.label}/{host.id}".encode()).digest()
            alive = live[host.id], live_zone[host.zone]
            return (*alive, of_group[host.id], of_zone[host.zone], -beside[host.id], load[host.id]), tie

        return min(candidates, key=cost)

    def _at(self, group: tuple[str, str], keys: Collection[str] | None = None) -> Iterator[HostView]:
        """The host of each member of a group that has one; with `keys` only of those."""
        for key, ports in self.granted.items():
            if group_of(key)[:2] == group and (keys is None or key in keys):
                yield from self._hosts_of(ports)

    def _beside(self, one: Wanted) -> Iterator[HostView]:
        """The hosts of what has the same number in the same service."""
        for key, ports in self.granted.items():
            label, group, number = group_of(key)
            if (label, number) == (one.label, one.number) and number is not None and (label, group) != one.group:
                yield from self._hosts_of(ports)

    def _hosts_of(self, ports: Mapping[str, Tcp]) -> Collection[HostView]:
        """The host of one grant, whose ports are all on the same one; none where it is not known (any more)."""
        address = next((to.host for to in ports.values()), "")
        return [self._by_address[address]] if address in self._by_address else []

    def _too_few(self, one: Wanted, members: int) -> Refused:
        return Refused(
            f"{one.label} needs a host of its own for each of its voters, so that the loss of one leaves a majority: "
            f"{one.claim.key} is number {members + 1}, and there is no host left for it ({_described(self._hosts)})",
            "Join another host (docker swarm join), bring back one that is down; or do without ha.",
            code="refused.hosts",
            label=one.label,
        )


def is_loopback(to: Tcp) -> bool:
    """It is an address of what is everywhere."""
    return IPv4Address(to.host) in LOOPBACK if to.host.startswith("127.") else False


def _described(hosts: Sequence[HostView]) -> str:
    """The hosts in words, with those that get nothing marked."""
    words = [f"{host.name}{'' if host.available else ': not available'}" for host in hosts]
    return f"{len(hosts)} {'host' if len(hosts) == 1 else 'hosts'}: {', '.join(words)}" if hosts else "0 hosts"
