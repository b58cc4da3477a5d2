"""What apps and workers do about change and trouble, as plans over views; and a small world that carries plans out."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.core.plan import plan, view_of
from everup.kinds._haproxy_reading import Server
from everup.kinds._rolling import SETTLED_S, TRIED_S
from everup.model.actions import Action, Fence, Hold, Operate, StartNode, StopNode
from everup.model.desired import Ask, Blueprint, Milestone, Outcome, Pause, Silence, Tcp, Together
from everup.model.observed import Attempt, Confirmed, Ground, Health, NodeState, NodeStatus, Observed, Reading
from tests.kinds.shapes import KINDS, blueprint, grant, service

END, EXTRA = "web-endpoint", "web-surge"


@dataclass
class World:
    """Nodes and HAProxy's servers as a view has them; `now_s` is 100."""

    nodes: dict[str, NodeStatus] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    now_s: float = 100.0

    @classmethod
    def of(cls, declared: Blueprint) -> "World":
        """All nodes run as declared and are well since long ago."""
        world = cls()
        for node in declared.nodes:
            state = NodeState(True, service="web", digest=node.digest, files_digest=node.files_digest)
            world.nodes[node.id] = NodeStatus(
                Health.READY, state, Reading(True), read_s=99.9, good_s=99.9, since_s=10.0
            )
            world.servers[node.id] = Server("127.0.0.1:8080", up=True, admin="ready")
        world.servers.pop(END, None)
        world.servers[EXTRA] = Server("127.0.0.1:8080", up=False, admin="maint")
        world.nodes[EXTRA] = NodeStatus(Health.DOWN)
        return world

    def standing_in(self, declared: Blueprint) -> "World":
        """The stand-in runs as declared, has been ready for a while, and gets requests."""
        (extra,) = declared.stand_ins
        state = NodeState(True, service="web", digest=extra.digest, files_digest=extra.files_digest)
        self.nodes[EXTRA] = NodeStatus(Health.READY, state, Reading(True), read_s=99.9, good_s=99.9, since_s=90.0)
        return self.server(EXTRA, up=True, admin="ready")

    def node(self, node_id: str, health: Health, **fields: Any) -> "World":
        """Change what is seen of one node."""
        dead = Confirmed(node_id, 99.0, -9) if health == Health.DOWN else None
        before = self.nodes.get(node_id, NodeStatus(state=NodeState(True, service="web", digest="older")))
        state = replace(before.state, running=health != Health.DOWN, dead=dead)
        self.nodes[node_id] = replace(before, health=health, state=state, **fields)
        return self

    def server(self, node_id: str, **fields: Any) -> "World":
        """Change what HAProxy says of one server."""
        known = self.servers.get(node_id, Server("127.0.0.1:8080", up=True, admin="ready"))
        self.servers[node_id] = replace(known, **fields)
        return self

    def host(self, node_id: str, declared: Blueprint, ground: Ground) -> "World":
        """The host at whose address it is declared is drained, or lost."""
        address = next(iter(declared.node(node_id).ports.values())).host  # type: ignore[union-attr]
        before = self.nodes[node_id]
        state = replace(before.state, host="node1", address=address, ground=ground)
        self.nodes[node_id] = replace(before, state=state)
        return self

    def observed(self) -> Observed:
        """The snapshot that `plan` gets."""
        nodes = dict(self.nodes)
        if END in nodes:
            nodes[END] = replace(nodes[END], reading=Reading(True, facts={"servers": dict(self.servers)}))
        return Observed(self.now_s, nodes, {}, {"web": dict(self.attempts)})


def acts(declared: Blueprint, world: World) -> list[tuple[str, str]]:
    return [brief(action) for action in plan([declared], world.observed()) if not isinstance(action, Hold)]


def brief(action: Action) -> tuple[str, str]:
    match action:
        case StartNode(node=node):
            return "start", node.id
        case StopNode(node_id=node_id):
            return "stop", node_id
        case Fence(node_id=node_id):
            return "fence", node_id
        case Operate(operation=operation, subject=subject):
            return operation, subject or "all"
    return "", ""


def holds(declared: Blueprint, world: World) -> dict[str | None, str]:
    return {hold.node_id: hold.because for hold in plan([declared], world.observed()) if isinstance(hold, Hold)}


@pytest.fixture
def web() -> Blueprint:
    return blueprint("app", scale=3, limit=5)


@pytest.fixture
def newer() -> Blueprint:
    return blueprint("app", scale=3, limit=5, revision=1)


def test_when_all_is_well_nothing_is_done(web: Blueprint):
    assert acts(web, World.of(web)) == []


