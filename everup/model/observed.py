"""What is: what the engine says of each node, what its probe read, and the verdict drawn from both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from everup.model.desired import NodeId

EVERYWHERE = "every host"
"""Stands for the host of what runs on all of them."""


class Ground(StrEnum):
    """How a host stands, as the place of nodes."""

    SOUND = "sound"  # everything may run there
    DRAINED = "drained"  # it is about to be switched off: nobody leads there, and what holds nothing goes elsewhere
    LOST = "lost"  # whoever looks after the hosts holds it for down, and it does not answer


@dataclass(frozen=True)
class Host:
    """A machine on which nodes run; it `votes` where it is one of those that keep the state of all hosts.

    One that is `drained` was meant to be switched off, and may be lost by now all the same.
    """

    name: str
    address: str
    ground: Ground = Ground.SOUND
    zone: str = ""
    votes: bool = False
    drained: bool = False


class Role(StrEnum):
    """Observed role of a data node; upstream's "master/slave" stops inside the kind's reader."""

    PRIMARY = "primary"
    REPLICA = "replica"


class Health(StrEnum):
    """The judged state of a node; `core.health.TABLE` holds every transition."""

    STARTING = "starting"  # runs, has never been ready since it started
    READY = "ready"
    SUSPECT = "suspect"  # was ready, and lately gave no good answer
    HUNG = "hung"  # runs, and has been silent for longer than its probe allows
    DOWN = "down"  # the engine confirms that nothing of it runs
    UNKNOWN = "unknown"  # not looked at yet, or the engine does not answer


@dataclass(frozen=True)
class Confirmed:
    """Proof, from the kernel or the engine alone, that nothing of a node can run any more.

    `exit_code` follows Popen: negative is a signal, None where the engine cannot know (an adopted process).
    `killed_at_bytes`: the limit of memory at which the kernel killed it, or a process of it; 0 where its host had no
    more, None where it did not, or the engine cannot know.
    """

    node_id: NodeId
    at_s: float
    exit_code: int | None
    killed_at_bytes: int | None = None

    @property
    def fields(self) -> dict[str, object]:
        """How it ended, as an event tells it."""
        for_memory = {} if self.killed_at_bytes is None else {"killed_at_bytes": self.killed_at_bytes}
        return {"exit_code": self.exit_code, **for_memory}


@dataclass(frozen=True)
class NodeState:
    """What the engine says of one node.

    Attributes:
        running: its main process exists.
        service: the label it was started for.
        digest, files_digest: of the node it was started as.
        since_utc: start of the process, ISO 8601.
        has_data: everything named by `Node.keeps` is there.
        generation: the data generation marked in its home, None when never marked or when its data is gone.
        restarts: starts after the first, since its home was made.
        retry_at_s: do not start it before this moment (monotonic seconds): back-off of a crash loop.
        failure: why the last start failed, in words, or "".
        home: its directory, where the engine has one on this machine.
        free_bytes, disk_bytes: what its disk has left for it, and holds in all, where the engine can tell.
        host: the machine it runs on; "" on an engine that has only one; `EVERYWHERE` of what has a copy on each.
        address, ground: of that machine, where there are several.
        silent: why that machine cannot be asked, so that all this is what was known last; "" while it answers.
            One that nobody waits for any more, but that was never seen to end, does not run and is silent.
    """

    running: bool
    service: str = ""
    digest: str = ""
    files_digest: str = ""
    pid: int | None = None
    since_utc: str | None = None
    dead: Confirmed | None = None
    has_data: bool = False
    generation: int | None = None
    restarts: int = 0
    retry_at_s: float = 0.0
    failure: str = ""
    home: str | None = None
    free_bytes: int | None = field(default=None, compare=False)
    disk_bytes: int | None = field(default=None, compare=False)
    host: str = ""
    address: str = ""
    ground: Ground = Ground.SOUND
    silent: str = ""

    @property
    def ended(self) -> bool:
        """It is certain that nothing of it runs: somebody who could see it has said so."""
        return not self.running and (self.dead is not None or not self.silent)


@dataclass(frozen=True)
class NodeEvent:
    """Something that happened to a node, the moment the engine saw or did it.

    `kept` is the host on which what it had before was set aside, and under which name.
    """

    node_id: NodeId
    kind: str  # "exited", "set aside"
    dead: Confirmed | None = None
    kept: tuple[str, str] | None = None


@dataclass(frozen=True)
class Reading:
    """What a probe's answer means: ready or not, the role, and facts that the kind's own rules understand.

    How far a replica is behind: by its own word in `lag_bytes`, where it knows; or by its primary's, whose `lags_bytes`
    says by `"host:port"` how much of its changes each has not confirmed. `lineage` names the history that its data
    belong to: the same for all servers of one group, and for no other's (Redis: replication ID; PostgreSQL: system
    identifier).
    """

    ready: bool
    role: Role | None = None
    lags_bytes: Mapping[str, int] = field(default_factory=dict)
    because: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    lag_bytes: int | None = None
    lineage: str = ""


@dataclass(frozen=True)
class NodeStatus:
    """The verdict on one node: engine state and probe history combined.

    `reading` is the newest answer, kept when the node falls silent. Monotonic seconds: `read_s` when that answer
    was asked for, `good_s` when the newest ready one came, `since_s` of `health`. `misses` counts unanswered probes
    in a row; `silent_since_s` is when the first of them was sent.
    """

    health: Health = Health.UNKNOWN
    state: NodeState = NodeState(running=False)
    reading: Reading | None = None
    read_s: float = 0.0
    good_s: float = 0.0
    since_s: float = 0.0
    misses: int = 0
    silent_since_s: float | None = None
    because: str = ""

    @property
    def ready(self) -> bool:
        """It answered well, lately."""
        return self.health == Health.READY

    @property
    def role(self) -> Role | None:
        """The role it reported last, while it runs."""
        return self.reading.role if self.reading and self.state.running else None


@dataclass(frozen=True)
class Group:
    """What Everup has durably recorded of a service with a primary. Generation 0: never had one.

    `marked` is the newest generation that any node's data was marked with; 0 while the service has never held data.
    `deposed` are former primaries that nobody has compared with their successor yet, each with what was noted of where
    their histories part: numbers that the kind understands.
    """

    primary: NodeId | None = None
    generation: int = 0
    marked: int = 0
    deposed: Mapping[NodeId, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Attempt:
    """The newest end of an operation on a service: when (monotonic seconds), whether it was done, and why."""

    at_s: float
    done: bool
    because: str


@dataclass(frozen=True)
class View:
    """One service as observed: the input of a rule. `attempts` is keyed by operation name.

    `led_from` counts the primaries of other services by host, where there are several hosts. `stays` says of members
    that would be rebuilt by now why they are not, in words.
    """

    now_s: float
    nodes: Mapping[NodeId, NodeStatus]
    group: Group = Group()
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    led_from: Mapping[str, int] = field(default_factory=dict)
    stays: Mapping[NodeId, str] = field(default_factory=dict)

    def status(self, node_id: NodeId) -> NodeStatus:
        """The status of a node; unknown when it was never seen."""
        return self.nodes.get(node_id, NodeStatus())


@dataclass(frozen=True)
class Observed:
    """One snapshot of an environment.

    Attributes:
        nodes: also what runs and is no longer declared.
        engine_says: why it does not answer, in words.
        stays: as in `View`.
    """

    now_s: float
    nodes: Mapping[NodeId, NodeStatus] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    attempts: Mapping[str, Mapping[str, Attempt]] = field(default_factory=dict)
    engine_answers: bool = True
    engine_says: str = ""
    stays: Mapping[NodeId, str] = field(default_factory=dict)
