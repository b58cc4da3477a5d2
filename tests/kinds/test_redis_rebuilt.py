"""A Redis group whose host is lost for good is whole again on another one, and nobody remembers where it was."""

from dataclasses import replace

from everup.kinds.redis import KIND
from everup.model.actions import Hold, Operate
from everup.model.desired import Blueprint, Node, NodeId, Part, Tcp
from everup.model.observed import Ground, NodeState
from tests.kinds.small_group import Process, Server, SmallGroup, Voter, address_of
from tests.kinds.test_redis_properties import ControlPlane, live, whole
from tests.worlds import grant, redis

GROUP = redis()
SERVICE = KIND.service.model_validate({"kind": "redis", "ha": True})
LOST_S = 30


def rebuilt(number: int) -> Blueprint:
    """The group with the members of that number at addresses of another host."""
    granted = grant(SERVICE)
    keys = (f"data-{number}", f"sentinel-{number}")
    elsewhere = {
        key: {name: Tcp(f"127.88.0.{number}", to.port) for name, to in granted.listeners[key].items()} for key in keys
    }
    return KIND.blueprint(SERVICE, replace(granted, listeners={**granted.listeners, **elsewhere}))


class Hosts(SmallGroup):
    """A group on several hosts. What was on a lost one is taken to run there until it was started elsewhere."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__(blueprint)
        self.away: dict[NodeId, NodeState] = {}

    def lose(self, number: int) -> None:
        for node_id in [f"redis01-{number}", f"redis01-sentinel-{number}", f"redis01-front-{number}"]:
            self.away[node_id] = self.observe()[node_id]
            self.processes[node_id].running = False

    def rebuild(self, blueprint: Blueprint) -> None:
        """From now on this is declared; what was there is remembered by those who knew it."""
        self.blueprint = blueprint
        for node_id in self.away:
            node = blueprint.node(node_id)
            assert node is not None
            self.processes[f"former {node_id}"] = self.processes[node_id]
            self.processes[node_id] = {Part.DATA: Server, Part.VOTER: Voter}.get(node.part, Process)(node)

    def start(self, node: Node, extra_args: tuple[str, ...]) -> None:
        self.away.pop(node.id, None)
        self.processes[node.id].node = node
        super().start(node, extra_args)

    def kill(self, node_id: NodeId) -> None:
        if node_id not in self.away:  # nobody can say there what becomes of it
            super().kill(node_id)

    def observe(self) -> dict[NodeId, NodeState]:
        found = {name: one for name, one in super().observe().items() if not name.startswith("former")}
        return {**found, **{name: replace(one, ground=Ground.LOST) for name, one in self.away.items()}}

    def _state(self, one: Process) -> NodeState:
        host = next(iter(one.node.ports.values())).host
        return replace(super()._state(one), address=host, host=f"host of {host}")

    @property
    def voters(self) -> list[Voter]:
        """Those that are declared count for a majority; see `remembered` for others."""
        return [one for name, one in self.processes.items() if isinstance(one, Voter) and "former" not in name]

    def remembered(self) -> set[str]:
        """Addresses at which nobody is any more, and which some Sentinel remembers."""
        former = {address_of(one) for name, one in self.processes.items() if name.startswith("former")}
        return former & {address for voter in self.voters for address in voter.seen}


def founded() -> tuple[ControlPlane, Hosts]:
    group = Hosts(GROUP)
    plane = ControlPlane(group)
    assert live(plane, 60), plane.happened
    return plane, group


def lost(plane: ControlPlane, group: Hosts, number: int) -> None:
    """A host is lost, and everybody has had the time to do without it."""
    group.lose(number)
    live(plane, LOST_S)


def operations(plane: ControlPlane) -> list[str]:
    return [one for one in plane.happened if "Operate" in one]


def comes_back(number: int) -> ControlPlane:
    plane, group = founded()
    lost(plane, group, number)
    writes = max(one.writes for one in group.servers)
    plane.blueprint = rebuilt(number)
    group.rebuild(plane.blueprint)
    assert live(plane, 120), "\n".join([*plane.happened, repr(plane.act())])
    whole(plane)
    assert group.remembered() == set()
    assert min(one.writes for one in group.servers if one.running) >= writes
    return plane


def test_replicas_and_a_sentinel_come_back_elsewhere_and_nobody_remembers_where_they_were():
    plane = comes_back(3)
    assert plane.record.primary == "redis01-1"


def test_so_does_a_former_primary_once_another_one_leads():
    plane = comes_back(1)
    assert plane.record.primary in ("redis01-2", "redis01-3")


def test_sentinels_forget_one_after_another_and_only_while_the_others_know_everybody():
    plane, group = founded()
    lost(plane, group, 3)
    plane.blueprint = rebuilt(3)
    group.rebuild(plane.blueprint)
    forgot = 0
    for _ in range(120):
        group.second()
        plane.look()
        actions = plane.act()
        resets = [one for one in actions if isinstance(one, Operate) and one.operation == "forget"]
        assert len(resets) <= 1
        if resets:
            others = [one for one in group.voters if one.node.id != resets[0].subject]
            assert all(one.running for one in others)
        forgot += len(resets)
        if not [one for one in actions if not isinstance(one, Hold)] and plane.is_settled(actions):
            break
    assert forgot == 2  # the new one never knew them


def test_the_control_plane_may_die_in_between():
    plane, group = founded()
    lost(plane, group, 1)
    plane.blueprint = rebuilt(1)
    group.rebuild(plane.blueprint)
    for _ in range(6):
        live(plane, 3)
        plane.forget()
    assert live(plane, 120), plane.happened
    whole(plane)
    assert group.remembered() == set()
