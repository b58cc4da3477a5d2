"""One environment at one moment, declared and observed together: what `status` is drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from everup.model.actions import Action
from everup.model.desired import Blueprint
from everup.model.events import Event
from everup.model.ledger import Kept
from everup.model.observed import Observed
from everup.model.revisions import History
from everup.model.spec import Environment, Source


@dataclass(frozen=True)
class Change:
    """One line of a plan: what `up` would do, to which node, and why."""

    action: str
    node: str
    because: str


@dataclass(frozen=True)
class Foresight:
    """How long writers of a service will probably wait while it changes, and why."""

    label: str
    pause_s: float
    because: str


@dataclass(frozen=True)
class Picture:
    """A snapshot. `actions` is the newest plan, empty when there is nothing to do; its `Hold`s say what is waited for.

    `histories` holds the revisions of apps and workers by label. `stopped` is True after `down`. `incident` holds the
    events of the newest failover or restart, oldest first. `kept` is the ledger of lost writes, oldest first.
    """

    environment: Environment
    source: Source
    blueprints: tuple[Blueprint, ...]
    observed: Observed
    actions: tuple[Action, ...] = ()
    stopped: bool = False
    incident: tuple[Event, ...] = ()
    histories: Mapping[str, History] = field(default_factory=dict)
    kept: tuple[Kept, ...] = ()
    control_pid: int = 0
    control_since_utc: str = ""
