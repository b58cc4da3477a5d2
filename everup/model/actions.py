"""What may be done next. Each action carries its reason in words; `plan`, `explain` and the events show it."""

from dataclasses import dataclass

from everup.model.desired import Node, NodeId


@dataclass(frozen=True)
class StartNode:
    """Make `node` run as declared; `extra_args` (not part of its digest) say in which role."""

    node: Node
    because: str
    extra_args: tuple[str, ...] = ()


@dataclass(frozen=True)
class StopNode:
    """End a node, gracefully; without `keep_data` its home is deleted."""

    node_id: NodeId
    service: str
    because: str
    keep_data: bool = True


@dataclass(frozen=True)
class Fence:
    """Make certain, by force, that nothing of a hung node can run any more."""

    node_id: NodeId
    service: str
    because: str


@dataclass(frozen=True)
class Operate:
    """Run one of the service's operations, on `subject` where it needs one."""

    service: str
    operation: str
    because: str
    subject: NodeId | None = None


@dataclass(frozen=True)
class Mark:
    """Note in the node's home that its data belongs to `generation`."""

    node_id: NodeId
    service: str
    generation: int


@dataclass(frozen=True)
class Accept:
    """Record that `node_id` is the service's primary; the generation grows by one."""

    service: str
    node_id: NodeId
    because: str


@dataclass(frozen=True)
class Hold:
    """Do nothing, and say why; shown by `status` and `explain`."""

    service: str
    because: str
    node_id: NodeId | None = None


Action = StartNode | StopNode | Fence | Operate | Mark | Accept | Hold
