"""Can any one node be lost now, or any one host? A verdict over a snapshot, with a reason and a next step where not.

Each loss is supposed and the rules are asked (`core.losses`); what only a kind understands comes from its `weaknesses`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from everup.core.health import FULL_BYTES, no_room, service_health
from everup.core.losses import STATELESS, loss_of, losses, lost, works
from everup.core.parting import grounds
from everup.core.plan import plan, service_of, summary, view_of
from everup.model.actions import Action, Hold
from everup.model.desired import Blueprint, Node, NodeId, Part
from everup.model.findings import Finding, Level, Loss, Path, Topic
from everup.model.observed import EVERYWHERE, Ground, Health, NodeStatus, Observed, View

CROWDED = 0.9
"""A disk that is fuller than this is told of: an AOF that is rewritten, or a standby's WAL, needs room for a while."""

WORST_FIRST = (Level.NO, Level.WARNING, Level.NOTE, Level.OK)


@dataclass(frozen=True)
class ServiceCheck:
    """What was found of one service, the worst first, and whether it would survive the loss of any one node, host."""

    label: str
    survives_node: bool
    survives_host: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Check:
    """What was found of an environment: each service, and what concerns all of them. `hosts` are those in use."""

    services: tuple[ServiceCheck, ...]
    findings: tuple[Finding, ...]
    hosts: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Any one node can be lost, and, where there are several hosts, any one host."""
        found = [*self.findings, *(finding for one in self.services for finding in one.findings)]
        return all(finding.level != Level.NO for finding in found)


def check(blueprints: Sequence[Blueprint], observed: Observed, *, stopped: bool = False) -> Check:
    """Judge a snapshot; `stopped` says that nothing is meant to run."""
    if stopped or not observed.engine_answers:
        because = "it is stopped" if stopped else "the engine does not answer: nobody knows what runs"
        next_step = "everup up" if stopped else "everup doctor"
        blind = Finding(Level.NO, Topic.CONTROL, because, next=next_step)
        return Check(tuple(ServiceCheck(one.label, False, False, ()) for one in blueprints), (blind,), ())
    actions = plan(blueprints, observed)
    used = {status.state.host for status in observed.nodes.values() if status.state.running}
    hosts = tuple(sorted(used - {EVERYWHERE}))
    services = tuple(_service(one, view_of(one, observed), actions, hosts) for one in blueprints)
    return Check(services, (*_around(blueprints, observed, hosts),), hosts)


def meant_to_last(blueprint: Blueprint) -> bool:
    """Whether a service is declared so that it should survive the loss of any one node."""
    return blueprint.ha or blueprint.scale > 1


def _service(blueprint: Blueprint, view: View, actions: Sequence[Action], hosts: Sequence[str]) -> ServiceCheck:
    if not works(blueprint, view):
        health, because = service_health(blueprint, view)
        word = "is only starting" if health == "starting" else "does not work now"
        doing = _doing(actions, blueprint.label, None)
        away = Finding(Level.NO, Topic.HEALTH, f"it {word}: {because}{doing}", next=f"everup explain {blueprint.label}")
        return ServiceCheck(blueprint.label, False, False, (away, *_kinds_own(blueprint, view)))
    supposed = list(losses(blueprint, view))
    found = [*_felt(blueprint, view, supposed), *_quorum(blueprint, view), *_full(blueprint, view)]
    found += [*_unready(blueprint, view, actions), *_unripe(blueprint, view)]
    found += [*_limit(blueprint), *_rebuilt(blueprint, view, hosts), *_kinds_own(blueprint, view)]
    survives_node = all(finding.level != Level.NO for finding in found)
    by_host = list(_hosts(blueprint, view, hosts)) if survives_node else []
    if survives_node and (goes_on := _who_goes_on(blueprint, view)):
        found.append(Finding(Level.OK, Topic.LOSS, goes_on))
    found = sorted([*found, *by_host], key=lambda finding: WORST_FIRST.index(finding.level))
    said = {finding.because: finding for finding in reversed(found)}  # what a kind finds may be a shortfall, too
    once = tuple(finding for finding in found if said[finding.because] is finding)
    return ServiceCheck(blueprint.label, survives_node, survives_node and len(hosts) > 1 and not by_host, once)


def _rebuilt(blueprint: Blueprint, view: View, hosts: Sequence[str]) -> Iterator[Finding]:
    """Members that nobody could rebuild on another host, now or ever."""
    if blueprint.replaces_after_s is not None and len(hosts) < 2:
        because = "replace_after does nothing here: all runs on one host, and there is no other to rebuild a member on"
        yield Finding(Level.NOTE, Topic.PLACEMENT, because)
    for node_id, why in sorted(view.stays.items()):
        because = f"{node_id} would be rebuilt on another host by now: {why}"
        yield Finding(Level.WARNING, Topic.PLACEMENT, because, node_id, "everup status --nodes")


def _kinds_own(blueprint: Blueprint, view: View) -> Iterable[Finding]:
    return blueprint.weaknesses(blueprint, view) if blueprint.weaknesses else ()


def _felt(blueprint: Blueprint, view: View, supposed: Iterable[Loss]) -> Iterator[Finding]:
    """The losses that clients would feel for longer than somebody needs to take over."""
    for loss in supposed:
        node = blueprint.node(loss.nodes[0])
        stateless = node is not None and node.part in STATELESS and loss.path == Path.RESTART
        if loss.path in (Path.GOES_ON, Path.FAILOVER) or stateless or node is None or node.part == Part.VOTER:
            continue  # the loss of a voter is felt only by who then fails over: see `_quorum`
        away = f"{blueprint.label} would be away until it has started again"
        fate = "nothing would take its place" if loss.path == Path.STUCK else away
        because = f"if {node.id} were lost now, {fate}: {loss.because}"
        yield Finding(Level.NO, Topic.LOSS, because, node.id, _remedy(blueprint, view, node))


def _remedy(blueprint: Blueprint, view: View, node: Node) -> str:
    label = blueprint.label
    if node.part == Part.INSTANCE and blueprint.scale == 1:
        raised = f"everup limit {label} 2, then " if blueprint.limit == 1 else ""
        return f"{raised}everup scale {label} 2"
    if node.part == Part.DATA and not blueprint.ha:
        return f"everup ha enable {label}"
    unready = [one.id for one in blueprint.nodes if not view.status(one.id).ready]
    return f"everup explain {label}" if not unready else f"everup status {label} --nodes"


def _quorum(blueprint: Blueprint, view: View) -> Iterator[Finding]:
    """How many of those who vote are well, where it is not all."""
    voters = blueprint.of(Part.VOTER)
    ready = sum(view.status(voter.id).ready for voter in voters)
    majority = len(voters) // 2 + 1
    answer = f"{ready} of {len(voters)} voters {'answers' if ready == 1 else 'answer'}, and {majority} must agree"
    if ready < majority and voters:
        yield Finding(Level.NO, Topic.QUORUM, f"{answer}: nobody could take over", next=_look(blueprint))
    elif ready == majority and ready < len(voters):
        because = f"{answer}: if one more were lost, nobody could take over"
        yield Finding(Level.WARNING, Topic.QUORUM, because, next=_look(blueprint))


def _look(blueprint: Blueprint) -> str:
    return f"everup status {blueprint.label} --nodes"


def _full(blueprint: Blueprint, view: View) -> Iterator[Finding]:
    for node in blueprint.of(Part.DATA):
        if because := no_room(node.id, view):
            yield Finding(Level.NO, Topic.DISK, because, node.id, f"make room where {_home(node.id, view)} is")


def _home(node_id: NodeId, view: View) -> str:
    return view.status(node_id).state.home or f"the data of {node_id}"


def _unready(blueprint: Blueprint, view: View, actions: Sequence[Action]) -> Iterator[Finding]:
    """Declared nodes that are not well, with what is done about each."""
    for node in blueprint.nodes:
        status, failure = view.status(node.id), view.status(node.id).state.failure
        if status.ready:
            continue
        because = f"{node.id} is {status.health.value}: {failure or status.because or 'not looked at yet'}"
        doing = _doing(actions, blueprint.label, node.id)
        doing = doing.replace(f"{failure}; ", "") if failure else doing
        level = Level.NO if status.health == Health.UNKNOWN else Level.WARNING
        next_step = f"everup logs {node.id}" if failure else ""
        yield Finding(level, Topic.HEALTH, f"{because}{doing}", node.id, next_step)


def _unripe(blueprint: Blueprint, view: View) -> Iterator[Finding]:
    """What a service lacks although all of its nodes are ready."""
    health, because = service_health(blueprint, view)
    told = any(not view.status(node.id).ready or no_room(node.id, view) for node in blueprint.nodes)
    if health == "degraded" and not told:
        yield Finding(Level.WARNING, Topic.HEALTH, because)


def _doing(actions: Sequence[Action], label: str, node_id: NodeId | None) -> str:
    """What is done, or waited for, about a node, or first about a service; "" when nothing is."""
    for action in actions:
        verb, subject = summary(action)
        about = subject == node_id if node_id else label in (subject, service_of(action))
        if not about:
            continue
        if isinstance(action, Hold):
            return f"; Everup waits: {action.because}"
        return f"; next: {verb} {subject}"
    return ""


def _limit(blueprint: Blueprint) -> Iterator[Finding]:
    scale, limit, label = blueprint.scale, blueprint.limit, blueprint.label
    if limit is not None and scale >= limit:
        because = f"it runs {scale} of {limit} instances allowed: none can be added"
        yield Finding(Level.NOTE, Topic.LIMIT, because, next=f"everup limit {label} {2 * limit}")


def _who_goes_on(blueprint: Blueprint, view: View) -> str:
    """Why any one node can be lost, in words; "" where those who vote would be too few."""
    primary = view.group.primary
    if blueprint.election and primary:
        candidates = blueprint.election(blueprint, lost(view, [primary])).candidates
        heirs = [candidate.node_id for candidate in candidates if candidate.fit]
        return f"any one node can be lost; {' or '.join(heirs)} would take over from {primary}"
    instances, voters = blueprint.of(Part.INSTANCE), blueprint.of(Part.VOTER)
    workers, word = (instances, "instances") if instances else (voters, "voters")
    ready = sum(view.status(node.id).ready for node in workers)
    if word == "voters" and 2 * (ready - 1) <= len(voters):
        return "" if voters else "it has nothing to lose"
    return f"any one node can be lost; {ready - 1} of {ready} {word} would go on"


def _hosts(blueprint: Blueprint, view: View, hosts: Sequence[str]) -> Iterator[Finding]:
    """The loss of each host, where there are several; what holds nothing is started on another one."""
    for host in hosts if len(hosts) > 1 else ():
        there = [
            node.id
            for node in blueprint.nodes
            if node.part not in STATELESS
            and view.status(node.id).state.running
            and view.status(node.id).state.host == host
        ]
        loss = loss_of(blueprint, view, there)
        if loss.path in (Path.RESTART, Path.STUCK):
            because = f"if the host {host} were lost now, {', '.join(there)} would go with it ({loss.because})"
            yield Finding(Level.NO, Topic.PLACEMENT, because, next="spread its nodes over more hosts")


def _around(blueprints: Sequence[Blueprint], observed: Observed, hosts: Sequence[str]) -> Iterator[Finding]:
    """What concerns all services: how full the disks are, one host for all, one process for each endpoint."""
    for host in hosts:
        there = {node_id: status for node_id, status in observed.nodes.items() if status.state.host == host}
        yield from _crowded(there)
    for host, ground in grounds(observed).items():
        if ground == Ground.DRAINED:
            because = f"the host {host} is drained: while it is switched off, no other one may be lost"
            yield Finding(Level.WARNING, Topic.PLACEMENT, because, next=f"everup undrain {host}")
        elif ground == Ground.LOST:
            because = f"the host {host} is lost: until it is back, no other one may be"
            yield Finding(Level.WARNING, Topic.PLACEMENT, because, next=f"start {host} again")
    if len(hosts) == 1:
        because = "everything runs on one machine: it protects from the end of processes, not from its own"
        yield Finding(Level.NOTE, Topic.PLACEMENT, because)
    if unkept := [one for one in blueprints if one.resources and not any(node.resources for node in one.nodes)]:
        said = "; ".join(f"{one.label}: {one.resources} each" for one in unkept)
        because = f"not kept on one machine, where nothing stops a process that uses more: {said}"
        yield Finding(Level.NOTE, Topic.RESOURCES, because, next="engine: swarm keeps it")
    ends = [node.id for blueprint in blueprints for node in blueprint.of(Part.ENDPOINT)]
    if ends and len(hosts) == 1:
        because = f"{', '.join(ends)}: one process each; clients are cut when it ends, until it starts again"
        yield Finding(Level.NOTE, Topic.ENDPOINT, because)


def _crowded(nodes: dict[NodeId, NodeStatus]) -> Iterator[Finding]:
    """The fullest disk of a host, when it is nearly full."""
    rooms = [
        (state.free_bytes / state.disk_bytes, node_id, state.free_bytes, state.disk_bytes)
        for node_id, status in nodes.items()
        if (state := status.state).free_bytes is not None and state.disk_bytes
    ]
    share, node_id, free_bytes, disk_bytes = min(rooms, default=(1.0, "", 0, 0))
    if share <= 1 - CROWDED and free_bytes >= FULL_BYTES:  # of a full one, those whose data it holds tell
        percent, left = f"{100 * (1 - share):.0f} %", f"{free_bytes / 1e9:.1f} GB of {disk_bytes / 1e9:.0f} GB left"
        because = f"the disk of {node_id} is {percent} full ({left}): once it is full, writes may be refused"
        home = nodes[node_id].state.home or f"the data of {node_id}"
        yield Finding(Level.WARNING, Topic.DISK, because, node_id, f"make room where {home} is")