def test_a_dead_instance_is_started_and_nothing_else_is_touched(web: Blueprint):
    assert acts(web, World.of(web).node("web-2", Health.DOWN)) == [("start", "web-2")]


def test_a_hung_instance_is_fenced(web: Blueprint):
    assert acts(web, World.of(web).node("web-2", Health.HUNG)) == [("fence", "web-2")]


@pytest.mark.parametrize("kept_out", [{"up": False}, {"admin": "maint", "up": False}, {"admin": "drain"}])
def test_a_ready_instance_that_haproxy_keeps_out_is_admitted(web: Blueprint, kept_out: dict[str, Any]):
    assert acts(web, World.of(web).server("web-2", **kept_out)) == [("admit", "web-2")]


def test_several_are_admitted_at_once(web: Blueprint):
    assert acts(web, World.of(web).server("web-2", up=False).server("web-3", up=False)) == [("admit", "all")]


def test_an_instance_that_is_not_ready_is_not_admitted(web: Blueprint):
    assert acts(web, World.of(web).server("web-2", up=False).node("web-2", Health.STARTING)) == []


def test_what_haproxy_said_before_the_instance_was_ready_does_not_count(web: Blueprint):
    assert acts(web, World.of(web).server("web-2", up=False).node("web-2", Health.READY, since_s=99.95)) == []


def test_haproxy_is_not_told_again_before_it_was_looked_at_again(web: Blueprint):
    world = World.of(web).server("web-2", admin="maint", up=False)
    world.attempts["admit"] = Attempt(99.95, True, "")
    assert acts(web, world) == []


def test_haproxys_own_check_is_overruled_once_and_then_believed(web: Blueprint):
    world = World.of(web).server("web-2", up=False)
    world.attempts["admit"] = Attempt(50.0, True, "")
    assert acts(web, world) == []
    assert acts(web, world.node("web-2", Health.READY, since_s=60.0)) == [("admit", "web-2")]


def test_a_changed_app_gets_a_stand_in_before_anybody_leaves(newer: Blueprint, web: Blueprint):
    world = World.of(web)
    assert acts(newer, world) == [("start", EXTRA)]
    assert "waits for web-surge" in holds(newer, world)["web-1"]
    world.standing_in(newer).server(EXTRA, up=False, admin="maint")
    assert acts(newer, world) == [("admit", EXTRA)]


def test_a_stand_in_is_not_relied_upon_at_once(newer: Blueprint, web: Blueprint):
    world = World.of(web).standing_in(newer).node(EXTRA, Health.READY, since_s=100.0 - TRIED_S / 2)
    assert acts(newer, world) == []
    world.now_s += TRIED_S
    assert acts(newer, world) == [("drain", "web-1")]


@pytest.mark.parametrize("trouble", [Health.STARTING, Health.SUSPECT, Health.DOWN])
def test_nobody_leaves_for_a_stand_in_that_is_not_well(newer: Blueprint, web: Blueprint, trouble: Health):
    assert ("drain", "web-1") not in acts(newer, World.of(web).standing_in(newer).node(EXTRA, trouble))


def test_a_hung_stand_in_is_fenced(newer: Blueprint, web: Blueprint):
    assert ("fence", EXTRA) in acts(newer, World.of(web).standing_in(newer).node(EXTRA, Health.HUNG))


def test_a_changed_app_is_replaced_one_by_one_beginning_with_a_drain(newer: Blueprint, web: Blueprint):
    world = World.of(web).standing_in(newer)
    assert acts(newer, world) == [("drain", "web-1")]
    assert holds(newer, world)["web-3"] == "web-3 is replaced after web-1"


def test_a_stand_in_stays_until_every_instance_serves_and_then_goes(newer: Blueprint):
    world = World.of(newer).standing_in(newer).server("web-2", up=False)
    assert acts(newer, world) == [("admit", "web-2")]
    assert "until every instance does" in holds(newer, world)[EXTRA]
    world = World.of(newer).standing_in(newer)
    assert acts(newer, world) == [("drain", EXTRA)]
    assert acts(newer, world.server(EXTRA, up=False, admin="maint")) == [("stop", EXTRA)]


def test_a_stand_in_that_did_not_work_is_stopped_and_nobody_else_is_touched(newer: Blueprint, web: Blueprint):
    """The former revision is declared again before any instance left it."""
    world = World.of(web).standing_in(newer).node(EXTRA, Health.STARTING).server(EXTRA, up=False, admin="maint")
    assert acts(web, world) == [("stop", EXTRA)]


