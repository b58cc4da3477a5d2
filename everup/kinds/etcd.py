"""etcd: three members that remember who leads, for the groups of an environment that cannot vote by themselves.

Nobody declares it: services imply it (`Service.implies`), and those of one environment share it. It holds only what
they can write again: a member that lost its data, or cannot read it any more, is replaced; a group that lost its
majority for good is founded anew.
"""

import json
from collections.abc import Generator, Iterator, Mapping
from typing import Any, ClassVar, Literal

from everup.kinds._etcd_lead import hand_on, lead_apart
from everup.kinds._etcd_words import QUESTION, USER, ask_member, body_of, facts_of, log_in, peer_url, read_member
from everup.model.actions import Action, Hold, Operate, StartNode, StopNode
from everup.model.contracts import Claim, Grant
from everup.model.desired import (
    Blueprint,
    Command,
    Node,
    NodeId,
    Outcome,
    Part,
    Probe,
    Protocol,
    Silence,
    Step,
    Stop,
    Tcp,
    Together,
)
from everup.model.findings import Finding, Level, Topic
from everup.model.observed import Health, View
from everup.model.spec import Service

LABEL = "everup-etcd"
MEMBERS = 3
CLIENT_PORT, PEER_PORT = 2379, 2380

FRUGAL = {"GOMAXPROCS": "1", "GOGC": "30"}
"""An idle member wakes up for heartbeats only: on one processor that costs 40 % less, and less memory lies about."""

LOST_S = 5.0
"""How long members must have been without a majority, with their data gone, before the rest is given up."""

LEADERLESS_S = 20.0
"""How long the others may look for a leader while a member has no data, before all are given up: where one of them was
emptied as it ran, or joined a group that died meanwhile, they never find one."""

HOPELESS_S = 1.0
"""A member whose next start is further away than this cannot read its data: it ended at least six times in a row."""

Run = Generator[Step, Any, Outcome]


class EtcdService(Service):
    """What a service says that implies etcd."""

    declarable: ClassVar[bool] = False

    kind: Literal["etcd"] = "etcd"


