"""How long writers will wait while a group changes: predicted from what the change does to its primary."""

from everup.model.desired import Blueprint, Part
from everup.model.observed import View
from everup.model.picture import Foresight


def foresee(before: Blueprint | None, after: Blueprint, view: View) -> Foresight | None:
    """The pause that declaring `after` instead of `before` will cause; None where nobody who leads is concerned."""
    pauses, primary = after.pauses, view.group.primary
    if before is None or pauses is None or primary is None or not view.status(primary).state.running:
        return None
    had = {node.id: node for node in before.of(Part.DATA)}
    has = {node.id: node for node in after.of(Part.DATA)}
    joining, leaving = sorted(set(has) - set(had)), sorted(set(had) - set(has))
    if primary not in has:
        return Foresight(after.label, pauses.handover_s, f"{primary} leads, and hands over before it goes")
    if primary in had and had[primary].digest != has[primary].digest:
        if len(has) > 1:
            return Foresight(after.label, pauses.handover_s, f"{primary} is restarted, and hands over before")
        return Foresight(after.label, pauses.restart_s, f"{primary} is the only server, and is restarted")
    if joining:
        verb = "copy" if len(joining) > 1 else "copies"
        return Foresight(after.label, pauses.join_s, f"{', '.join(joining)} {verb} {primary}, which is not restarted")
    if leaving:
        verb = "go" if len(leaving) > 1 else "goes"
        return Foresight(after.label, 0.0, f"{', '.join(leaving)} {verb}, and {primary} is not touched")
    return None
