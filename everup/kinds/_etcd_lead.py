"""Where etcd leads from: not beside the primaries whose leases it counts, where hosts can be lost."""

import json
from collections.abc import Generator, Iterator
from typing import Any

from everup.kinds._etcd_words import ask_member, body_of, facts_of, log_in, peer_url
from everup.model.actions import Action, Operate
from everup.model.desired import Blueprint, NodeId, Outcome, Part, Silence, Step, Together
from everup.model.observed import Ground, View

HANDED_ON_S = 30.0
"""How long the leader stays where it is after it was handed on."""


def lead_apart(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """The leader is on a host that stays, and there where the fewest primaries are, once all members are well.

    A lease that it counts begins anew with the next leader: a host that is lost with both costs 2 to 3 s more.
    """
    members = blueprint.of(Part.VOTER)
    leaders = [node for node in members if (facts := facts_of(view, node)) and facts.leads]
    if len(leaders) != 1 or not all(view.status(node.id).ready for node in members):
        return
    states = {node.id: view.status(node.id).state for node in members}
    beside = {name: (one.ground != Ground.SOUND, view.led_from.get(one.host, 0)) for name, one in states.items()}
    heir, last = min(members, key=lambda node: beside[node.id]), view.attempts.get("hand-on")
    if beside[heir.id] < beside[leaders[0].id] and (last is None or view.now_s - last.at_s > HANDED_ON_S):
        where = "a host that is drained" if beside[leaders[0].id][0] else "the host of a primary"
        yield Operate(blueprint.label, "hand-on", f"{leaders[0].id} leads on {where}", heir.id)


def hand_on(blueprint: Blueprint, view: View, subject: NodeId | None) -> Generator[Step, Any, Outcome]:
    """Let `subject` lead, which nobody who asks notices."""
    heir = blueprint.node(subject or "")
    leaders = [node for node in blueprint.of(Part.VOTER) if (facts := facts_of(view, node)) and facts.leads]
    if heir is None or not leaders or not (facts := facts_of(view, leaders[0])):
        return Outcome(False, "nobody leads")
    (reply,) = yield Together((ask_member(leaders[0], log_in(heir.probe.password)),))
    token = "" if isinstance(reply, Silence) else str(body_of(reply[0])[1].get("token", ""))
    target = json.dumps({"targetID": facts.members.get(peer_url(heir), ("", ""))[0]})
    (reply,) = yield Together(
        (ask_member(leaders[0], ("POST", "/v3/maintenance/transfer-leadership", target, token), timeout_s=5.0),)
    )
    if isinstance(reply, Silence):
        return Outcome(False, f"{leaders[0].id} did not answer: {reply.because}")
    code, said = body_of(reply[-1])
    return Outcome(code == 200, f"{heir.id} leads" if code == 200 else f"refused: {said.get('error', code)}")
