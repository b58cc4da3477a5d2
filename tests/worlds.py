"""The one builder of worlds for tests of decisions: blueprints laid out by the real kinds, and what is seen of them.

`world(redis())` is a group in which all is well; every keyword says what is different, by node id:

    world(redis(), down={"redis01-1"})                     its process ended a moment ago
    world(redis(), roles={"redis01-2": None})              it calls itself primary (else: the node that it follows)
    world(redis(), marks={"redis01-2": 1}, primary="redis01-3")
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from everup.core.plan import plan
from everup.kinds.redis import KIND
from everup.model.actions import Action, Hold, Mark, StartNode
from everup.model.contracts import Grant
from everup.model.desired import Blueprint, Endpoint, Node, NodeId, Part, Probe, Protocol, Tcp
from everup.model.observed import Attempt, Confirmed, Group, Health, NodeState, NodeStatus, Observed, Reading
from tests.redis_words import Data, Opinion, haproxy, info, memory, sentinel

SECRETS = {"password": "hunter2", "own": "swordfish"}
"""What clients of a Redis are granted, and what Everup and its nodes are."""

NOW_S = 1000.0
GENERATION = 3


def grant(service: Any, label: str = "redis01", *, revision: int = 0, network: str = "127.77.0") -> Grant:
    """What a Redis service claims, granted: data nodes at .11 and up, Sentinels at .31 and up, the endpoint at .2."""
    claims = KIND.claims(label, service)
    hosts = (
        {"endpoint": 2} | {f"data-{n}": 10 + n for n in range(1, 9)} | {f"sentinel-{n}": 30 + n for n in range(1, 9)}
    )
    listeners = {
        claim.key: {name: Tcp(f"{network}.{hosts[claim.key]}", port) for name, port in claim.ports.items()}
        for claim in claims
        if claim.ports
    }
    secrets = {claim.key: SECRETS[claim.key] for claim in claims if not claim.ports}
    return Grant(label, listeners, secrets, revision=revision)


def redis(
    ha: bool | dict[str, int] = True,
    *,
    was: Any = None,
    revision: int = 0,
    network: str = "127.77.0",
    secrets: Mapping[str, str] = MappingProxyType({}),
    spread: bool = False,
    **keys: Any,
) -> Blueprint:
    """A Redis service `redis01`. `was` is the `ha` that an earlier declaration had: what it was granted is kept; so are
    `secrets`, since it got passwords. `spread`: on several hosts."""
    service = KIND.service.model_validate({"kind": "redis", "ha": ha, **keys})
    granted = grant(service, revision=revision, network=network)
    granted = replace(granted, secrets={**granted.secrets, **secrets}, spread=spread)
    if was:
        earlier = grant(KIND.service.model_validate({"kind": "redis", "ha": was, **keys}))
        granted = replace(granted, listeners={**earlier.listeners, **granted.listeners})
    return KIND.blueprint(service, granted)


def web(count: int = 2, *needs: str, label: str = "web") -> Blueprint:
    """Equal instances behind an endpoint, of no kind in particular."""
    nodes = [plain(f"{label}-{n}", label, Part.INSTANCE) for n in range(1, count + 1)]
    end = plain(f"{label}-endpoint", label, Part.ENDPOINT, reload_signal="SIGUSR2")
    return Blueprint(label, "app", False, (*nodes, end), needs, endpoint=Endpoint("http://127.77.0.3:8080", end.id))


def plain(node_id: NodeId, service: str, part: Part, **changes: Any) -> Node:
    """A node that is ready as soon as it runs."""
    probe = Probe(Protocol.NONE, None, lambda replies: Reading(ready=True))
    return replace(Node(node_id, service, part, "true", (), probe), **changes)


@dataclass(frozen=True)
class Case:
    """How a world differs from one in which all is well. Everything is by node id.

    Attributes:
        primary: the recorded one; None when nothing is recorded. Default: the first data node.
        down: ended a moment ago; `hung` run and are silent; `absent` were never seen; `suspect` answer badly.
        cold: nothing was read since the control plane started, of these nodes.
        roles: node -> the node it follows, or None: it calls itself primary.
        changed: run as they were declared earlier.
        emptied: without data. marks: node -> generation on disk.
        data: node -> changes to what it says of itself.
        named: the node that every Sentinel names. opinions: Sentinel -> changes to its view.
        leads_to: where the endpoint leads. stray: running nodes nobody declares, with their service.
        read_s, good_s: node -> when its newest answer, and its newest good one, was asked for.
    """

    primary: NodeId | None = ""
    generation: int = GENERATION
    marked: int | None = None
    down: Collection[NodeId] = ()
    hung: Collection[NodeId] = ()
    absent: Collection[NodeId] = ()
    suspect: Collection[NodeId] = ()
    cold: Collection[NodeId] = ()
    changed: Collection[NodeId] = ()
    emptied: Collection[NodeId] = ()
    roles: Mapping[NodeId, NodeId | None] = field(default_factory=dict)
    marks: Mapping[NodeId, int | None] = field(default_factory=dict)
    data: Mapping[NodeId, Mapping[str, Any]] = field(default_factory=dict)
    named: NodeId | None = None
    opinions: Mapping[NodeId, Mapping[str, Any]] = field(default_factory=dict)
    leads_to: NodeId | None = None
    stray: Mapping[NodeId, str] = field(default_factory=dict)
    read_s: Mapping[NodeId, float] = field(default_factory=dict)
    good_s: Mapping[NodeId, float] = field(default_factory=dict)
    dead_s: float = NOW_S - 0.01
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    engine_answers: bool = True


def world(*blueprints: Blueprint, **differences: Any) -> Observed:
    """A snapshot at second 1000 in which all is as declared, but for the `differences` (see `Case`)."""
    case = Case(**differences)
    nodes: dict[NodeId, NodeStatus] = {}
    groups, attempts = {}, {}
    for blueprint in blueprints:
        members = blueprint.of(Part.DATA)
        recorded = (members[0].id if members else None) if case.primary == "" else case.primary
        here = [node for node in (*blueprint.nodes, *blueprint.retiring) if node.id not in case.absent]
        nodes |= {node.id: _status(node, blueprint, case, recorded) for node in here if _exists(node, blueprint, case)}
        if members:
            marked = case.generation if case.marked is None else case.marked
            groups[blueprint.label] = Group(recorded, case.generation if recorded else 0, marked)
        attempts[blueprint.label] = case.attempts
    for node_id, label in case.stray.items():
        state = NodeState(running=True, service=label, pid=1)
        nodes[node_id] = NodeStatus(Health.READY, state)
    return Observed(NOW_S, nodes, groups, attempts, case.engine_answers)


def _exists(node: Node, blueprint: Blueprint, case: Case) -> bool:
    """A node that retires is there only in a world that speaks of it."""
    return node in blueprint.nodes or node.id in {case.primary, case.named, *case.roles, *case.down, *case.stray}


def _status(node: Node, blueprint: Blueprint, case: Case, recorded: NodeId | None) -> NodeStatus:
    running = node.id not in case.down
    has_data = node.part != Part.DATA or node.id not in case.emptied
    state = NodeState(
        running=running,
        service=node.service,
        digest="earlier" if node.id in case.changed else node.digest,
        files_digest="earlier" if node.id in case.changed else node.files_digest,
        pid=4711 if running else None,
        dead=None if running else Confirmed(node.id, case.dead_s, -9),
        has_data=has_data,
        generation=case.marks.get(node.id, case.generation) if node.part == Part.DATA and has_data else None,
    )
    if node.id in case.cold:
        return NodeStatus(Health.STARTING if running else Health.DOWN, state, since_s=NOW_S - 100)
    read_s = case.read_s.get(node.id, NOW_S - 0.2)
    reading = node.probe.read(_replies(node, blueprint, case, recorded))
    health = Health.READY if reading.ready else Health.SUSPECT
    health = Health.SUSPECT if node.id in case.suspect else health
    health = Health.HUNG if node.id in case.hung else health
    good_s = case.good_s.get(node.id, read_s if reading.ready else NOW_S - 1.0)
    silent_s = NOW_S - 3.4 if node.id in case.hung else None
    status = NodeStatus(health, state, reading, read_s, good_s, since_s=NOW_S - 100, silent_since_s=silent_s)
    return status if running else replace(status, health=Health.DOWN, since_s=case.dead_s)


def _replies(node: Node, blueprint: Blueprint, case: Case, recorded: NodeId | None) -> tuple[Any, ...]:
    members, voters = blueprint.of(Part.DATA), blueprint.of(Part.VOTER)
    lead = blueprint.node(recorded or "") or (members[0] if members else node)
    if node.part == Part.DATA:
        upstream = case.roles.get(node.id, None if node.id == lead.id else lead.id)
        follows = blueprint.node(upstream) if upstream else None
        up = upstream not in (*case.down, *case.hung)
        said = Data(**{"follows": follows, "link_up": up, **case.data.get(node.id, {})})
        return (*info(said), memory(said)) if ("INFO", "memory") in node.probe.commands else info(said)
    if node.part == Part.VOTER:
        named = blueprint.node(case.named or "") or lead
        changes = dict(case.opinions.get(node.id, {}))
        if "named" in changes:
            changes["named"] = blueprint.node(changes["named"])
        return sentinel(node, Opinion(**{"named": named, **changes}), members, voters)
    if node.part == Part.ENDPOINT and members:
        to = blueprint.node(case.leads_to or "") or lead
        return haproxy(str(to.ports["redis"]), up=to.id not in (*case.down, *case.hung))
    return ()


def shown(actions: Collection[Action]) -> list[tuple[str, ...]]:
    """Actions in short, without their reasons: `("StartNode", "redis01-2", "--replicaof", ...)`."""
    return [_show(action) for action in actions]


def _show(action: Action) -> tuple[str, ...]:
    name = type(action).__name__
    if isinstance(action, StartNode):
        return name, action.node.id, *action.extra_args
    words = [getattr(action, key, None) for key in ("operation", "subject", "node_id", "generation")]
    return name, *(str(word) for word in words if word is not None)


def deeds(blueprint: Blueprint, observed: Observed, *others: Blueprint) -> list[tuple[str, ...]]:
    """What the plan would do, in short; what it holds is left out."""
    return shown([action for action in plan([blueprint, *others], observed) if not isinstance(action, Hold)])


def held(blueprint: Blueprint, observed: Observed) -> dict[NodeId | None, str]:
    """What the plan waits for: node -> because."""
    return {action.node_id: action.because for action in plan([blueprint], observed) if isinstance(action, Hold)}


def because(blueprint: Blueprint, observed: Observed) -> str:
    """The reason of the first deed."""
    reasons = [action.because for action in plan([blueprint], observed) if not isinstance(action, Hold | Mark)]
    return reasons[0]
