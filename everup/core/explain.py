"""Why something was done or was not, is done or is not, would be done or would not: one service, from a snapshot.

The present is what the rules propose now; the future is what they would propose if a node were lost; the past is the
newest incident in the events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from everup.core.health import service_health
from everup.core.incident import latest, outcome
from everup.core.losses import losses, lost, works
from everup.core.plan import plan, service_of, view_of
from everup.model.actions import Action, Mark
from everup.model.desired import Blueprint, NodeId
from everup.model.events import Event
from everup.model.findings import Election, Loss
from everup.model.observed import Observed


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


def explain(
    blueprint: Blueprint, blueprints: Sequence[Blueprint], observed: Observed, events: Sequence[Event]
) -> Explanation:
    """Explain `blueprint`, one of `blueprints`; `events` are the newest of the environment, oldest first."""
    view = view_of(blueprint, observed)
    health, because = service_health(blueprint, view)
    own = [action for action in plan(blueprints, observed) if service_of(action) == blueprint.label]
    primary = view.group.primary
    lives = bool(primary and view.status(primary).state.running)
    supposed = lost(view, [primary]) if primary and lives else view
    incident = latest([event for event in events if event.service == blueprint.label])
    return Explanation(
        label=blueprint.label,
        kind=blueprint.kind,
        health=health if observed.engine_answers else "unknown",
        because=because if observed.engine_answers else "the engine does not answer: nobody knows what runs",
        actions=tuple(action for action in own if not isinstance(action, Mark)),
        primary=primary,
        primary_lives=lives,
        election=blueprint.election(blueprint, supposed) if blueprint.election and primary else None,
        losses=tuple(losses(blueprint, view)) if works(blueprint, view) and observed.engine_answers else (),
        incident=incident,
        outcome=outcome(incident),
    )
