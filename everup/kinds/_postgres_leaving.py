"""From a group back to one server, in place: what is still a group is handed over, told to wait for nobody, and left.

The order keeps every write: the server that stays leads first; commits stop waiting for standbys before those stop; and
Patroni goes last, for a standby that ran on without it could take the lead when its lease is over.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from everup.kinds._postgres_patroni import QUESTION, Access, PatroniFacts, read_patroni
from everup.kinds._postgres_recipes import ask_patroni, hand_over, unsafe
from everup.kinds._postgres_server import SUPERUSER
from everup.model.actions import Action, Hold, Operate
from everup.model.desired import Ask, Blueprint, Node, NodeId, Outcome, Part, Pause, Protocol, Silence, Step, Together
from everup.model.observed import View

Run = Generator[Step, Any, Outcome]

LOOKS, LOOK_EVERY_S = 100, 0.1
"""How often to look whether commits still wait: Patroni acts on the change within its loop of a second."""

SYNC_NAMES = ("SELECT current_setting('synchronous_standby_names')",)


def leave_group(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """While a former member runs, or the one that stays is still under Patroni, go step by step."""
    stays = blueprint.of(Part.DATA)[0]
    gone = [node for node in blueprint.retiring if node.part == Part.DATA and view.status(node.id).state.running]
    if not gone:
        return
    primary, last = view.group.primary, view.attempts.get("detach")
    began_s = max(view.status(node.id).since_s for node in (stays, *gone))
    detached = last is not None and last.done and last.at_s > view.status(stays.id).since_s
    yield Hold(blueprint.label, "it is still a member of a group that is being left", stays.id)
    if primary != stays.id and primary in {node.id for node in gone}:
        yield Operate(blueprint.label, "hand-over", f"{stays.id} is the server that stays")
        yield from (Hold(blueprint.label, "it goes once the group was left", node.id) for node in gone)
    elif not detached:
        if view.now_s > began_s and view.status(stays.id).ready:
            yield Operate(blueprint.label, "detach", "commits must not wait for standbys that go")
        yield from (Hold(blueprint.label, "it goes once no commit waits for it", node.id) for node in gone)


def _heard(node: Node) -> Generator[Step, Any, PatroniFacts | None]:
    (reply,) = yield Together((ask_patroni(node, *QUESTION),))
    facts = None if isinstance(reply, Silence) else read_patroni(reply).facts.get("patroni")
    return facts if isinstance(facts, PatroniFacts) else None


@dataclass(frozen=True)
class Detach:
    """Let commits wait for nobody: off in etcd, and then seen to be off on the primary."""

    access: Access
    password: str = field(repr=False)

    def __call__(self, blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
        """The steps."""
        lead = blueprint.node(view.group.primary or "")
        if lead is None:
            return Outcome(False, "there is no primary")
        return (yield from self.detach(lead))

    def detach(self, lead: Node) -> Run:
        """The same for a given primary."""
        command = unsafe(self.access, "PATCH", "/config", {"synchronous_mode": False})
        yield Together((ask_patroni(lead, command, timeout_s=3.0),))
        question = Ask(lead.ports["postgres"], (SYNC_NAMES,), Protocol.SQL, 2.0, password=self.password, user=SUPERUSER)
        for _ in range(LOOKS):
            (reply,) = yield Together((question,))
            if not isinstance(reply, Silence) and reply[0] == [[""]]:
                return Outcome(True, "no commit waits for a standby")
            yield Pause(LOOK_EVERY_S)
        return Outcome(False, f"commits on {lead.id} still wait for a standby")


@dataclass(frozen=True)
class HandOver:
    """Make the server that stays the primary: a switchover to it by name, with commits that wait for nobody."""

    detach: Detach

    def __call__(self, blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
        """The steps."""
        old, stays = blueprint.node(view.group.primary or ""), blueprint.of(Part.DATA)[0]
        if old is None or old.id == stays.id:
            return Outcome(False, "there is nobody to take over from")
        outcome = yield from self.detach.detach(old)
        if not outcome.done:
            return outcome
        facts = yield from _heard(stays)
        if facts is None or not facts.streaming:
            return Outcome(False, f"{stays.id} does not stream from {old.id}")
        candidates = [stays, *(node for node in blueprint.retiring if node.part == Part.DATA and node.id != old.id)]
        running = [node for node in candidates if view.status(node.id).state.running]
        return (yield from hand_over(self.detach.access, self.detach.password, blueprint, (old, stays), running))