def found_group(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Members that do not run start with their data; without it, as founders, or as newcomers once admitted."""
    members = blueprint.of(Part.VOTER)
    lead = next((node for node in members if view.status(node.id).ready), None)
    kept = [node for node in members if view.status(node.id).state.has_data]
    away = [node for node in members if not view.status(node.id).state.running]
    founding = [node for node in members if node not in kept and node not in away]
    able = [node for node in away if not _unsure(view, node) and view.status(node.id).state.retry_at_s <= view.now_s]
    anew = not kept and not founding and len(able) >= majority(members)
    untold = anew and _token_is_spent(view, members)
    if untold:
        yield Operate(blueprint.label, "found", "the group is new, and needs a token of its own")
    for node in away:
        state = view.status(node.id).state
        wait_s = state.retry_at_s - view.now_s
        if _unsure(view, node):
            yield Hold(blueprint.label, "it was not looked at yet", node.id)
        elif node in kept and lead and state.failure and wait_s > HOPELESS_S:
            because = f"it cannot start with the data it has ({state.failure}); the others have all of it"
            yield StopNode(node.id, blueprint.label, because, keep_data=False)
        elif wait_s > 0:
            yield Hold(blueprint.label, f"{state.failure or 'it ended again'}; next start in {wait_s:.1f} s", node.id)
        elif node in kept:
            yield StartNode(node, "it does not run, and has its data")
        elif lead:
            yield _newcomer(blueprint, view, lead, node)
        elif untold:
            yield Hold(blueprint.label, "the group is about to be founded", node.id)
        elif anew:
            yield StartNode(node, "the group is new", new_group(view.attempts["found"].at_s))
        elif not kept and not founding:
            yield Hold(blueprint.label, "a group is founded by a majority, at once", node.id)
        elif len(kept) + len(founding) >= majority(members) and not _forlorn(view, [*kept, *founding]):
            yield Hold(blueprint.label, "it has no data, and waits until the others have a majority", node.id)
        else:
            yield from _give_up(blueprint, view, [*kept, *founding])
            yield Hold(blueprint.label, "the majority has lost its data; the group is founded anew", node.id)


def _unsure(view: View, node: Node) -> bool:
    """It was there, and was not looked at yet."""
    return view.status(node.id).health == Health.UNKNOWN and bool(view.status(node.id).state.digest)


def new_group(at_s: float) -> tuple[str, ...]:
    """Arguments of its founders. Each founding has a token of its own, and so the group an id of its own: by that alone
    clients see that the log they know, its terms and the log-ins written in it are gone.

    The moment that makes the token is decided on before the first one starts, by `found`: founders that start in two
    turns of the loop, because one of them was still being cleared away, must have the same one, or never find together.
    """
    return ("--initial-cluster-state", "new", "--initial-cluster-token", f"founded-{at_s:.6f}")


def _token_is_spent(view: View, members: tuple[Node, ...]) -> bool:
    """There is no token yet, or the newest made a group already: a member was well with it, or was told a password."""
    token, locked = view.attempts.get("found"), view.attempts.get("lock")
    if token is None or (locked is not None and locked.at_s > token.at_s):
        return True
    return any(view.status(node.id).good_s > token.at_s for node in members)


def found(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Nothing but a moment, kept as that of this attempt: the token of the group that is founded next."""
    yield from ()
    return Outcome(True, "the founders may start")


def majority(members: tuple[Node, ...]) -> int:
    """How many members must agree."""
    return len(members) // 2 + 1


def _newcomer(blueprint: Blueprint, view: View, lead: Node, node: Node) -> Action:
    """It starts once the others list it as one that never started; before that its old entry must go."""
    facts = facts_of(view, lead)
    entry = facts.members.get(peer_url(node)) if facts else None
    last = view.attempts.get("replace")
    dead = view.status(node.id).state.dead
    if view.status(lead.id).read_s <= max(last.at_s if last else 0.0, dead.at_s if dead else 0.0):
        return Hold(blueprint.label, "the others must say again whom they know", node.id)
    if entry and not entry[1]:
        return StartNode(node, "it joins with no data", ("--initial-cluster-state", "existing"))
    because = "it has lost its data" if entry else "the others do not know it where it is to be"
    return Operate(blueprint.label, "replace", because, node.id)


def _forlorn(view: View, others: list[Node]) -> bool:
    """They all run, and none has had a leader for long; of one on a host that is silent nobody knows that."""
    found = [view.status(node.id) for node in others]
    heard = all(one.state.running and not one.state.silent for one in found)
    return heard and all(not one.ready and view.now_s - one.since_s > LEADERLESS_S for one in found)


def _give_up(blueprint: Blueprint, view: View, kept: list[Node]) -> Iterator[Action]:
    for node in kept:
        status = view.status(node.id)
        if not status.state.running or view.now_s - status.since_s > LOST_S:
            because = "the majority has lost its data; whoever used it writes it again"
            yield StopNode(node.id, blueprint.label, because, keep_data=False)


def ghosts(blueprint: Blueprint, view: View) -> Iterator[Finding]:
    """Members that the group lists and nobody declares: they never vote, and make the majority harder to reach."""
    members = blueprint.of(Part.VOTER)
    wanted = {peer_url(node) for node in members}
    listed = {url for node in members if (facts := facts_of(view, node)) for url in facts.members}
    if unknown := sorted(listed - wanted):
        because = f"it lists {', '.join(unknown)}, which nobody declares: {len(listed) // 2 + 1} members must agree"
        yield Finding(Level.WARNING, Topic.QUORUM, because)


def lock_group(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Nobody on this machine writes into it without the password."""
    open_to_all = [
        node
        for node in blueprint.of(Part.VOTER)
        if view.status(node.id).ready and (facts := facts_of(view, node)) and not facts.locked
    ]
    last = view.attempts.get("lock")
    if open_to_all and not (last and last.at_s >= view.status(open_to_all[0].id).read_s):
        yield Operate(blueprint.label, "lock", "it asks nobody for a password yet", open_to_all[0].id)


def lock(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Set the password; each step may have been done before."""
    node = blueprint.node(subject or "")
    if node is None:
        return Outcome(False, "there is no such member")
    steps: list[Command] = [
        ("POST", "/v3/auth/role/add", json.dumps({"name": USER})),
        ("POST", "/v3/auth/user/add", json.dumps({"name": USER, "password": node.probe.password})),
        ("POST", "/v3/auth/user/changepw", json.dumps({"name": USER, "password": node.probe.password})),
        ("POST", "/v3/auth/user/grant", json.dumps({"user": USER, "role": USER})),
        ("POST", "/v3/auth/enable", "{}"),
    ]
    (reply,) = yield Together((ask_member(node, *steps, timeout_s=5.0),))
    if isinstance(reply, Silence):
        return Outcome(False, f"{node.id} did not answer: {reply.because}")
    code, said = body_of(reply[-1])
    if code != 200:
        return Outcome(False, f"{node.id} refused: {said.get('error', 'no reason given')}")
    return Outcome(True, "it asks for a password")


def replace(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Take the entry of `subject`, whose data is gone, out of the group, and put a new one in.

    Entries that nobody declares, such as that of where it was before, go first: they would count for the majority.
    """
    node = blueprint.node(subject or "")
    leads = [one for one in blueprint.of(Part.VOTER) if view.status(one.id).ready and one.id != subject]
    if node is None or not leads:
        return Outcome(False, "no member has a majority behind it")
    (reply,) = yield Together((ask_member(leads[0], log_in(node.probe.password)),))
    token = "" if isinstance(reply, Silence) else str(body_of(reply[0])[1].get("token", ""))
    facts = facts_of(view, leads[0])
    stay = {peer_url(one) for one in blueprint.of(Part.VOTER) if one.id != subject}
    old = [entry[0] for url, entry in sorted(facts.members.items()) if url not in stay] if facts else []
    commands: list[Command] = [
        ("POST", "/v3/cluster/member/remove", json.dumps({"ID": member}), token) for member in old
    ]
    commands.append(("POST", "/v3/cluster/member/add", json.dumps({"peerURLs": [peer_url(node)]}), token))
    (reply,) = yield Together((ask_member(leads[0], *commands, timeout_s=10.0),))
    if isinstance(reply, Silence):
        return Outcome(False, f"{leads[0].id} did not answer: {reply.because}")
    code, said = body_of(reply[-1])
    if code != 200:
        return Outcome(False, f"{leads[0].id} refused: {said.get('error', 'no reason given')}")
    return Outcome(True, f"{node.id} may join")


def member_node(grant: Grant, index: int) -> Node:
    """The `index`-th member (from 1); whether it founds or joins is said when it starts."""
    ports = grant.listeners[f"member-{index}"]
    client, peer, password = ports["client"], ports["peer"], grant.secrets.get("password", "")
    everyone = [(f"{grant.label}-{n}", grant.listeners[f"member-{n}"]["peer"]) for n in range(1, MEMBERS + 1)]
    args = (
        *("--name", f"{grant.label}-{index}", "--data-dir", "data"),
        *("--listen-client-urls", f"http://{client}", "--advertise-client-urls", f"http://{client}"),
        *("--listen-peer-urls", f"http://{peer}", "--initial-advertise-peer-urls", f"http://{peer}"),
        *("--heartbeat-interval", "100", "--election-timeout", "1000"),
        # 3.5.0 to 3.5.2 could lose consistency in a crash under load: a member that differs refuses to start.
        "--experimental-initial-corrupt-check",
        *("--auto-compaction-mode", "revision", "--auto-compaction-retention", "1000", "--snapshot-count", "5000"),
        *("--bcrypt-cost", "4", "--log-level", "warn"),
    )
    return Node(
        id=f"{grant.label}-{index}",
        service=grant.label,
        part=Part.VOTER,
        program="etcd",
        args=args,
        probe=Probe(Protocol.HTTP, client, read_member, QUESTION, interval_s=2.0, password=password),
        ports={"client": client, "peer": peer},
        env={**FRUGAL, **({"EVERUP_REVISION": str(grant.revision)} if grant.revision else {})},
        # Read at its first start alone: that another member is rebuilt elsewhere is no reason to restart this one.
        ambient={"ETCD_INITIAL_CLUSTER": ",".join(f"{name}=http://{address}" for name, address in everyone)},
        keeps=("data/member/wal/*.wal", "data/member/snap/db"),
        rebuilds=True,
        stop=Stop("SIGTERM", 5.0),
    )


class Etcd:
    """The kind `etcd`."""

    name = "etcd"
    prefix: str | None = None
    service: type[Service] = EtcdService
    connect: Mapping[str, tuple[str, ...]] = {}

    def claims(self, label: str, service: Any) -> tuple[Claim, ...]:
        """Two ports on an address for each member, and the password."""
        ports = {"client": CLIENT_PORT, "peer": PEER_PORT}
        return (*(Claim(f"member-{index}", ports, votes=True) for index in range(1, MEMBERS + 1)), Claim("password"))

    def blueprint(self, service: Any, grant: Grant) -> Blueprint:
        """The members."""
        clients = [grant.listeners[f"member-{index}"]["client"] for index in range(1, MEMBERS + 1)]
        return Blueprint(
            label=grant.label,
            kind=self.name,
            ha=True,
            nodes=tuple(member_node(grant, index) for index in range(1, MEMBERS + 1)),
            bindings={"ENDPOINTS": ",".join(map(str, clients)), "PASSWORD": grant.secrets.get("password", "")},
            operations={"found": found, "lock": lock, "replace": replace, "hand-on": hand_on},
            rules=(found_group, lock_group, lead_apart),
            weaknesses=ghosts,
        )


def endpoints_of(variables: Mapping[str, str]) -> tuple[tuple[Tcp, ...], str]:
    """Client addresses and password, from what a service that implies etcd is granted; nothing where that is absent."""
    listed = variables.get("EVERUP_ETCD_ENDPOINTS", "")
    pairs = [text.rpartition(":") for text in listed.split(",") if text]
    return tuple(Tcp(host, int(port)) for host, _, port in pairs), variables.get("EVERUP_ETCD_PASSWORD", "")


KIND = Etcd()
