"""May a drill begin, and what would it break?"""

from dataclasses import replace
from typing import Any

import pytest

from everup.core.rehearsal import admit, permit, stage, stage_app, targets_of
from everup.model.contracts import Outage
from everup.model.desired import Blueprint
from everup.model.drill import AppScene, DrillFault, Scene, Targets, Wish
from everup.model.errors import NotFound, NotPermitted, Refused
from everup.model.observed import Group, Health, NodeState, NodeStatus, Reading, Role, View
from everup.model.spec import Environment, WriteRequest
from tests.kinds.shapes import blueprint, service

POSSIBLE = ("crash", "hang", "node-loss")
OF_NODES = [DrillFault.CRASH, DrillFault.HANG, DrillFault.NODE_LOSS]


def well(shape: Blueprint, primary: str = "web-2") -> View:
    """Every node is ready; `primary` leads."""
    nodes = {}
    for node in shape.nodes:
        role = (Role.PRIMARY if node.id == primary else Role.REPLICA) if node.part == "data" else None
        state = NodeState(running=True, service="web", digest=node.digest, generation=1)
        nodes[node.id] = NodeStatus(Health.READY, state, Reading(ready=True, role=role))
    return View(10.0, nodes, Group(primary, 1, 1))


def staged(shape: Blueprint, view: View | None = None, fault: DrillFault = DrillFault.CRASH, **wish: Any) -> Scene:
    chosen = Wish(wish.get("via", ""), wish.get("turn", 0))
    return stage(shape, view or well(shape), wish.get("service"), fault, chosen, POSSIBLE)


@pytest.mark.parametrize("fault", OF_NODES)
def test_the_primary_is_broken_whoever_that_is(fault: DrillFault):
    shape = blueprint("redis", ha=True)
    assert staged(shape, fault=fault).subject == "web-2"
    assert staged(shape, well(shape, "web-3"), fault).subject == "web-3"


def test_equal_instances_take_turns():
    shape = blueprint("app", scale=3)
    assert [staged(shape, turn=turn).subject for turn in range(4)] == ["web-1", "web-2", "web-3", "web-1"]


def test_clients_write_through_the_sentinels_unless_asked_otherwise():
    shape = blueprint("redis", ha=True)
    scene = staged(shape)
    assert (scene.via, scene.client) == ("sentinel", "redis-sentinel")
    assert scene.settings["SENTINEL_LIST"] == shape.bindings["SENTINEL_LIST"]
    assert staged(shape, via="endpoint").client == "redis-endpoint"
    with pytest.raises(NotFound, match="cannot be reached by carrier"):
        staged(shape, via="carrier")


def test_an_app_is_asked_for_its_health_page():
    assert staged(blueprint("app", scale=2, health="/healthz")).settings["PATH"] == "/healthz"
    assert staged(blueprint("app", scale=2, health="tcp")).settings["PATH"] == "/"


def test_nobody_can_write_to_a_worker():
    with pytest.raises(Refused, match="which no client writes to"):
        staged(blueprint("worker", scale=2))


@pytest.mark.parametrize(("kind", "keys"), [("redis", {}), ("postgres", {}), ("app", {"scale": 1})])
@pytest.mark.parametrize("fault", OF_NODES)
def test_a_single_node_is_left_alone(kind: str, keys: dict[str, Any], fault: DrillFault):
    shape = blueprint(kind, **keys)
    with pytest.raises(Refused, match="single node") as refused:
        staged(shape, well(shape, "web-1"), fault)
    assert "ha: true" in refused.value.hint or "everup scale web 2" in refused.value.hint


def test_a_single_node_must_survive_the_loss_of_the_control_plane():
    shape = blueprint("redis")
    assert staged(shape, well(shape, "web-1"), DrillFault.CONTROL_PLANE).subject is None


@pytest.mark.parametrize("health", [Health.SUSPECT, Health.HUNG, Health.DOWN, Health.STARTING])
@pytest.mark.parametrize("node", ["web-1", "web-2", "web-sentinel-1", "web-endpoint"])
def test_no_drill_begins_while_any_node_is_not_ready(node: str, health: Health):
    shape = blueprint("redis", ha=True)
    view = well(shape)
    ailing = replace(view.nodes[node], health=health, because="it is not well")
    with pytest.raises(Refused, match="might not survive") as refused:
        staged(shape, replace(view, nodes={**view.nodes, node: ailing}))
    assert refused.value.hint.startswith("Wait until it is healthy")


def test_no_drill_begins_while_a_copy_of_the_newest_data_is_missing():
    shape = blueprint("redis", ha=True)
    view = well(shape)
    older = replace(view.nodes["web-3"], state=replace(view.nodes["web-3"].state, generation=None))
    with pytest.raises(Refused, match="has not saved its copy"):
        staged(shape, replace(view, nodes={**view.nodes, "web-3": older}))


