"""The address book of a Swarm: addresses of its hosts for what runs on one of them, loopback for what runs on all."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set

from everup.engines.swarm.placement import HostView, forsaking, group_of, place, released, vacated
from everup.model.contracts import Claim
from everup.model.desired import Tcp


class SwarmAddresses:
    """Issues addresses to the environments of one Swarm, once and for ever (see `placement.place`).

    Args:
        hosts: all hosts of the Swarm as they were seen last.
        used: called with an environment's name, gives the addresses at which a node of it was ever started.
        busy: the same for those at which one is to run now.
        elsewhere: called with an environment's name, gives every address issued to the other environments.
    """

    spread = True

    def __init__(
        self,
        hosts: Callable[[], Sequence[HostView]],
        used: Callable[[str], Collection[Tcp]],
        elsewhere: Callable[[str], Iterable[Tcp]] = lambda environment: (),
        busy: Callable[[str], Set[Tcp]] = lambda environment: frozenset(),
    ) -> None:
        self._hosts = hosts
        self._busy = busy
        self._used = used
        self._elsewhere = elsewhere

    def issue(
        self,
        environment: str,
        claims: Mapping[str, Sequence[Claim]],
        issued: Mapping[str, Mapping[str, Tcp]],
        forsaken: Set[Tcp] = frozenset(),
    ) -> dict[str, Mapping[str, Tcp]]:
        """Grant what is claimed and not granted yet, and anew what may move and cannot stay, or is to be rebuilt.

        All else that a node ever used stays as it is.

        Args:
            environment: its name.
            claims: those of each service; those without ports (secrets) are passed over.
            issued: `<label>/<claim key>` -> port name -> address, granted earlier.
            forsaken: addresses of members of groups that are to be rebuilt on other hosts, where those have none.

        Raises:
            Refused: a quorum would have two members on one host.
            EngineError: the Swarm does not answer, no host is available, or no port is free.
        """
        everything = [(f"{label}/{claim.key}", claim) for label, ones in claims.items() for claim in ones]
        movable = {key for key, claim in everything if claim.moves}
        ungranted = any(name not in issued.get(key, {}) for key, claim in everything for name in claim.ports)
        if not ungranted and not movable and not forsaken:
            return dict(issued)
        hosts = self._hosts()
        busy = self._busy(environment)
        lasting = busy | set(self._used(environment))  # a member that is down for a moment still has its place
        running = {
            key for key, ports in issued.items() if not (busy if key in movable else lasting).isdisjoint(ports.values())
        }
        quorums = {group_of(key)[:2] for key, claim in everything if claim.votes}
        voting = {key for key in issued if group_of(key)[:2] in quorums}
        kept = forsaking(vacated(issued, movable, busy, hosts), forsaken, hosts, running | voting)
        if not ungranted and len(kept) == len(issued):
            return kept
        if ungranted:
            kept = released(kept, self._used(environment), hosts)
        return place(environment, claims, kept, hosts, self._elsewhere(environment), running)