def test_a_stand_in_of_a_former_revision_serves_while_nobody_else_can():
    two, three = (blueprint("app", scale=1, revision=revision) for revision in (2, 3))
    world = World.of(two).standing_in(two).server("web-1", up=False, admin="maint")
    assert acts(three, world) == [("start", "web-1")]


def test_a_stand_in_is_replaced_before_the_instances(newer: Blueprint, web: Blueprint):
    newest = blueprint("app", scale=3, limit=5, revision=2)
    world = World.of(web).standing_in(newer)
    assert acts(newest, world) == [("drain", EXTRA)]
    assert acts(newest, world.server(EXTRA, up=False, admin="maint")) == [("start", EXTRA)]


def test_a_drained_instance_is_replaced(newer: Blueprint, web: Blueprint):
    assert acts(newer, World.of(web).server("web-1", admin="maint", up=False)) == [("start", "web-1")]


@pytest.mark.parametrize("trouble", [Health.DOWN, Health.STARTING, Health.SUSPECT, Health.HUNG])
def test_no_instance_leaves_while_another_is_unwell(newer: Blueprint, web: Blueprint, trouble: Health):
    world = World.of(web)
    world.nodes["web-3"] = replace(
        World.of(newer).nodes["web-3"], health=trouble, state=replace(World.of(newer).nodes["web-3"].state)
    )
    world.node("web-3", trouble)
    assert ("drain", "web-1") not in acts(newer, world)
    assert "waits for web-3" in holds(newer, world)["web-1"]


def test_no_instance_leaves_while_another_gets_no_requests(newer: Blueprint, web: Blueprint):
    world = World.of(web).server("web-3", up=False)
    assert ("drain", "web-1") not in acts(newer, world)


def test_no_instance_leaves_while_the_endpoint_is_unwell(newer: Blueprint, web: Blueprint):
    world = World.of(web).standing_in(newer).node(END, Health.SUSPECT)
    assert acts(newer, world) == []
    assert END in holds(newer, world)["web-1"]


def test_an_instance_that_never_was_ready_is_replaced_at_once(newer: Blueprint, web: Blueprint):
    """A broken version must not stand in the way of its own correction."""
    assert acts(newer, World.of(web).node("web-2", Health.STARTING)) == [("start", "web-2")]


def test_a_failed_drain_is_tried_again_a_moment_later(newer: Blueprint, web: Blueprint):
    world = World.of(web).standing_in(newer)
    world.attempts["drain"] = Attempt(99.5, False, "the endpoint did not answer")
    assert acts(newer, world) == []
    world.now_s = 101.0
    assert acts(newer, world) == [("drain", "web-1")]


def test_an_instance_that_is_no_longer_declared_is_drained_and_then_stopped(web: Blueprint):
    less = blueprint("app", scale=2, limit=5)
    world = World.of(web)
    assert acts(less, world) == [("drain", "web-3")]
    assert acts(less, world.server("web-3", admin="maint", up=False)) == [("stop", "web-3")]


@pytest.mark.parametrize("trouble", [Health.HUNG, Health.DOWN])
def test_a_dead_or_hung_one_is_not_drained(web: Blueprint, trouble: Health):
    less = blueprint("app", scale=2, limit=5)
    world = World.of(web).node("web-3", trouble)
    assert acts(less, world) == ([] if trouble == Health.DOWN else [("stop", "web-3")])


def test_while_one_operation_runs_no_other_instance_is_stopped_behind_its_back(web: Blueprint):
    """The guard lets one operation through; what it turns away must not fall to the common rules."""
    less = blueprint("app", scale=1, limit=5)
    assert acts(less, World.of(web).server("web-1", up=False)) == [("admit", "web-1")]
    assert acts(less, World.of(web)) == [("drain", "web-2")]


def test_a_changed_endpoint_reloads_at_once_even_during_a_replacement(web: Blueprint):
    newer = blueprint("app", scale=3, limit=5, revision=1, timeout="7s")
    assert ("start", END) in acts(newer, World.of(web))


def test_workers_are_replaced_one_by_one_and_each_must_last_a_moment():
    old, new = (blueprint("worker", scale=3, limit=5, revision=revision) for revision in (0, 1))
    world = World.of(old)
    assert acts(new, world) == [("start", "web-1")]
    world.nodes["web-1"] = replace(World.of(new).nodes["web-1"], since_s=world.now_s - SETTLED_S / 2)
    assert acts(new, world) == []
    world.now_s += SETTLED_S
    assert acts(new, world) == [("start", "web-2")]