@pytest.mark.parametrize(
    ("fault", "reason"), [(DrillFault.PARTITION, "not even root"), (DrillFault.DISK_FULL, "share one disk")]
)
def test_what_the_engine_cannot_cause_is_refused_with_the_reason(fault: DrillFault, reason: str):
    with pytest.raises(Refused, match=reason) as refused:
        staged(blueprint("redis", ha=True), fault=fault)
    assert refused.value.hint


def test_an_engine_that_can_cause_it_may():
    shape = blueprint("redis", ha=True)
    scene = stage(shape, well(shape), None, DrillFault.PARTITION, Wish(), ("partition",))
    assert scene.subject == "web-2"


def test_only_services_with_a_primary_hand_over():
    shape = blueprint("redis", ha=True)
    assert staged(shape, fault=DrillFault.SWITCHOVER).subject == "web-2"
    with pytest.raises(Refused, match="no primary to hand over"):
        staged(blueprint("app", scale=3), fault=DrillFault.SWITCHOVER)


@pytest.mark.parametrize(
    ("kind", "keys", "expected"),
    [
        ("redis", {"ha": True}, Targets(None, None)),
        ("redis", {"ha": True, "rto": "2s"}, Targets(2.0, None)),
        ("postgres", {"ha": True}, Targets(None, 0)),
        ("postgres", {"ha": True, "rpo": "async", "rto": "10s"}, Targets(10.0, None)),
        ("app", {}, Targets(None, None)),
    ],
)
def test_targets_are_what_the_spec_promises(kind: str, keys: dict[str, Any], expected: Targets):
    assert targets_of(service(kind, **keys)) == expected


def test_drills_must_be_allowed_by_the_spec_or_confirmed():
    with pytest.raises(NotPermitted, match="does not allow") as refused:
        permit(Environment(environment="shop"), confirmed=False)
    assert "drills: allowed" in refused.value.hint and "--yes" in refused.value.hint
    permit(Environment(environment="shop"), confirmed=True)
    permit(Environment(environment="shop", drills="allowed"), confirmed=False)


WRITES = {"method": "PUT", "path": "/orders/{n}", "body": "x={n}", "within": "3s"}


def staged_app(*, needs: tuple[str, ...] = ("redis01",), asked: dict[str, str] | None = None, **keys: Any) -> AppScene:
    keys = {"needs": needs, **keys}
    shape = blueprint(keys.pop("kind", "app"), **keys)
    declared = service("app", **keys) if shape.kind == "app" else None
    request = WriteRequest.model_validate(asked) if asked else None
    return stage_app(shape, well(shape), declared, "redis01", Wish(app="web", request=request))


def test_every_instance_of_an_app_is_asked_to_write_by_itself():
    app = staged_app(drill=WRITES, timeout="5s")
    assert list(app.instances) == ["web-1", "web-2"]
    assert all(url.startswith("http://127.0.0.") for url in app.instances.values())
    assert len(set(app.instances.values())) == 2
    assert (app.request, app.within_s) == ("PUT /orders/{n}", 3.0)
    told = {"METHOD": "PUT", "PATH": "/orders/{n}", "BODY": "x={n}", "BELOW": "400", "TIMEOUT_S": "6.0"}
    assert app.settings == told


def test_a_drill_may_ask_for_another_request_than_the_spec():
    app = staged_app(drill=WRITES, asked={"path": "/other", "method": "POST"})
    assert (app.request, app.settings["BODY"], app.within_s) == ("POST /other", "", 3.0)
    undeclared = staged_app(asked={"path": "/other"})
    assert (undeclared.request, undeclared.settings["BODY"], undeclared.within_s) == ("POST /other", "", 10.0)


@pytest.mark.parametrize(
    ("keys", "message", "hint"),
    [
        ({}, "does not say how it can be made to write", "--app-request"),
        ({"drill": WRITES, "needs": ("db01",)}, "does not need redis01", "web needs db01"),
        ({"drill": WRITES, "needs": ()}, "does not need redis01", "web needs no service"),
        ({"drill": WRITES, "scale": 0}, "runs no instance", "everup scale web 1"),
        ({"kind": "worker"}, "is of kind worker, which takes no requests", "Name one of kind app"),
    ],
)
def test_an_app_that_cannot_be_watched_is_refused_with_the_next_step(keys: dict[str, Any], message: str, hint: str):
    with pytest.raises(Refused, match=message) as refused:
        staged_app(**keys)
    assert hint in refused.value.hint and refused.value.code == "refused.app"


def test_an_app_that_is_not_well_is_not_watched():
    shape = blueprint("app", needs=("redis01",), drill=WRITES)
    view = well(shape)
    down = replace(view.nodes["web-2"], health=Health.DOWN, because="its process ended")
    with pytest.raises(Refused, match="nothing could be learnt from its writes") as refused:
        ailing = replace(view, nodes={**view.nodes, "web-2": down})
        stage_app(shape, ailing, service("app", drill=WRITES), "redis01", Wish(app="web"))
    assert refused.value.hint == "Wait until it is healthy: everup status web --watch"


