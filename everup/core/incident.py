"""The newest incident, picked out of the events: from what failed to the moment all was well again."""

from collections.abc import Sequence

from everup.model.events import Event

BEGINNINGS = frozenset({"node.exited", "node.hung"})


def latest(events: Sequence[Event]) -> tuple[Event, ...]:
    """The events of the newest incident, oldest first; empty when there was none.

    An incident begins when a node of a service that was whole ends unasked or hangs, and lasts until the service is
    healthy again; while it lasts, further failures belong to it. What stands in for others can fail without one.
    """
    open_since: dict[str, int] = {}
    newest: tuple[int, int] | None = None
    for index, event in enumerate(events):
        if event.service is None or event.fields.get("stand_in"):
            continue
        if event.name in BEGINNINGS and event.service not in open_since:
            open_since[event.service] = index
            newest = (index, len(events))
        elif event.name == "service.healthy" and event.service in open_since:
            begun = open_since.pop(event.service)
            if newest and newest[0] == begun:
                newest = (begun, index + 1)
    if newest is None:
        return ()
    service = events[newest[0]].service
    return tuple(event for event in events[newest[0] : newest[1]] if event.service == service)
