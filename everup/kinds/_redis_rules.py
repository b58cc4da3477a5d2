"""When to do what to a Redis group: pure rules, most urgent first, each with its reason in words.

The rule of restoring (redis.md section 9, measured): fail over whenever a replica was in sync and a majority of
Sentinels answers; otherwise restart in place, and only with the newest data there. They are level-triggered: what an
Everup that died half-way left behind is one more snapshot to continue from.
"""

from collections.abc import Iterator

from everup.core.rules import start
from everup.kinds._redis_memory import too_small
from everup.kinds._redis_reading import SentinelFacts
from everup.kinds._redis_scene import KNOBS, Scene, port_of, tried_since, wanted_settings
from everup.kinds._redis_users import let_in
from everup.kinds._scene import call_election, fallen, leave_drained
from everup.model.actions import Accept, Action, Hold, Mark, Operate, StartNode, StopNode
from everup.model.desired import Blueprint, Node
from everup.model.observed import Health, Role, View

LEADERLESS_S = 3.0
"""How long a group may be without any primary, all nodes alive, before Everup asks for a vote itself."""

VACANT_S = 1.0
"""How long nobody listens at a dead primary's address after a failover. The npm client redis-sentinel asks for the
primary the moment its connection breaks, and connects 0.26 s later: it must be refused there, and ask again; a replica
would take its connection and refuse its writes for ever."""

RETRY_S = 15.0
"""After a failover that was refused, the Sentinels get a turn of their own (10 s) before Everup asks again."""

FLAG_STUCK_S = 10.0
"""How long the primary must have been well before a Sentinel that still notes it as down is restarted."""


