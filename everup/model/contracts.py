"""Both extension points on one page: what a kind and what an engine must offer."""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from everup.model.desired import Blueprint, Node, NodeId, Socket, Tcp
from everup.model.observed import Confirmed, Host, NodeEvent, NodeState
from everup.model.spec import Service


@dataclass(frozen=True)
class Claim:
    """What a service asks to be granted once and for ever: an address with named ports, or a secret.

    `ports` maps a name to the port it would like (the real one where every node has an address of its own);
    empty `ports` claim a secret. An address that is wanted `everywhere` is one that every host has, so that clients
    reach what listens there on their own host; on other hosts it is also reached, where it is `public`, by its port
    at any host's address. What `votes` is never put on one host with another of its group. What `moves` holds nothing:
    it is granted another address when its host is lost, or is to be left and it does not run there. All else is granted
    one only to be rebuilt, after it has waited for a lost host for as long as its service says.
    """

    key: str
    ports: Mapping[str, int] = field(default_factory=dict)
    everywhere: bool = False
    public: bool = False
    votes: bool = False
    moves: bool = False


@dataclass(frozen=True)
class Grant:
    """What was granted to one service, and what it gets from those it needs.

    Attributes:
        listeners: claim key -> port name -> address; never changes once issued, but for claims that may move.
        secrets: claim key -> password.
        variables: connection variables of the services in `needs`, by their full names.
        directory: absolute; the default working directory of apps.
        path: the PATH in which the programs of apps are found.
        revision: grows with every requested rolling restart; in the digest of every node that is to be restarted.
        spread: the nodes run on several hosts, in containers.
    """

    label: str
    listeners: Mapping[str, Mapping[str, Tcp]]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    path: str = ""
    revision: int = 0
    spread: bool = False


class Kind(Protocol):
    """What runs. Pure: no I/O, no clock, no randomness.

    `prefix` starts the unprefixed variables of the environment's first service of the kind (`REDIS`, `DATABASE`);
    None where there are none. `service` is the model that validates its part of the spec.
    `connect` holds the snippets of `everup connect` by language, in forms with `{VARIABLE_SUFFIX}` placeholders such as
    `{URL}` and `{SENTINEL_LIST}`, most capable first: the first form whose variables the service offers is shown.
    """

    name: str
    prefix: str | None
    service: type[Service]
    connect: Mapping[str, tuple[str, ...]]

    def claims(self, label: str, service: Any) -> tuple[Claim, ...]:
        """The addresses and secrets this service needs; growing it only ever adds claims."""
        ...

    def blueprint(self, service: Any, grant: Grant) -> Blueprint:
        """Lay the service out as nodes; the same input always gives the same blueprint."""
        ...


class Engine(Protocol):
    """Where nodes run. Every method is idempotent and raises only `EngineError`."""

    async def ensure(self, node: Node, extra_args: tuple[str, ...] = ()) -> None:
        """Make the running process match `node`; one that already does is left alone (`extra_args` do not count).

        Returns once the process exists, not once it is ready. Takes at most `node.stop.grace_s` seconds more, spent
        stopping a predecessor.

        Raises:
            NodeFailed: the program is missing, could not be started, or a port of it is in use by somebody else.
        """
        ...

    async def remove(self, node_id: NodeId, *, keep_data: bool) -> None:
        """Stop a node gracefully, and, unless `keep_data`, delete its home."""
        ...

    async def observe(self) -> Mapping[NodeId, NodeState]:
        """Every node this engine knows of in the environment, running or not: of any other there is nothing anywhere.

        An engine that cannot see a part of it says of that what it knew last (`NodeState.silent`), or raises.
        """
        ...

    def watch(self) -> AsyncIterator[NodeEvent]:
        """Exits, the moment they happen."""
        ...

    async def fence(self, node_id: NodeId) -> Confirmed:
        """Kill everything of a node; return only when nothing of it can run any more."""
        ...

    async def mark(self, node_id: NodeId, generation: int) -> None:
        """Note durably, beside the node's data, which generation that data belongs to."""
        ...

    def logs(self, node_id: NodeId, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """The newest `lines` of its output, oldest first, without line ends; then, with `follow`, what comes."""
        ...


@runtime_checkable
class Consoled(Protocol):
    """An engine whose nodes' Unix sockets are out of reach for the control plane: it passes commands on."""

    async def console(self, to: Socket, commands: tuple[str, ...]) -> tuple[str, ...]:
        """What each copy of the node answers to each command, copy by copy.

        Raises:
            OSError: none of them answers.
        """
        ...


class Estate(Protocol):
    """The hosts of an engine that has several."""

    def hosts(self) -> tuple[Host, ...]:
        """All of them, in order of their names, as they were seen last; none before the first look."""
        ...

    async def drain(self, host: str, drained: bool) -> None:
        """Mark the host `host` as one that is to be left, or take that mark away; for all environments at once.

        Raises:
            EngineError: there is no such host, or the mark cannot be kept.
        """
        ...


@runtime_checkable
class Spread(Protocol):
    """An engine whose nodes run on several hosts."""

    @property
    def estate(self) -> Estate:
        """Those hosts."""
        ...


@runtime_checkable
class Contested(Protocol):
    """An engine whose nodes another control plane may come to look after."""

    async def confirm(self) -> None:
        """Return unless it is known that another one does.

        Raises:
            EngineError: another one does, or nobody knows.
        """
        ...


class Fault(StrEnum):
    """What can be done to a node on purpose, to see what clients notice."""

    CRASH = "crash"  # SIGKILL; it may be started again at once
    HANG = "hang"  # SIGSTOP
    NODE_LOSS = "node-loss"  # SIGKILL, and it cannot be started for a while
    PARTITION = "partition"  # its host and the others do not hear each other for a while
    HOST_LOSS = "host-loss"  # the same, and all that its environment runs on that host is killed


class FaultInjector(Protocol):
    """What an engine can break on purpose; drills only."""

    faults: frozenset[Fault]

    async def inject(self, node_id: NodeId, fault: Fault, *, for_s: float) -> None:
        """Cause `fault`; `for_s` (seconds) bounds how long a lost node stays lost, or a host cut off."""
        ...


@dataclass(frozen=True)
class Outage:
    """What it would mean to cut off the host of a node, or to lose it.

    Attributes:
        host: its name.
        here: the control plane, and whoever measures beside it, works from that host.
        unwell: why others could not do without it, host by host, in words: one does not answer, or takes nothing.
        voters, left: how many hosts keep the cluster's state, and how many of them would still be heard.
        beside: other environments that run something there, which would lose it too.
    """

    host: str
    here: bool = False
    unwell: tuple[str, ...] = ()
    voters: int = 0
    left: int = 0
    beside: tuple[str, ...] = ()


@runtime_checkable
class Hosted(Protocol):
    """An engine of several hosts that can foresee what the loss of one would mean."""

    async def foresee(self, node_ids: Collection[NodeId]) -> Mapping[NodeId, Outage]:
        """For each of these nodes, what would be lost with its host. Changes nothing; who has no host is left out."""
        ...
