"""What is found when somebody asks what could be lost now, and who would lead next: the words of check and explain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from everup.model.desired import NodeId


class Level(StrEnum):
    """How much a finding matters, from nothing to the answer "no"."""

    OK = "ok"  # as it should be
    NOTE = "note"  # true by design, worth knowing
    WARNING = "warning"  # nothing is lost yet; less would be left
    NO = "no"  # the loss of some one node would be, or is, felt


class Topic(StrEnum):
    """What a finding is about; a stable word of the API."""

    HEALTH = "health"
    LOSS = "loss"
    QUORUM = "quorum"
    LAG = "lag"
    DISK = "disk"
    PLACEMENT = "placement"
    LIMIT = "limit"
    CONTROL = "control"
    ENDPOINT = "endpoint"
    DURABILITY = "durability"
    ACCESS = "access"
    RESOURCES = "resources"


@dataclass(frozen=True)
class Finding:
    """One thing found: how much it matters, what it is, in words with numbers, and what to do about it.

    `next` is a command or a sentence, "" where there is nothing to do.
    `node_id` is the node it is about, None when it is about the service as a whole.
    """

    level: Level
    topic: Topic
    because: str
    node_id: NodeId | None = None
    next: str = ""


@dataclass(frozen=True)
class Candidate:
    """A node as the next primary: fit or not, and why in words; `facts` are the numbers that were compared."""

    node_id: NodeId
    fit: bool
    because: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Vote:
    """A node that must agree to a new primary: whether it counts now, and what it thinks, in words."""

    node_id: NodeId
    counts: bool
    because: str


@dataclass(frozen=True)
class Election:
    """What choosing the next primary would go by: the candidates, best first, and whose agreement is needed.

    `majority` is how many of `votes` must count; 0 where others vote, who are asked elsewhere. `obstacle` says what
    would keep even a fit candidate from leading; "" for nothing.
    """

    candidates: tuple[Candidate, ...]
    votes: tuple[Vote, ...] = ()
    majority: int = 0
    obstacle: str = ""


class Path(StrEnum):
    """What becomes of a service that loses a node."""

    GOES_ON = "goes on"  # the others do its work
    FAILOVER = "failover"  # another node takes its role
    RESTART = "restart"  # its work waits until it was started again
    STUCK = "stuck"  # nothing would happen before something else does


@dataclass(frozen=True)
class Loss:
    """The loss of some nodes of a service, supposed, and what would become of the service, with the reason."""

    nodes: tuple[NodeId, ...]
    path: Path
    because: str