OUTAGE = Outage("node1", voters=3, left=2)


def staged_outage(
    shape: Blueprint, view: View | None = None, fault: DrillFault = DrillFault.PARTITION, **wish: Any
) -> Scene:
    return stage(shape, view or well(shape), None, fault, Wish(**wish), ("partition", "host-loss", *POSSIBLE))


@pytest.mark.parametrize(
    ("fault", "usual_s"), [(DrillFault.PARTITION, 30.0), (DrillFault.HOST_LOSS, 30.0), (DrillFault.NODE_LOSS, 5.0)]
)
def test_what_is_taken_away_stays_away_as_long_as_was_asked_for(fault: DrillFault, usual_s: float):
    shape = blueprint("redis", ha=True)
    assert staged_outage(shape, fault=fault).lost_for_s == usual_s
    assert staged_outage(shape, fault=fault, for_s=8.0).lost_for_s == 8.0
    with pytest.raises(Refused) as refused:
        staged_outage(shape, fault=fault, for_s=601.0)
    assert refused.value.hint == "At most 600 s."


@pytest.mark.parametrize("fault", [DrillFault.CRASH, DrillFault.HANG, DrillFault.SWITCHOVER])
def test_a_fault_that_does_not_last_is_refused_a_duration(fault: DrillFault):
    with pytest.raises(Refused, match="does not last") as refused:
        staged_outage(blueprint("redis", ha=True), fault=fault, for_s=8.0)
    assert refused.value.hint == "It goes with host-loss, node-loss, partition."


@pytest.mark.parametrize(
    ("kind", "keys", "alone_s"),
    [
        ("redis", {"ha": True, "durability": "safe"}, 3.0),
        ("redis", {"ha": True}, 30.0),
        ("postgres", {"ha": True}, 0.0),
        ("postgres", {"ha": True, "rpo": "async"}, 20.0),
    ],
)
def test_a_primary_that_hears_nobody_takes_writes_for_as_long_as_its_kind_allows(
    kind: str, keys: dict[str, Any], alone_s: float
):
    shape = replace(blueprint(kind, **keys), shortfall=None)
    assert staged_outage(shape).alone_s == alone_s
    assert staged_outage(shape, for_s=1.0).alone_s == min(alone_s, 1.0)
    assert staged_outage(shape, fault=DrillFault.HOST_LOSS).alone_s is None


def test_an_instance_on_a_host_that_the_drill_needs_is_spared():
    shape = blueprint("app", scale=3)
    turns = [staged_outage(shape, turn=turn, spared=frozenset({"web-1"})).subject for turn in range(3)]
    assert turns == ["web-2", "web-3", "web-2"]
    everyone = frozenset({"web-1", "web-2", "web-3"})
    assert staged_outage(shape, spared=everyone).subject == "web-1"  # and `admit` says why that cannot be
    assert staged_outage(shape).alone_s is None


@pytest.mark.parametrize("fault", [DrillFault.PARTITION, DrillFault.HOST_LOSS])
def test_one_machine_cannot_lose_a_host_and_says_why(fault: DrillFault):
    with pytest.raises(Refused, match="processes of one machine") as refused:
        staged(blueprint("redis", ha=True), fault=fault)
    assert "nearest fault" in refused.value.hint


def test_a_host_that_the_others_can_do_without_may_be_cut_off():
    admit(OUTAGE, "web", confirmed=False)
    admit(Outage("node4", voters=3, left=3), "web", confirmed=False)


@pytest.mark.parametrize(
    ("outage", "because", "hint"),
    [
        (replace(OUTAGE, here=True), "the control plane works from there", "everup switchover web"),
        (
            replace(OUTAGE, unwell=("node2 is down", "node3 takes nothing")),
            "node2 is down; node3 takes",
            "docker node ls",
        ),
        (replace(OUTAGE, voters=2, left=1), "1 of 2 managers", "docker node promote"),
        (replace(OUTAGE, voters=1, left=0), "0 of 1 managers", "docker node promote"),
        (replace(OUTAGE, beside=("blog", "wiki")), "blog, wiki would lose what runs there", "--yes"),
    ],
)
def test_a_host_that_is_needed_is_not_cut_off(outage: Outage, because: str, hint: str):
    with pytest.raises(Refused, match=because) as refused:
        admit(outage, "web", confirmed=False)
    assert hint in refused.value.hint and refused.value.code == "refused.outage"


def test_that_other_environments_lose_it_too_can_be_confirmed_and_nothing_else_can():
    admit(replace(OUTAGE, beside=("blog",)), "web", confirmed=True)
    with pytest.raises(Refused, match="works from there"):
        admit(replace(OUTAGE, here=True, beside=("blog",)), "web", confirmed=True)