def accept_primary(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Record who is primary: at the founding, when the record was lost, and when the Sentinels chose by themselves."""
    scene = Scene(blueprint, view)
    group, named = view.group, scene.named
    if any(scene.status(node).health == Health.UNKNOWN for node in scene.members):
        return
    if group.primary is None or scene.primary is None:
        yield Accept(blueprint.label, *scene.founder(scene.named))
    elif named and named.id != group.primary:
        old = scene.status(scene.primary)
        if named in scene.leaders:
            yield Accept(blueprint.label, named.id, "the Sentinels chose it")
        elif not old.state.running and not old.good_s and scene.in_generation(named):
            yield Accept(blueprint.label, named.id, "the Sentinels chose it while Everup was away")


def restore_primary(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """The primary is confirmed dead: fail over to a replica that was in sync, or else start it again with its data."""
    scene = Scene(blueprint, view)
    primary = yield from fallen(scene)
    if primary is None:
        return
    refused, heirs = scene.turned_down(RETRY_S), scene.heirs(primary)
    if scene.voters and (heirs or scene.leaders) and scene.answering() >= scene.majority and not refused:
        best = scene.leaders[0].id if scene.leaders else heirs[0].id
        done = "was already promoted" if scene.leaders else "was in sync"
        because = (
            f"{primary.id} is dead, {best} {done}, and {scene.answering()} of {len(scene.voters)} Sentinels answer"
        )
        yield call_election(scene, primary, because)
    elif scene.leaders:
        yield Hold(blueprint.label, f"{scene.leaders[0].id} leads, and waits for the Sentinels to agree", primary.id)
    elif scene.voters and view.group.marked and not scene.status(primary).good_s and scene.answering() < scene.majority:
        yield Hold(
            blueprint.label, "nothing starts as primary before the Sentinels say who was primary last", primary.id
        )
    elif unheard := scene.unheard():
        names = ", ".join(node.id for node in unheard)
        yield Hold(blueprint.label, f"somebody may lead already: {names} must be asked again", primary.id)
    else:
        yield from _restart_in_place(scene, primary, refused)


def _restart_in_place(scene: Scene, primary: Node, refused: str) -> Iterator[Action]:
    """Start the primary where it was, if its data is the newest; else the node that has it; else wait for a person."""
    if scene.view.group.marked == 0:
        yield start(scene.view, primary, "the group is new")
    elif scene.in_generation(primary):
        why = refused or _no_heir(scene, primary)
        yield start(scene.view, primary, f"restarted in place: {why}, and its data is there")
    else:
        spares = [node for node in scene.members if node != primary and scene.in_generation(node)]
        spare = max(spares, key=lambda node: scene.status(node).good_s, default=None)  # in sync until last
        if spare and not (scene.voters and scene.status(spare).state.running):
            yield Accept(scene.label, spare.id, f"{primary.id} has lost its newest data, {spare.id} still has it")
        because = f"{primary.id} has lost its newest data and no node that has it can lead yet; it is not started empty"
        yield Hold(scene.label, because, primary.id)


def _no_heir(scene: Scene, primary: Node) -> str:
    """Why nobody can take over: too few votes, or else candidate by candidate."""
    if scene.heirs(primary):
        return f"only {scene.answering()} of {len(scene.voters)} Sentinels answer, and {scene.majority} must agree"
    reasons = [f"{node.id}: {scene.unfit(node, primary)}" for node in scene.members if node != primary]
    return f"no replica was in sync ({'; '.join(reasons)})" if reasons else "it is the only node"


def start_replicas(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A data node that is not the primary only ever starts as a replica of a primary that is well."""
    scene = Scene(blueprint, view)
    leader = scene.primary if scene.leads(scene.primary) else None
    for node in scene.members:
        if scene.status(node).state.running or (scene.primary and node.id == scene.primary.id):
            continue
        if leader is None or not scene.status(leader).ready:
            yield Hold(blueprint.label, "it starts as a replica once there is a primary", node.id)
        elif _just_deposed(scene):
            yield Hold(blueprint.label, "the primary changed a moment ago; clients must first look elsewhere", node.id)
        else:
            to = port_of(leader)
            yield start(scene.view, node, f"it joins {leader.id} as a replica", "--replicaof", to.host, str(to.port))


def _just_deposed(scene: Scene) -> bool:
    """Whether a failover ended only a moment ago: a dead node may be the old primary, whose address stays empty."""
    change = scene.view.attempts.get("failover")
    return change is not None and change.done and scene.view.now_s < change.at_s + VACANT_S


def keep_roles(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Everybody follows the recorded primary; a second primary steps down once the Sentinels name the first."""
    scene = Scene(blueprint, view)
    primary = scene.primary
    if primary is None or not scene.fresh(primary) or not scene.status(primary).state.running:
        return
    if not scene.leads(primary):
        yield from _leaderless(scene, primary)
        return
    for node in scene.running(scene.everyone):
        facts = scene.facts(node)
        if node.id == primary.id or facts is None or not scene.fresh(node):
            continue
        if facts.role == Role.PRIMARY:
            if scene.voters and scene.named != primary:
                yield Hold(blueprint.label, f"{node.id} leads too; waits for the Sentinels to name one", node.id)
            else:
                yield Operate(blueprint.label, "follow", f"it leads beside {primary.id}", node.id)
        elif facts.follows != str(port_of(primary)) and scene.named in (None, primary):
            yield Operate(blueprint.label, "follow", f"it follows {facts.follows}, not {primary.id}", node.id)
    yield from _proclaim(scene, primary)


def _proclaim(scene: Scene, primary: Node) -> Iterator[Action]:
    """Sentinels that name a node which follows the primary, or is dead, are told of the primary, with their votes."""
    named, last = scene.named, scene.view.attempts.get("failover")
    if named is None or named == primary or scene.answering() < scene.majority:
        return
    facts = scene.facts(named)
    astray = facts.follows == str(port_of(primary)) if facts else scene.status(named).health == Health.DOWN
    if astray and not (last and scene.view.now_s < last.at_s + LEADERLESS_S):
        yield Operate(scene.label, "failover", f"{primary.id} leads, and the Sentinels still name {named.id}")


def _leaderless(scene: Scene, primary: Node) -> Iterator[Action]:
    if scene.leaders or scene.status(primary).role != Role.REPLICA:
        return
    if not scene.voters:
        yield Operate(scene.label, "promote", "it is the recorded primary, and runs as a replica")
    elif scene.view.now_s - max(scene.settled_s, scene.status(primary).since_s) > LEADERLESS_S:
        yield Operate(scene.label, "failover", "every node is a replica; nobody leads")


def retire_primary(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A primary that is no longer declared hands over before it is stopped, once no retired Sentinel can object."""
    scene = Scene(blueprint, view)
    primary = scene.primary
    if primary is None or primary in scene.members or not scene.leads(primary):
        return
    yield Hold(blueprint.label, "it is the primary, and hands over before it is stopped", primary.id)
    declared = {node.id for node in blueprint.nodes}
    voting = [node.id for node in blueprint.retiring if "voter" in node.ports and view.status(node.id).state.running]
    heir = next((node for node in scene.heirs(None) if node.id in declared), None)
    if heir and not voting:
        yield Operate(blueprint.label, "switchover", f"{primary.id} is no longer declared", heir.id)


def leave_host(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A primary hands over before its host is switched off."""
    scene = Scene(blueprint, view)
    yield from leave_drained(scene, scene.heirs(None))


def lead_endpoint(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """The endpoint leads to the recorded primary, and to nobody else."""
    scene = Scene(blueprint, view)
    primary, end = scene.primary, blueprint.endpoint
    if primary is None or end is None or not scene.leads(primary) or not scene.status(primary).ready:
        return
    status = view.status(end.node)
    if not status.ready or status.reading is None:
        return
    if tried_since(view, "lead", status.read_s) or status.read_s <= scene.settled_s:
        return
    server = status.reading.facts.get("servers", {}).get("primary")
    if server is None or server.address != str(port_of(primary)) or not server.up or server.admin != "ready":
        seen = f"{server.address}, {'up' if server.up else 'down'}" if server else "nowhere"
        yield Operate(blueprint.label, "lead", f"the endpoint leads to {seen}; the primary is {primary.id}")


def instruct_sentinels(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Every Sentinel watches the group with the settings it should have, and remembers nobody who is gone."""
    scene = Scene(blueprint, view)
    if scene.primary is None:
        return
    for voter in scene.voters:
        opinion, read_s = scene.opinion(voter), scene.status(voter).read_s
        if opinion is None or tried_since(view, "enlist", read_s) or tried_since(view, "forget", read_s):
            continue
        if (lacks := _lacks(scene, opinion)) is not None:
            yield Operate(blueprint.label, "enlist", lacks, voter.id)
    if scene.leads(scene.primary) and scene.status(scene.primary).ready:
        yield from _clear_memory(scene, scene.primary)


def _lacks(scene: Scene, opinion: SentinelFacts) -> str | None:
    if not opinion.known:
        return "it does not watch the group yet"
    for name, value in wanted_settings(scene).items():
        if opinion.settings.get(name) != value:
            return f"its {name} is {opinion.settings.get(name)}, not {value}"
    for name, value in KNOBS.items():
        if opinion.knobs and opinion.knobs.get(name, value) != value:
            return f"its {name} is {opinion.knobs[name]}, not {value}"
    return None


def _clear_memory(scene: Scene, primary: Node) -> Iterator[Action]:
    """One Sentinel at a time, and only while the primary is well and the other Sentinels know everybody.

    Nodes that are being removed and still run would be learnt anew at once: their end is waited for.
    """
    if scene.running(scene.blueprint.retiring):
        return
    expected = {str(port_of(node)) for node in (*scene.members, *scene.voters)}
    complete = [
        voter
        for voter in scene.voters
        if scene.status(voter).ready and (view := scene.opinion(voter)) and not scene.missing_to(voter, view)
    ]
    for voter in scene.voters:
        opinion = scene.opinion(voter)
        others = [other for other in scene.voters if other != voter]
        if opinion is None or not opinion.known or any(other not in complete for other in others):
            continue
        if opinion.named != str(port_of(primary)) or tried_since(scene.view, "forget", scene.status(voter).read_s):
            continue
        seen = (*opinion.replicas, *opinion.peers)
        ghosts = sorted(peer.address for peer in seen if peer.address not in expected)
        if ghosts:
            yield Operate(scene.label, "forget", f"it remembers {', '.join(ghosts)}, which no longer exists", voter.id)
        elif any("master_down" in peer.flags for peer in opinion.peers) and _well_for(scene, primary) > FLAG_STUCK_S:
            yield StopNode(voter.id, scene.label, "it still notes that the primary was down; restarted to forget that")
            return


def _well_for(scene: Scene, node: Node) -> float:
    status = scene.status(node)
    return scene.view.now_s - max(status.since_s, scene.settled_s) if status.ready else 0.0


def mark_generation(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Note on disk which nodes hold the newest data: the primary, and each replica that is in sync and has saved it."""
    scene = Scene(blueprint, view)
    primary = scene.primary
    if primary is None or not scene.leads(primary) or not scene.fresh(primary):
        return
    for node in scene.running(scene.members):
        state, facts = scene.status(node).state, scene.facts(node)
        if facts is None or not state.has_data or not scene.fresh(node):
            continue
        if state.generation == view.group.generation and (node != primary or view.group.marked == state.generation):
            continue
        in_sync = facts.link_up and not facts.syncing and facts.settled and facts.follows == str(port_of(primary))
        if node.id == primary.id or (in_sync and not facts.loading):
            yield Mark(node.id, blueprint.label, view.group.generation)
        elif scene.status(node).ready:
            yield Hold(blueprint.label, "it is still saving its copy of the newest data", node.id)


def replace_members(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Data nodes that changed are replaced one by one: replicas first, the primary after it has handed over."""
    scene = Scene(blueprint, view)
    primary = scene.primary
    due = [node for node in scene.running(scene.members) if scene.status(node).state.digest != node.digest]
    if primary is None:
        why = "it is due for replacement, once the primary is known"
        yield from (Hold(blueprint.label, why, node.id) for node in due)
    if not due or primary is None:
        return
    due.sort(key=lambda node: node.id == primary.id)
    unready = [node.id for node in blueprint.nodes if not scene.status(node).ready and node.id != due[0].id]
    for node in due:
        if why := too_small(node, view):
            yield Hold(blueprint.label, why, node.id)
        elif unready:
            yield Hold(blueprint.label, f"it is due for replacement, but waits for {', '.join(unready)}", node.id)
        elif node.id != primary.id:
            to = port_of(primary)
            yield StartNode(node, "its declaration changed", ("--replicaof", to.host, str(to.port)))
        elif scene.voters and scene.heirs(None):
            yield Operate(blueprint.label, "switchover", f"{node.id} is to be restarted, and hands over first")
            yield Hold(blueprint.label, "it hands over before it is restarted", node.id)
        elif len(scene.members) > 1:
            yield Hold(blueprint.label, "it is due for replacement, but no replica has the newest data yet", node.id)
        else:
            yield StartNode(node, "its declaration changed; it is the only node, so writes wait until it is back")
        unready = unready or [node.id]


RULES = (
    accept_primary,
    restore_primary,
    start_replicas,
    retire_primary,
    leave_host,
    keep_roles,
    lead_endpoint,
    let_in,
    mark_generation,
    replace_members,
    instruct_sentinels,
)
