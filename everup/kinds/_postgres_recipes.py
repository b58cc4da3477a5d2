"""What can be done to a PostgreSQL group, as steps: each is a generator that asks, is told, and ends with an outcome.

A primary leads by a key in etcd, a licence that expires 20 s after its last renewal. When the holder is confirmed dead,
that key is removed at once, in one transaction that compares the holder's name; who leads next is Patroni's own
election, with its own look at who has everything. Without that confirmation nobody touches the key.
"""

import base64
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from everup.core.health import no_room
from everup.kinds._etcd_words import body_of, log_in
from everup.kinds._gate import let_short_sessions_end
from everup.kinds._haproxy import open_again, point, shut
from everup.kinds._postgres_patroni import QUESTION, REST_USER, Access, member_name, read_patroni
from everup.kinds._postgres_reading import DRAIN, SESSIONS, young_sessions
from everup.kinds._postgres_scene import Scene
from everup.kinds._postgres_server import SUPERUSER
from everup.model.desired import (
    Ask,
    Blueprint,
    Command,
    Crown,
    Halt,
    Milestone,
    Node,
    NodeId,
    Outcome,
    Pause,
    Protocol,
    Silence,
    Step,
    Together,
)
from everup.model.observed import Role, View

Run = Generator[Step, Any, Outcome]

ETCD_S = 0.5
"""How long an etcd member may take to answer; the others are asked at the same time."""

PATIENCE_S = 1.0
"""How long to wait for the word of a server that is about to be shut down anyway."""

ELECTION_S = 15.0
LOOK_EVERY_S = 0.015
"""How long and how often to look for the new primary."""


def unsafe(access: Access, method: str, path: str, body: Any) -> Command:
    """A request that Patroni answers only to who knows its password."""
    word = base64.b64encode(f"{REST_USER}:{access.rest_password}".encode()).decode()
    return (method, path, json.dumps(body), f"Basic {word}")


def ask_patroni(node: Node, *commands: Command, timeout_s: float = 1.0) -> Ask:
    """Requests for one node's Patroni."""
    return Ask(node.ports["patroni"], commands, Protocol.HTTP, timeout_s)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def release_command(access: Access, holder: str, heir: str | None, token: str) -> Command:
    """Remove the leader key if that names `holder`; with `heir`, that one alone is to follow. In one transaction."""
    leader = _b64(access.key("leader"))
    compare = [{"key": leader, "target": "VALUE", "result": "EQUAL", "value": _b64(holder)}]
    success: list[dict[str, Any]] = []
    if heir:
        wish = json.dumps({"leader": holder, "member": heir})
        success.append({"requestPut": {"key": _b64(access.key("failover")), "value": _b64(wish)}})
    success.append({"requestDeleteRange": {"key": leader}})
    return ("POST", "/v3/kv/txn", json.dumps({"compare": compare, "success": success}), token)


def release(access: Access, holder: str, heir: str | None = None) -> Generator[Step, Any, str]:
    """Take the licence of a primary that is confirmed dead; "" when nobody holds it any more, else why not."""
    if not access.etcd:
        return "etcd is not known yet"
    replies = yield Together(
        tuple(Ask(to, (log_in(access.etcd_password),), Protocol.HTTP, ETCD_S) for to in access.etcd)
    )
    tokens = [
        (to, str(body_of(reply[0])[1].get("token", "")))
        for to, reply in zip(access.etcd, replies, strict=False)
        if not isinstance(reply, Silence)
    ]
    because = "etcd does not answer: it has no majority"
    for to, token in [pair for pair in tokens if pair[1]] or [(to, "") for to, _ in tokens]:
        (reply,) = yield Together((Ask(to, (release_command(access, holder, heir, token),), Protocol.HTTP, ETCD_S),))
        if isinstance(reply, Silence):
            continue
        code, said = body_of(reply[0])
        if code == 200:
            return ""
        because = f"etcd refused: {said.get('error', code)}"
    return because


def _await_leader(candidates: Sequence[Node]) -> Generator[Step, Any, Node | None]:
    """Look until one of them is primary."""
    looks = int(ELECTION_S / LOOK_EVERY_S)
    for _ in range(looks):
        replies = yield Together(tuple(ask_patroni(node, *QUESTION, timeout_s=0.5) for node in candidates))
        for node, reply in zip(candidates, replies, strict=False):
            if not isinstance(reply, Silence) and read_patroni(reply).role == Role.PRIMARY:
                return node
        yield Pause(LOOK_EVERY_S)
    return None


def _take_over(blueprint: Blueprint, old: Node, candidates: Sequence[Node]) -> Run:
    """After the licence is gone: wait for the election, then lead clients there."""
    heir = yield from _await_leader(candidates)
    if heir is None:
        return Outcome(False, f"no standby took over from {old.id} within {ELECTION_S:g} s")
    if blueprint.endpoint:
        yield Together((point(blueprint.endpoint.node, heir.ports["postgres"]),))
    yield Milestone("failover.promoted", {"primary": heir.id})
    yield Crown(heir.id)
    return Outcome(True, f"{heir.id} took over from {old.id}")


