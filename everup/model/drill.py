"""A drill as data: how a client reaches a service, what is broken, what its writers saw, and what came of it.

Times called `*_at_s` are monotonic seconds of the machine that the drill runs on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from everup.model.desired import NodeId
from everup.model.spec import WriteRequest


class DrillFault(StrEnum):
    """What a drill can be asked to cause; an engine declares which it can."""

    CRASH = "crash"  # the primary's process, or an instance, is killed
    HANG = "hang"  # it is stopped where it stands, and keeps its connections
    NODE_LOSS = "node-loss"  # it is killed, and cannot be started for a while
    SWITCHOVER = "switchover"  # its role is handed over on request
    CONTROL_PLANE = "control-plane"  # Everup itself is killed
    PARTITION = "partition"  # its host and the others do not hear each other for a while
    HOST_LOSS = "host-loss"  # the same, and all of the environment there is killed
    DISK_FULL = "disk-full"  # its disk takes no more


class Verdict(StrEnum):
    """What a drill proves."""

    PASS = "pass"  # writing came back in every run, and no target was missed
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"  # it proves nothing, either way


@dataclass(frozen=True)
class Targets:
    """What was promised; None where nothing was. `rto_s` in seconds, `lost` in acknowledged writes."""

    rto_s: float | None = None
    lost: int | None = None


@dataclass(frozen=True)
class Wish:
    """What was asked for of one run besides its fault.

    Attributes:
        via: the path that its writers take; "" for the usual one.
        turn: the number of the run, from 0.
        app: the label of the app whose own writes are watched; "" for none.
        request: what makes it write, instead of what it declares.
        for_s: how long a node or a host stays away; None: as usual for the fault.
        spared: instances that are not to be hit, since the drill itself needs their host.
    """

    via: str = ""
    turn: int = 0
    app: str = ""
    request: WriteRequest | None = None
    for_s: float | None = None
    spared: frozenset[NodeId] = frozenset()


@dataclass(frozen=True)
class AppScene:
    """An app whose own writes are watched while a service that it needs is broken.

    Attributes:
        instances: where each instance listens, `http://host:port` by its id.
        settings: the request, as the client program `http` is told it.
        within_s: how soon after the service each instance must write again.
    """

    label: str
    instances: Mapping[NodeId, str]
    settings: Mapping[str, str] = field(repr=False)
    within_s: float

    @property
    def request(self) -> str:
        """The request in words: `POST /orders`."""
        return f"{self.settings['METHOD']} {self.settings['PATH']}"


@dataclass(frozen=True)
class Scene:
    """All that a drill needs to know before it begins.

    Attributes:
        subject: the node that will be broken, or hand over; None for a fault of no node.
        via: the name of the path that its writers take, one of `Blueprint.clients`.
        client: the writer program for that path, a name in `everup.drills.clients`.
        settings: what that program needs: addresses, names, passwords.
        lost_for_s: how long a lost node stays lost, or a host away.
        app: the app that is watched beside the service's own writers, if any.
        host: the name of the host that will be cut off; "" for a fault of a node alone.
        alone_s: for so long a primary that is cut off may go on acknowledging writes that will be lost; None where
            nothing bounds it, or there is no primary.
    """

    service: str
    kind: str
    fault: DrillFault
    subject: NodeId | None
    via: str
    client: str
    settings: Mapping[str, str] = field(repr=False)
    targets: Targets
    lost_for_s: float
    app: AppScene | None = None
    host: str = ""
    alone_s: float | None = None


@dataclass(frozen=True)
class Write:
    """One attempt of one writer, with one in flight; `error` is None when it was acknowledged.

    Of a reader, `n` is how many numbers it saw.
    """

    n: int
    sent_at_s: float
    ended_at_s: float
    error: str | None = None
    writer: int = 0


@dataclass(frozen=True)
class Pulse:
    """A moment at which this machine let a sleeping process wake `late_s` seconds too late."""

    at_s: float
    late_s: float


@dataclass(frozen=True)
class Moment:
    """Something on the timeline of a run: `what` in words, `at_s` in seconds since the fault."""

    name: str
    what: str
    at_s: float


@dataclass(frozen=True)
class Happening:
    """An event of the service, on the clock of the writes."""

    name: str
    at_s: float
    node: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """Everything that was seen of one run.

    Attributes:
        writes: every attempt of every writer, in any order.
        survivors: the numbers read back at the end; None where what is written cannot be read back.
        fault_at_s: just before the fault was caused.
        refused: why it could not be caused, "" when it was.
        unread: why the survivors could not be read back, "" when they were or never can be.
        whole_at_s: when every node was ready again; None when that was not seen in time.
        happenings: events of the service from the fault on, in order.
        pulses: delays of the machine itself.
        load: its load (1 minute average) after the fault.
        back_at_s: when every writer had been acknowledged again once the fault had taken hold; None when one was not.
        app_writes: every attempt of each instance of the app that is watched, in order.
        reads: every look at how much was there, on a connection of its own.
    """

    writes: tuple[Write, ...]
    survivors: frozenset[int] | None
    fault_at_s: float
    refused: str = ""
    unread: str = ""
    whole_at_s: float | None = None
    happenings: tuple[Happening, ...] = ()
    pulses: tuple[Pulse, ...] = ()
    load: float = 0.0
    back_at_s: float | None = None
    app_writes: Mapping[NodeId, tuple[Write, ...]] = field(default_factory=dict)
    reads: tuple[Write, ...] = ()


@dataclass(frozen=True)
class Latency:
    """How long acknowledged writes took, in milliseconds; `n` of them."""

    n: int
    median_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None


@dataclass(frozen=True)
class Bars:
    """How many writes ended in each of equal spans of time; the first begins `begin_s` after the fault (seconds)."""

    begin_s: float
    width_s: float
    acknowledged: tuple[int, ...]
    errors: tuple[int, ...]


@dataclass(frozen=True)
class InstanceRun:
    """What one instance of an app made of a run.

    Attributes:
        rto_s: the longest time without an acknowledged write, as in `Run`; None when there was none again.
        again_after_s: from when the service took writes again until the instance did; None when it did not.
        stayed: it lives, and its writes still failed `within_s` after the service took writes again.
        error: what it said last to a write that failed.
    """

    node: NodeId
    verdict: Verdict
    because: str
    rto_s: float | None
    again_after_s: float | None
    acknowledged: int
    errors: int
    stayed: bool
    error: str = ""


@dataclass(frozen=True)
class AppRun:
    """What the app that is watched made of a run."""

    label: str
    verdict: Verdict
    because: str
    instances: tuple[InstanceRun, ...]


@dataclass(frozen=True)
class Run:
    """What clients saw of one fault.

    Attributes:
        rto_s: the longest time that any writer went without an acknowledgement, from its last one before the fault to
            the end of the run; None when one of them was never acknowledged again.
        lost: acknowledged writes that could not be read back; None where they cannot be.
        path: how the service came back: restart, failover, switchover, or none when nothing had to.
        redundant_after_s: from the fault until every node was ready; None when that was not seen.
        overview, closeup: the writes of the whole run, and those around the longest gap.
        stalled_s: how long the machine itself stood still during the longest gap.
        because: why it passes, fails, or proves nothing.
        gaps: the longest gap of each writer, in seconds since the fault.
        app: the same fault as the app that is watched saw it; part of the verdict.
        reads, stale: how many reads were answered, and how many of them without a write that had been acknowledged
            before the read was sent and that was not lost: by a server that was no primary any more.
        misrouted: writes that a server refused because it is no primary.
    """

    verdict: Verdict
    because: str
    subject: NodeId | None
    rto_s: float | None
    lost: int | None
    acknowledged: int
    errors: int
    path: str
    redundant_after_s: float | None
    latency: Mapping[str, Latency] = field(default_factory=dict)
    moments: tuple[Moment, ...] = ()
    gaps: tuple[tuple[float, float], ...] = ()
    overview: Bars | None = None
    closeup: Bars | None = None
    stalled_s: float = 0.0
    load: float = 0.0
    first_error: str = ""
    at_utc: str = ""
    app: AppRun | None = None
    reads: int = 0
    stale: int = 0
    misrouted: int = 0


@dataclass(frozen=True)
class Spread:
    """The middle and the worst of several values; None where there is none."""

    median: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Summary:
    """All runs of a drill together; `because` names the first run that decides the verdict."""

    verdict: Verdict
    because: str
    targets: Targets
    rto_s: Spread
    redundant_after_s: Spread
    lost: int | None
    acknowledged: int
    errors: int


@dataclass(frozen=True)
class InstanceSummary:
    """All runs of one instance: times without a write, errors, and in how many runs it stayed on the old primary."""

    node: NodeId
    rto_s: Spread
    errors: int
    stayed: int


@dataclass(frozen=True)
class AppSummary:
    """All runs of the app that is watched; `request` in words, `next` what to do about instances that stayed."""

    label: str
    request: str
    within_s: float
    verdict: Verdict
    because: str
    next: str
    instances: tuple[InstanceSummary, ...]


@dataclass(frozen=True)
class Drill:
    """A drill that is over, as it is kept, printed and reported.

    `origin` tells where it ran: environment, engine, machine, CPUs; `writers` and `rate` (writes per second each) how
    much was written; `caution` what clients may have lost that its own writers could not see, in words.
    """

    id: str
    at_utc: str
    service: str
    kind: str
    fault: DrillFault
    via: str
    writers: int
    rate: float
    runs: tuple[Run, ...]
    summary: Summary
    origin: Mapping[str, object] = field(default_factory=dict)
    app: AppSummary | None = None
    caution: str = ""
