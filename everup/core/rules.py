"""The rules every service shares, in order of urgency; a kind's own rules come before them.

Each rule is pure, looks at one service, and proposes actions with a reason in words.
"""

from collections.abc import Iterable, Iterator

from everup.core.health import no_room
from everup.model.actions import Action, Fence, Hold, StartNode, StopNode
from everup.model.desired import Blueprint, Node, Part, Rule
from everup.model.observed import Ground, Health, View


def fence_hung(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A running node that stays silent is killed: clients hang on it, and only a confirmed death may be acted upon."""
    for node in blueprint.active:
        status = view.status(node.id)
        if status.health == Health.HUNG and status.state.running:
            silent_s = view.now_s - (status.silent_since_s or view.now_s)
            yield Fence(node.id, blueprint.label, f"it runs, but has not answered for {silent_s:.1f} s")


def start(view: View, node: Node, because: str, *extra_args: str) -> Action:
    """Start `node` (`extra_args` say in which role), or wait as long as the back-off of its crash loop asks for."""
    state = view.status(node.id).state
    wait_s = state.retry_at_s - view.now_s
    if wait_s > 0:
        return Hold(node.service, f"{state.failure or 'it ended again'}; next start in {wait_s:.1f} s", node.id)
    return StartNode(node, because, extra_args)


def shunned(view: View) -> dict[str, str]:
    """Addresses of hosts on which nothing starts that can run elsewhere -> why, in words."""
    states = (status.state for status in view.nodes.values())
    return {one.address: f"its host {one.host} is {one.ground}" for one in states if one.ground != Ground.SOUND}


def homeless(node: Node, view: View) -> str:
    """Why a node that can run elsewhere must not start where it would listen; "" where it may."""
    hosts = {to.host for to in node.ports.values()} if node.part == Part.INSTANCE else set()
    return next((why for address, why in shunned(view).items() if address in hosts), "")


def start_missing(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A declared node that does not run is started, as soon as its back-off allows."""
    for node in blueprint.nodes:
        state = view.status(node.id).state
        if state.running:
            continue
        if why := homeless(node, view):
            yield Hold(blueprint.label, f"{why}; it waits for a place on another one", node.id)
            continue
        yield start(view, node, "it does not run" if state.restarts or state.dead else "it is declared")


def replace_changed(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A node that runs with another digest is replaced, one at a time, while all the others are ready."""
    for node in blueprint.nodes:
        state = view.status(node.id).state
        if not state.running:
            continue
        if state.digest == node.digest and state.files_digest == node.files_digest:
            continue
        if state.digest == node.digest and node.reload_signal:
            yield StartNode(node, "its configuration changed; it reloads without stopping")
            continue
        unready = [other.id for other in blueprint.nodes if other.id != node.id and not view.status(other.id).ready]
        if unready:
            yield Hold(
                blueprint.label, f"{node.id} is due for replacement, but waits for {', '.join(unready)}", node.id
            )
        else:
            yield StartNode(node, "its declaration changed")
        return


def stop_undeclared(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A node that is no longer declared is stopped; its data is kept."""
    declared = {node.id for node in blueprint.active}
    for node_id, status in sorted(view.nodes.items()):
        if node_id not in declared and status.state.running:
            yield StopNode(node_id, blueprint.label, "it is no longer declared")


def tell_full_disks(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A disk without room is waited for: nothing that Everup could start or move makes any."""
    for node in blueprint.of(Part.DATA):
        if because := no_room(node.id, view):
            yield Hold(blueprint.label, because, node.id)


def tell_stays(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Say why members of a lost host are not rebuilt elsewhere, although they have waited for long enough."""
    for why in sorted(set(view.stays.values())):
        names = ", ".join(sorted(node_id for node_id, one in view.stays.items() if one == why))
        yield Hold(blueprint.label, f"{names} would be rebuilt on another host by now: {why}")


COMMON: tuple[Rule, ...] = (fence_hung, start_missing, replace_changed, stop_undeclared, tell_full_disks, tell_stays)


def proposals(blueprint: Blueprint, view: View) -> Iterable[Action]:
    """All that the rules of one service propose, most urgent first."""
    for rule in (*blueprint.rules, *COMMON):
        yield from rule(blueprint, view)