def perform(declared: Blueprint, world: World, action: Operate, haproxy: Any) -> Outcome:
    """Run an operation against a HAProxy that is a function from an Ask to its replies."""
    steps = declared.operations[action.operation](declared, view_of(declared, world.observed()), action.subject)
    reply: Any = None
    for _ in range(10_000):
        try:
            step = steps.send(reply)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        assert isinstance(step, Together | Pause | Milestone)
        reply = tuple(haproxy(ask) for ask in step.asks) if isinstance(step, Together) else None
    raise AssertionError("the operation does not end")


class Countdown:
    """A HAProxy whose server `web-1` has `sessions` requests left, one fewer at each look."""

    def __init__(self, sessions: int) -> None:
        self.sessions, self.said = sessions, list[str]()

    def __call__(self, ask: Ask) -> tuple[str, ...]:
        self.said += [words[0] for words in ask.commands]
        if not ask.commands[0][0].startswith("show"):
            return ("\n",) * len(ask.commands)
        self.sessions = max(0, self.sessions - 1)
        names = "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port"
        return f"1\n# {names}\n3 app 1 web-1 127.0.0.1 2 8 80\n", f"# pxname,svname,scur\napp,web-1,{self.sessions}\n"


def test_draining_waits_until_the_last_request_has_ended(web: Blueprint):
    haproxy = Countdown(sessions=5)
    outcome = perform(web, World.of(web), Operate("web", "drain", "", "web-1"), haproxy)
    assert outcome == Outcome(True, "web-1 has no requests left")
    assert haproxy.said[0] == "set server app/web-1 state drain"
    assert haproxy.said.count("show servers state") == 5
    assert haproxy.said[-1] == "set server app/web-1 state maint"


def test_draining_waits_no_longer_than_the_grace():
    web = blueprint("app", stop_grace="1s")
    haproxy = Countdown(sessions=1000)
    outcome = perform(web, World.of(web), Operate("web", "drain", "", "web-1"), haproxy)
    assert outcome.done and "still busy" in outcome.because
    assert haproxy.said.count("show servers state") == 21
    assert haproxy.said[-1] == "set server app/web-1 state maint"


@pytest.mark.parametrize("operation", ["drain", "admit"])
def test_what_haproxy_objects_to_is_passed_on(web: Blueprint, operation: str):
    action = Operate("web", operation, "", "web-1")
    silent = perform(web, World.of(web), action, lambda ask: Silence("refused"))
    assert silent == Outcome(False, "the endpoint did not answer: refused")
    objecting = perform(web, World.of(web), action, lambda ask: ("No such server.\n\n",))
    assert objecting == Outcome(False, "No such server.")


def advance(declared: Blueprint, world: World) -> bool:
    """Carry out what is planned, as an engine and HAProxy would; False when nothing was."""
    world.now_s += 1.0
    for node in declared.active:
        world.nodes.setdefault(node.id, NodeStatus(Health.DOWN))
    planned = plan([declared], world.observed())
    done = False
    for action in planned:
        done = done or not isinstance(action, Hold)
        match action:
            case StartNode(node=node):
                state = NodeState(True, service="web", digest=node.digest, files_digest=node.files_digest)
                world.nodes[node.id] = NodeStatus(Health.STARTING, state, since_s=world.now_s)
            case StopNode(node_id=node_id):
                world.node(node_id, Health.DOWN).server(node_id, up=False)
            case Operate(operation="drain", subject=str(subject)):
                world.server(subject, admin="maint", up=False)
            case Operate(operation="admit", subject=subject):
                for node_id in [subject] if subject else list(world.servers):
                    if node_id in world.nodes and world.nodes[node_id].ready:
                        world.server(node_id, admin="ready", up=True)
            case _:
                pass
    for node_id, status in world.nodes.items():
        if status.health == Health.STARTING and status.since_s < world.now_s:
            world.nodes[node_id] = replace(status, health=Health.READY, since_s=world.now_s)
        world.nodes[node_id] = replace(world.nodes[node_id], read_s=world.now_s)
    return done


def serving(world: World) -> int:
    return sum(
        server.serves and world.nodes[name].ready for name, server in world.servers.items() if name in world.nodes
    )


@given(st.integers(1, 5), st.integers(1, 5))
def test_from_any_size_and_version_to_any_other_none_is_missing(before: int, after: int):
    old, new = blueprint("app", scale=before, limit=5), blueprint("app", scale=after, limit=5, revision=1)
    world = World.of(old)
    for n in range(1, 6):
        if n > before:
            world.server(f"web-{n}", up=False)
    fewest, still = before, 0
    for _ in range(300):
        still = 0 if advance(new, world) else still + 1
        fewest = min(fewest, serving(world))
        if still > 3:
            break
    assert still > 3
    assert fewest >= min(before, after)
    running = {node_id: status.state.digest for node_id, status in world.nodes.items() if status.state.running}
    assert running == {node.id: node.digest for node in new.nodes}
    assert serving(world) == after