@dataclass(frozen=True)
class Failover:
    """Let a standby take over from `subject`, whose death is confirmed."""

    access: Access

    def __call__(self, blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
        """The steps."""
        scene = Scene(blueprint, view)
        dead = blueprint.node(subject or "")
        if dead is None or not scene.status(dead).state.ended:
            return Outcome(False, f"{subject} is not confirmed dead")
        candidates = [node for node in scene.running(scene.members) if node.id != dead.id]
        if not candidates:
            return Outcome(False, "no standby runs")
        if because := (yield from release(self.access, member_name(dead))):
            return Outcome(False, because)
        yield Milestone("failover.released", {"primary": dead.id})
        return (yield from _take_over(blueprint, dead, candidates))


@dataclass(frozen=True)
class Switchover:
    """Hand the role to `subject`, or the best standby, without losing a write: the primary is shut down cleanly first.

    A clean shutdown ends only when every standby has all of its WAL; then its licence is removed as after a death.
    """

    access: Access
    password: str = field(repr=False)

    def __call__(self, blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
        """The steps."""
        scene = Scene(blueprint, view)
        old = scene.primary
        heirs = [node for node in scene.heirs(None) if subject in (None, node.id)]
        if old is None or not scene.leads(old):
            return Outcome(False, "there is no live primary to take over from")
        if not heirs:
            return Outcome(False, f"{subject or 'no standby'} is not in sync")
        candidates = [node for node in scene.running(scene.members) if node != old]
        pair = (old, heirs[0] if subject else None)
        roomy = not no_room(old.id, view)
        return (yield from hand_over(self.access, self.password, blueprint, pair, candidates, checkpoint=roomy))


def hand_over(
    access: Access,
    password: str,
    blueprint: Blueprint,
    pair: tuple[Node, Node | None],
    candidates: Sequence[Node],
    *,
    checkpoint: bool = True,
) -> Run:
    """Shut the first of `pair` down cleanly, and let the second, or the best of `candidates`, take over.

    With `checkpoint` the shutdown has little left to write; on a full disk it would end the server before its time.
    """
    old, heir = pair
    server = Ask(old.ports["postgres"], (("CHECKPOINT",),), Protocol.SQL, 30.0, password=password, user=SUPERUSER)
    (reply,) = (yield Together((server,))) if checkpoint else ((),)
    if isinstance(reply, Silence):
        return Outcome(False, f"{old.id} did not write its checkpoint: {reply.because}; nothing was changed")
    yield from _see_clients_off(blueprint, server)
    if not (yield Halt(old.id)):
        yield from _let_in(blueprint)
        return Outcome(False, f"{old.id} could not be stopped")
    if because := (yield from release(access, member_name(old), member_name(heir) if heir else None)):
        return Outcome(False, because)
    yield Milestone("failover.released", {"primary": old.id})
    return (yield from _take_over(blueprint, old, candidates))


def _see_clients_off(blueprint: Blueprint, server: Ask) -> Generator[Step, Any, None]:
    """Let who connects wait, and end the sessions that are there between their transactions, as far as these are short.

    A transaction that ends by itself is not lost, and its client is not left in doubt of it.
    """
    if blueprint.endpoint:
        yield Together((shut(blueprint.endpoint.node),))
        yield from let_short_sessions_end(replace(server, commands=SESSIONS, timeout_s=PATIENCE_S), young_sessions)
    yield Together((replace(server, commands=DRAIN, timeout_s=PATIENCE_S),))


def _let_in(blueprint: Blueprint) -> Generator[Step, Any, None]:
    """Let those who wait go on to where the endpoint still leads."""
    if blueprint.endpoint:
        yield Together((open_again(blueprint.endpoint.node),))


def set_aside(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Stop a standby that cannot follow; it is started again with its data aside, and cloned."""
    if not subject or not (yield Halt(subject)):
        return Outcome(False, f"{subject} could not be stopped")
    return Outcome(True, f"{subject} is cloned afresh; what it had is kept in data.aside-*")


@dataclass(frozen=True)
class Tune:
    """Put the settings that all members share into etcd as they should be, through Patroni of `subject`."""

    access: Access
    shared: str

    def __call__(self, blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
        """The steps."""
        node = blueprint.node(subject or "")
        if node is None:
            return Outcome(False, "there is no such node")
        command = unsafe(self.access, "PATCH", "/config", json.loads(self.shared))
        (reply,) = yield Together((ask_patroni(node, command, timeout_s=3.0),))
        if isinstance(reply, Silence):
            return Outcome(False, f"Patroni of {node.id} did not answer: {reply.because}")
        code, _ = body_of(reply[0])
        return Outcome(code == 200, "the members share the settings" if code == 200 else f"Patroni answered {code}")
