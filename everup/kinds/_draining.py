"""Letting an instance's requests end, and letting requests in again: recipes that talk to HAProxy."""

from collections.abc import Generator, Mapping
from typing import Any

from everup.kinds import _haproxy
from everup.kinds._haproxy_reading import read_servers
from everup.model.desired import Blueprint, Node, NodeId, Outcome, Part, Pause, Recipe, Silence, Step, Together
from everup.model.observed import View

POLL_S = 0.05

Run = Generator[Step, Any, Outcome]


def stand_in_of(blueprint: Blueprint) -> Node | None:
    """The instance that serves while others are replaced, where the service has one."""
    return next(iter(blueprint.stand_ins), None)


def admissible(blueprint: Blueprint, view: View) -> list[Node]:
    """Declared instances that are ready and run as declared."""
    return [node for node in blueprint.of(Part.INSTANCE) if is_fresh(node, view) and view.status(node.id).ready]


def is_fresh(node: Node, view: View) -> bool:
    """It runs as declared."""
    state = view.status(node.id).state
    return state.running and state.digest == node.digest


def drain(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Send `subject` nothing new, wait for its requests to end, at most its stop grace, and take it out altogether."""
    node = blueprint.node(subject) if subject else None
    if blueprint.endpoint is None or subject is None:
        return Outcome(False, "only an instance behind an endpoint can be drained")
    end, grace_s = blueprint.endpoint.node, node.stop.grace_s if node else 10.0
    (reply,) = yield Together((_haproxy.drain(end, subject),))
    if objection := _objection(reply):
        return Outcome(False, objection)
    left: int | None = None
    for _ in range(int(grace_s / POLL_S) + 1):
        (reply,) = yield Together((_haproxy.look(end),))
        left = _sessions(reply, subject)
        if left == 0:
            break
        yield Pause(POLL_S)
    (reply,) = yield Together((_haproxy.rest(end, subject),))
    if objection := _objection(reply):
        return Outcome(False, objection)
    if left == 0:
        return Outcome(True, f"{subject} has no requests left")
    return Outcome(True, f"{subject} was still busy with {left or 'some'} requests after {grace_s:g} s")


def admit(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Send requests to `subject`, or to every instance that is ready and as declared."""
    names = [subject] if subject else [node.id for node in admissible(blueprint, view)]
    if blueprint.endpoint is None or not names:
        return Outcome(False, "there is nobody to admit")
    (reply,) = yield Together((_haproxy.admit(blueprint.endpoint.node, names),))
    if objection := _objection(reply):
        return Outcome(False, objection)
    return Outcome(True, f"{', '.join(names)} gets requests")


def _objection(reply: Any) -> str:
    if isinstance(reply, Silence):
        return f"the endpoint did not answer: {reply.because}"
    return _haproxy.problem(reply)


def _sessions(reply: Any, name: NodeId) -> int | None:
    """Requests that `name` is working on; None when the answer does not say."""
    if isinstance(reply, Silence):
        return None
    server = read_servers(reply).facts.get("servers", {}).get(name)
    return server.sessions if server else None


OPERATIONS: Mapping[str, Recipe] = {"drain": drain, "admit": admit}