# -- leaving a host


def elsewhere(node_id: str) -> Blueprint:
    """The same app, after one of its instances was granted another address."""
    declared = service("app", scale=3, limit=5)
    granted = grant(KINDS["app"], declared)
    listeners = {**granted.listeners, node_id: {"http": Tcp("127.0.0.99", 8080)}}
    return KINDS["app"].blueprint(declared, replace(granted, listeners=listeners))


def test_an_instance_on_a_lost_host_waits_until_it_is_granted_another_place(web: Blueprint):
    world = World.of(web).host("web-2", web, Ground.LOST).node("web-2", Health.HUNG)
    assert acts(web, world) == []
    assert holds(web, world)["web-2"] == "its host node1 is lost; it waits for a place on another one"


@pytest.mark.parametrize("health", [Health.STARTING, Health.HUNG, Health.SUSPECT, Health.READY])
def test_then_it_is_started_there_at_once(web: Blueprint, health: Health):
    world = World.of(web).host("web-2", web, Ground.LOST).node("web-2", health)
    moved = elsewhere("web-2")
    assert ("start", "web-2") in acts(moved, world)
    assert not {("fence", "web-2"), ("drain", "web-2")} & set(acts(moved, world))


def test_a_worker_on_a_lost_host_is_started_on_another():
    worker = blueprint("worker", scale=1)
    state = NodeState(
        True, service="web", digest=worker.nodes[0].digest, host="node1", address="10.0.0.1", ground=Ground.LOST
    )
    world = World({"web-1": NodeStatus(Health.READY, state, Reading(True), since_s=10.0)})
    assert acts(worker, world) == [("start", "web-1")]


def test_before_an_instance_leaves_a_drained_host_a_stand_in_serves(web: Blueprint):
    world = World.of(web).host("web-2", web, Ground.DRAINED)
    assert acts(web, world) == [("start", EXTRA)]


def test_then_its_requests_end_and_it_is_stopped_and_not_started_again_there(web: Blueprint):
    world = World.of(web).host("web-2", web, Ground.DRAINED).standing_in(web)
    assert acts(web, world) == [("drain", "web-2")]
    world.server("web-2", admin="maint", up=False)
    assert acts(web, world) == [("stop", "web-2")]
    world.node("web-2", Health.DOWN)
    assert acts(web, world) == []
    assert "its host node1 is drained" in holds(web, world)["web-2"]


def test_once_it_is_granted_another_place_it_starts_there_and_the_stand_in_stays_until_it_serves(web: Blueprint):
    world = World.of(web).host("web-2", web, Ground.DRAINED).standing_in(web)
    world.server("web-2", admin="maint", up=False).node("web-2", Health.DOWN)
    moved = elsewhere("web-2")
    assert ("start", "web-2") in acts(moved, world)
    assert ("stop", EXTRA) not in acts(moved, world)


def test_a_stand_in_is_not_started_on_the_host_that_is_to_be_left(web: Blueprint):
    here = next(iter(web.node("web-2").ports.values())).host  # type: ignore[union-attr]
    declared = service("app", scale=3, limit=5)
    granted = grant(KINDS["app"], declared)
    beside = KINDS["app"].blueprint(
        declared, replace(granted, listeners={**granted.listeners, EXTRA: {"http": Tcp(here, 8090)}})
    )
    world = World.of(beside).host("web-2", beside, Ground.DRAINED)
    assert acts(beside, world) == []
    assert "waits for a place" in holds(beside, world)[EXTRA]


def test_a_dead_instance_is_not_started_on_a_drained_host(web: Blueprint):
    world = World.of(web).host("web-2", web, Ground.DRAINED).node("web-2", Health.DOWN)
    assert acts(web, world) == []


def test_a_worker_leaves_a_drained_host():
    worker = blueprint("worker", scale=2)
    nodes = {}
    for node in worker.nodes:
        state = NodeState(True, service="web", digest=node.digest, host=f"node{node.id[-1]}")
        nodes[node.id] = NodeStatus(Health.READY, state, Reading(True), since_s=10.0)
    world = World(nodes)
    world.nodes["web-1"] = replace(nodes["web-1"], state=replace(nodes["web-1"].state, ground=Ground.DRAINED))
    assert acts(worker, world) == [("start", "web-1")]
