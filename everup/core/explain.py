"""Why something was done or was not, is done or is not, would be done or would not: one service, from a snapshot.

The present is what the rules propose now; the future is what they would propose if a node were lost; the past is the
newest incident in the events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from everup.core.health import service_health
from everup.core.incident import latest, outcome
from everup.core.losses import losses, lost
from everup.core.plan import plan, service_of, view_of, wind_down
from everup.model.actions import Action, Mark
from everup.model.desired import Blueprint, NodeId
from everup.model.events import Event
from everup.model.findings import Election, Loss
from everup.model.observed import View
from everup.model.picture import Picture


@dataclass(frozen=True)
class Explanation:
    """One service, explained.

    Attributes:
        health, because: as `status` says.
        actions: what is done now, and what is waited for and why, in the order of urgency.
        primary: the recorded one; None for a service that has none. `primary_lives`: its process exists.
        election: what choosing the next primary goes by, as if the present one had just died; None where nobody leads.
        losses: what the loss of each node that runs would do; empty while the service does not work.
        incident, outcome: the newest incident, oldest event first, and how it ended, in words; empty without one.
    """

    label: str
    kind: str
    health: str
    because: str
    actions: tuple[Action, ...]
    primary: NodeId | None
    primary_lives: bool
    election: Election | None
    losses: tuple[Loss, ...]
    incident: tuple[Event, ...]
    outcome: str


def explain(label: str, picture: Picture, events: Sequence[Event]) -> Explanation:
    """Explain the service `label` of `picture`; `events` are the newest of the environment, oldest first."""
    blueprint = next(one for one in picture.blueprints if one.label == label)
    observed = picture.observed
    view = view_of(blueprint, observed)
    health, because = _health(blueprint, view, picture)
    decide = wind_down if picture.stopped else plan
    own = [action for action in decide(picture.blueprints, observed) if service_of(action) == label]
    primary = view.group.primary
    lives = bool(primary and view.status(primary).state.running)
    supposed = lost(view, [primary]) if primary and lives else view
    incident = latest([event for event in events if event.service == label])
    return Explanation(
        label=label,
        kind=blueprint.kind,
        health=health,
        because=because,
        actions=tuple(action for action in own if not isinstance(action, Mark)),
        primary=primary,
        primary_lives=lives,
        election=blueprint.election(blueprint, supposed) if blueprint.election and primary else None,
        losses=tuple(losses(blueprint, view)) if health in ("healthy", "degraded") else (),
        incident=incident,
        outcome=outcome(incident),
    )


def _health(blueprint: Blueprint, view: View, picture: Picture) -> tuple[str, str]:
    if picture.stopped:
        return "down", "it was stopped on request"
    if not picture.observed.engine_answers:
        return "unknown", "the engine does not answer: nobody knows what runs"
    return service_health(blueprint, view)
