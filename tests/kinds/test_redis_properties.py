"""Whatever happens to a group, what Everup does brings it back and never makes it worse."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from everup.core.health import Patience, judge, service_health, witness
from everup.core.plan import plan, view_of
from everup.model.actions import Accept, Action, Fence, Hold, Mark, Operate, StartNode, StopNode
from everup.model.desired import Ask, Blueprint, Crown, NodeId, Outcome, Part, Pause, Probe, Silence, Together
from everup.model.observed import Attempt, Group, NodeState, NodeStatus, Observed
from tests.kinds.small_group import Server, SmallGroup, Voter
from tests.worlds import redis, shown

SETTLES_WITHIN_S = 120


class ControlPlane:
    """Everup in one thread: looks, plans and performs, with every promise checked before it acts."""

    def __init__(self, group: SmallGroup) -> None:
        self.group = group
        self.blueprint: Blueprint = group.blueprint
        self.record = Group()
        self.led: dict[int, NodeId] = {}
        self.happened: list[str] = []
        self.forget()

    def forget(self) -> None:
        """Die, and come back: only the record of the primary is kept."""
        self.statuses: dict[NodeId, NodeStatus] = {}
        self.attempts: dict[str, Attempt] = {}
        self.steps_to_live: int | None = None

    def look(self, deaf_to: Collection[NodeId] = ()) -> Observed:
        """Take in what the engine says, then ask every node that runs and that we are not `deaf_to`."""
        now_s, states = self.group.now_s, self.group.observe()
        for node in (*self.blueprint.nodes, *self.blueprint.retiring):
            before = self.statuses.get(node.id, NodeStatus())
            state = states.get(node.id, NodeState(running=False))
            status = witness(before, state, now_s)
            if status.state.running and node.id not in deaf_to and node.probe.to:
                reply = self.group.answer(question_of(node.probe))
                reading = None if isinstance(reply, Silence) else node.probe.read(reply)
                status = judge(status, reading, now_s, now_s, Patience(node.probe.hang_s))
            self.statuses[node.id] = status
        return self.observed()

    def observed(self) -> Observed:
        label = self.blueprint.label
        return Observed(self.group.now_s, dict(self.statuses), {label: self.record}, {label: dict(self.attempts)})

    def act(self) -> tuple[Action, ...]:
        """Perform the plan for what is known; False when it dies in the middle of it."""
        observed = self.observed()
        actions = plan([self.blueprint], observed)
        assert actions == plan([self.blueprint], observed)
        for action in actions:
            if not isinstance(action, Hold):
                self.happened.append(f"{self.group.now_s:g} {shown([action])} {getattr(action, 'because', '')}")
            if not self._perform(action, observed):
                self.forget()
                break
        return actions

    def _perform(self, action: Action, observed: Observed) -> bool:
        match action:
            case StartNode(node=node, extra_args=extra_args):
                self._check_start(action)
                self.group.start(node, extra_args)
            case StopNode(node_id=node_id) | Fence(node_id=node_id):
                if isinstance(action, StopNode):
                    self._check_quorum(node_id)
                self.group.kill(node_id)
            case Mark(node_id=node_id, generation=generation):
                server = self.group.processes[node_id]
                assert isinstance(server, Server)
                server.mark = generation
                self.record = replace(self.record, marked=max(self.record.marked, generation))
            case Accept(node_id=node_id):
                self.crown(node_id)
            case Operate():
                return self._operate(action, observed)
        return True

    def crown(self, node_id: NodeId) -> None:
        if self.record.primary != node_id:
            self.record = replace(self.record, primary=node_id, generation=self.record.generation + 1)

    def _operate(self, action: Operate, observed: Observed) -> bool:
        recipe = self.blueprint.operations[action.operation]
        steps = recipe(self.blueprint, view_of(self.blueprint, observed), action.subject)
        reply: object = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                outcome: Outcome = end.value
                self.group.now_s += 0.01
                attempt = Attempt(self.group.now_s, outcome.done, outcome.because)
                self.attempts[action.operation] = attempt
                self.happened.append(f"    {outcome.because}")
                self.group.now_s += 0.01
                return True
            reply = tuple(self.group.answer(ask) for ask in step.asks) if isinstance(step, Together) else None
            if isinstance(step, Pause):
                self.group.pause(step.seconds)
            if isinstance(step, Crown):
                self.crown(step.node)
            if self.steps_to_live is not None:
                self.steps_to_live -= 1
                if self.steps_to_live < 0:
                    return False

    def _check_start(self, action: StartNode) -> None:
        server = self.group.processes[action.node.id]
        if server.running and server.digest == action.node.digest:
            return
        if isinstance(server, Voter):
            self._check_quorum(action.node.id)
        if not isinstance(server, Server) or action.extra_args:
            return
        others = [one.node.id for one in self.group.leaders if one is not server and not one.hung]
        assert not others, f"{action.node.id} starts as primary beside {others}"
        assert self.led.setdefault(self.record.generation, action.node.id) == action.node.id
        if self.record.marked:
            assert server.written, "an emptied node starts as primary"
            assert server.mark and server.mark >= self.record.marked, "an older node starts as primary"

    def _check_quorum(self, node_id: NodeId) -> None:
        process = self.group.processes[node_id]
        if isinstance(process, Voter) and process.votes and process.node in self.blueprint.nodes:
            others = [one for one in self.group.voters if one is not process]
            assert all(one.answers for one in others), f"stopping {node_id} would cost the quorum"

    def is_settled(self, actions: Collection[Action]) -> bool:
        return not actions and service_health(self.blueprint, view_of(self.blueprint, self.observed()))[0] == "healthy"


def question_of(probe: Probe) -> Ask:
    """What a prober asks."""
    return Ask(probe.to, probe.commands, probe.protocol, probe.timeout_s, probe.password, probe.user, probe.spare)


def live(plane: ControlPlane, seconds: int, deaf_to: Collection[NodeId] = ()) -> bool:
    """Let time pass; True as soon as the group is whole and nothing is left to do."""
    for _ in range(seconds):
        plane.group.second()
        plane.look(deaf_to)
        if plane.is_settled(plane.act()):
            return True
    return False


def whole(plane: ControlPlane) -> None:
    """One primary, recorded, named by every Sentinel, followed by every replica, and led to by the endpoint."""
    group = plane.group
    (lead,) = group.leaders
    address = f"{lead.node.ports['redis']}"
    assert plane.record.primary == lead.node.id
    assert group.points_to == (address, True)
    assert {one.named for one in group.voters if one.running} <= {address}
    assert all(one.follows == address and one.link_up for one in group.servers if one.running and one is not lead)


def founded(blueprint: Blueprint) -> ControlPlane:
    plane = ControlPlane(SmallGroup(blueprint))
    assert live(plane, 60), plane.happened
    whole(plane)
    return plane


@dataclass(frozen=True)
class Blow:
    """Something that happens: kinds are kill, hang, lose (kill and empty the disk), restart (of Everup, after `for_s`),
    sleep (Everup does not look `for_s`, then acts on old answers), die (Everup, after that many steps of its next
    operation), deaf (to a node, `for_s`), wait."""

    kind: str
    node: NodeId = ""
    for_s: int = 1


GROUP = redis()
SINGLE = redis(ha=False)
DATA = [node.id for node in GROUP.of(Part.DATA)]
ALL = [node.id for node in GROUP.nodes]


def blows(nodes: list[NodeId], data: list[NodeId]) -> st.SearchStrategy[Blow]:
    seconds = st.integers(1, 12)
    return st.one_of(
        st.builds(Blow, st.just("kill"), st.sampled_from([*data, *nodes])),
        st.builds(Blow, st.just("hang"), st.sampled_from(nodes)),
        st.builds(Blow, st.just("lose"), st.sampled_from(data)),
        st.builds(Blow, st.just("deaf"), st.sampled_from(nodes), seconds),
        st.builds(Blow, st.sampled_from(["restart", "sleep", "die", "wait"]), st.just(""), seconds),
    )


def strike(plane: ControlPlane, blow: Blow) -> None:
    group = plane.group
    match blow.kind:
        case "kill" | "lose":
            group.kill(blow.node)
            if blow.kind == "lose":
                group.empty(blow.node)
        case "hang":
            status = plane.statuses.get(blow.node, NodeStatus())  # who was never ready is waited for without limit
            if status.good_s and status.state.pid == group.processes[blow.node].pid:
                group.processes[blow.node].hung = group.processes[blow.node].running
        case "restart":
            for _ in range(blow.for_s):
                group.second()
            plane.forget()
        case "die":
            plane.steps_to_live = blow.for_s
        case "sleep":
            for _ in range(blow.for_s):
                group.second()
            plane.look(deaf_to=ALL)
        case "deaf":
            live(plane, blow.for_s, {blow.node})
        case "wait":
            live(plane, blow.for_s)


def lost_for_good(plane: ControlPlane) -> bool:
    """No node that can lead has data as new as what was marked: a person must decide."""
    fit = [one for one in plane.group.servers if one.written and (one.mark or 0) >= plane.record.marked]
    return not any(one.node in plane.blueprint.nodes for one in fit)


def survive(blueprint: Blueprint, happens: list[Blow]) -> ControlPlane:
    plane = founded(blueprint)
    for blow in happens:
        strike(plane, blow)
        plane.look(deaf_to=ALL)  # the engine tells at once; answers are those from before
        plane.act()
        plane.look()
        plane.act()
    plane.steps_to_live = None
    if not live(plane, SETTLES_WITHIN_S):
        assert lost_for_good(plane), "\n".join([*plane.happened, repr(plan([blueprint], plane.observed()))])
        assert not [one for one in plane.group.leaders if one.writes == 0]
        return plane
    whole(plane)
    return plane


def cases(blueprint: Blueprint) -> st.SearchStrategy[list[Blow]]:
    return st.lists(
        blows([node.id for node in blueprint.nodes], [node.id for node in blueprint.of(Part.DATA)]), max_size=8
    )


@settings(deadline=None, max_examples=40)
@given(cases(GROUP))
@example([Blow("kill", "redis01-1"), Blow("kill", "redis01-2"), Blow("kill", "redis01-3")])
@example([Blow("die", for_s=3), Blow("kill", "redis01-1")])
def test_a_group_survives_whatever_happens(happens: list[Blow]):
    survive(GROUP, happens)


@settings(deadline=None, max_examples=15)
@given(cases(SINGLE))
def test_a_single_node_survives_whatever_happens(happens: list[Blow]):
    survive(SINGLE, happens)


def every_step() -> Iterator[int]:
    return iter(range(12))


def test_everup_may_die_at_any_step_of_a_failover():
    for steps in every_step():
        plane = survive(GROUP, [Blow("die", for_s=steps), Blow("kill", "redis01-1"), Blow("wait")])
        assert sum(one.writes > 0 for one in plane.group.servers) == 3


def test_everup_may_die_at_any_step_and_stay_away_until_the_sentinels_have_chosen():
    for steps in every_step():
        blows = [Blow("die", for_s=steps), Blow("kill", "redis01-1"), Blow("restart", for_s=20)]
        survive(GROUP, blows)


def test_nothing_is_lost_while_no_disk_is():
    plane = founded(GROUP)
    for node_id in [*DATA, *DATA]:
        before = max(one.writes for one in plane.group.servers)
        plane.group.kill(node_id)
        assert live(plane, SETTLES_WITHIN_S)
        assert min(one.writes for one in plane.group.servers if one.running) >= before
