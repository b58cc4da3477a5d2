"""Incidents, picked out of the events: from what failed to the moment all was well again."""

from collections.abc import Sequence

from everup.model.events import Event

BEGINNINGS = frozenset({"node.exited", "node.hung"})


def incidents(events: Sequence[Event]) -> list[tuple[Event, ...]]:
    """Every incident by its beginning, each with the events of its service, oldest first.

    An incident begins when a node of a service that was whole ends unasked or hangs, and lasts until the service is
    healthy again; while it lasts, further failures belong to it. What stands in for others can fail without one.
    """
    open_since: dict[str, int] = {}
    ends: dict[int, int] = {}
    for index, event in enumerate(events):
        if event.service is None or event.fields.get("stand_in"):
            continue
        if event.name in BEGINNINGS and event.service not in open_since:
            open_since[event.service] = index
            ends[index] = len(events)
        elif event.name == "service.healthy" and event.service in open_since:
            ends[open_since.pop(event.service)] = index + 1
    return [
        tuple(event for event in events[begun:end] if event.service == events[begun].service)
        for begun, end in ends.items()
    ]


def latest(events: Sequence[Event]) -> tuple[Event, ...]:
    """The events of the newest incident, oldest first; empty when there was none."""
    found = incidents(events)
    return found[-1] if found else ()


def outcome(incident: Sequence[Event]) -> str:
    """How an incident ended: whether there was a failover or none, and why; "" where there was no incident."""
    if not incident:
        return ""
    cause = incident[0]
    failovers = [one for one in incident if one.fields.get("operation") == "failover"]
    begun = next((one for one in failovers if one.name == "operation.started"), None)
    ended = next((one for one in reversed(failovers) if one.name == "operation.ended"), None)
    if ended:
        word = "there was a failover" if ended.fields.get("done") else "a failover was tried, and not done"
        why = begun.fields.get("because") if begun and ended.fields.get("done") else ended.fields.get("because")
        return f"{word}: {why}"
    if changed := next((one for one in incident if one.name == "primary.changed"), None):
        return f"{changed.node} became primary: {changed.fields.get('because')}"
    if started := next((one for one in incident if one.name == "node.started" and one.node == cause.node), None):
        return f"no failover; {cause.node} was started again: {started.fields.get('because')}"
    if held := next((one for one in reversed(incident) if one.name == "service.held"), None):
        return f"nothing was done yet; Everup waits: {held.fields.get('because')}"
    return "no failover; the others went on" if incident[-1].name == "service.healthy" else "it is not over yet"
