"""How clients of a service get another password while the former one works too."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from everup.model.desired import Ask, NodeId


@dataclass(frozen=True)
class Turn:
    """One step: what is granted first, what the nodes are asked then, and what is granted once they have done it.

    `asks` are by the node that answers: nodes that do not run are passed over. `then` says, by a node and its replies,
    what that node is asked besides. Grants are by claim key, as in `Grant`.
    """

    asks: Mapping[NodeId, Ask]
    then: Callable[[NodeId, tuple[Any, ...]], Ask | None] | None = None
    before: Mapping[str, str] = field(default_factory=dict, repr=False)
    after: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Renewal:
    """Another password, step by step; each step may be taken again after one that went wrong half-way.

    Attributes:
        login: what clients log in as once it has begun, in words; `current` the same of now.
        former: what can still log in since an earlier renewal, or "".
        begin: the step that makes the password it is given work.
        finish: the step that ends the former one, and with True cuts sessions.
        sessions: reads from one node's replies to `finish` how many sessions it had that may have begun with the
            former password.
    """

    login: str
    current: str
    former: str
    begin: Callable[[str], Turn]
    finish: Callable[[bool], Turn]
    sessions: Callable[[tuple[Any, ...]], int]
