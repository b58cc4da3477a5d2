"""Who may log in to a group with passwords: clients as `default`, Everup and the nodes as a user of their own.

Only the clients' passwords change, and no file that decides about restarts holds them. A new node finds them in the
file that it begins with; one that runs is told, and writes them down itself. What each node says is compared with what
is granted, so one that was away is told when it is back. Passwords of clients travel as SHA-256 hashes alone.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everup.kinds._redis_reading import DATA_QUESTION, read_data, read_sentinel, sentinel_question
from everup.kinds._redis_scene import Scene, tried_since
from everup.model.actions import Action, Hold, Operate
from everup.model.contracts import Grant
from everup.model.desired import (
    Blueprint,
    Command,
    Node,
    NodeId,
    Outcome,
    Part,
    ReplyError,
    Silence,
    Step,
    Together,
)
from everup.model.observed import Reading, View

OWN, CLIENTS = "everup", "default"
FILE = "users.acl"
RIGHTS = ("~*", "&*", "+@all")

LOGIN, COMING, FORMER, ENDING = "login", "coming", "former", "ending"
"""Grants since the first renewal: `number:password` of clients; the hash of a password that nobody has yet;
`number:hash` of the one that still works, and of the one that is just being ended. "" for none."""

ANSWER_S = 2.0
"""A node writes its passwords to its disk before it answers; a failover may have to wait for that."""

WHO = (("ACL", "GETUSER", CLIENTS), ("ACL", "GETUSER", OWN))
GREETS = ("SENTINEL", "CONFIG", "GET", "sentinel-user")


def login_of(grant: Grant) -> tuple[int, str]:
    """The clients' password, and which one it is: 1, 2, ..."""
    number, _, password = grant.secrets.get(LOGIN, "").partition(":")
    return (int(number), password) if number else (1, grant.secrets["password"])


def hashed(password: str) -> str:
    """A password as the server's ACL keeps it: SHA-256, hexadecimal."""
    return hashlib.sha256(password.encode()).hexdigest()


def users(grant: Grant) -> tuple[str, ...]:
    """The lines of an ACL file, or of a configuration, that let in whoever is granted a password."""
    former = grant.secrets.get(FORMER, "").partition(":")[2]
    hashes = [hashed(login_of(grant)[1]), former, grant.secrets.get(COMING, "")]
    clients, own = " ".join(f"#{one}" for one in hashes if one), f"#{hashed(grant.secrets['own'])}"
    return f"user {CLIENTS} on {clients} {' '.join(RIGHTS)}", f"user {OWN} on {own} {' '.join(RIGHTS)}"


def granted(node: Node) -> Mapping[str, frozenset[str]]:
    """User -> the hashes that a node should know, by what it would begin with now; empty where nobody needs any."""
    lines = (line.split() for text in node.seeds.values() for line in text.splitlines() if line.startswith("user "))
    return {words[1]: frozenset(word[1:] for word in words if word.startswith("#")) for words in lines}


@dataclass(frozen=True)
class Access:
    """Whom a node lets in, by its own word: user -> hashes of passwords, empty for one who is not let in by any.

    `greets` is the name by which a Sentinel logs in to the other ones; None of a data node.
    """

    users: Mapping[str, frozenset[str]]
    greets: str | None = None


def data_question(guarded: bool) -> tuple[Command, ...]:
    """What a data node is asked all the time."""
    return (*DATA_QUESTION, *WHO) if guarded else DATA_QUESTION


def voter_question(label: str, guarded: bool) -> tuple[Command, ...]:
    """What a Sentinel is asked all the time."""
    return (*sentinel_question(label), *WHO, GREETS) if guarded else sentinel_question(label)


def read_guarded_data(replies: tuple[Any, ...]) -> Reading:
    """The answers of a data node with passwords."""
    return _with_access(read_data(replies[: len(DATA_QUESTION)]), replies[len(DATA_QUESTION) :])


def read_guarded_sentinel(replies: tuple[Any, ...]) -> Reading:
    """The answers of a Sentinel with passwords."""
    rest = len(replies) - len(WHO) - 1
    return _with_access(read_sentinel(replies[:rest] if rest > 0 else replies), replies[max(rest, 0) :])


def _with_access(reading: Reading, replies: Sequence[Any]) -> Reading:
    if len(replies) < len(WHO) or any(isinstance(reply, ReplyError) for reply in replies):
        return reading
    known = {name: _hashes(reply) for name, reply in zip((CLIENTS, OWN), replies, strict=False)}
    greets = str([*replies[2], "", ""][1]) if len(replies) > len(WHO) else None
    return replace(reading, facts={**reading.facts, "access": Access(known, greets)})


def _hashes(reply: Any) -> frozenset[str]:
    """From the answer to ACL GETUSER; none of a user who is off, unknown, or needs no password."""
    said = dict(zip(reply[::2], reply[1::2], strict=False)) if isinstance(reply, list) else {}
    lets_in = "on" in said.get("flags", ()) and "nopass" not in said.get("flags", ())
    return frozenset(said.get("passwords", ())) if lets_in else frozenset()


def _access(scene: Scene, node: Node) -> Access | None:
    found = scene.said(node, "access")
    return found if isinstance(found, Access) else None


def _strange(node: Node, access: Access) -> bool:
    """An earlier Everup made it: there everybody was `default`."""
    return access.users[OWN] != granted(node)[OWN] or access.greets not in (None, OWN)


def _behind(scene: Scene) -> Iterator[tuple[Node, Access]]:
    """Nodes that answer, and know other passwords than those granted."""
    for node in scene.running((*scene.everyone, *scene.voters)):
        if scene.status(node).silent_since_s is not None:
            continue
        access, wanted = _access(scene, node), granted(node)
        if access and wanted and (access.users != wanted or _strange(node, access)):
            yield node, access


def let_in(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Every node knows the passwords that are granted, and no other.

    Before all know Everup's own, nothing is restarted or reloaded that would log in with it.
    """
    scene = Scene(blueprint, view)
    behind = list(_behind(scene))
    if late := [node.id for node, _ in behind if not tried_since(view, "admit", scene.status(node).read_s)]:
        yield Operate(blueprint.label, "admit", f"{', '.join(late)} must be told which passwords are granted")
    if any(_strange(node, access) for node, access in behind):
        for node in blueprint.nodes:
            status = scene.status(node)
            due = (status.state.digest, status.state.files_digest) != (node.digest, node.files_digest)
            if due and status.ready:  # who is silent must not be kept from being fenced
                yield Hold(blueprint.label, "it waits until every node knows Everup's own password", node.id)


def admit(blueprint: Blueprint, view: View, _: NodeId | None) -> Generator[Step, Any, Outcome]:
    """Tell the nodes that are behind which passwords are granted; first Everup's own, where that is not known."""
    scene = Scene(blueprint, view)
    behind = list(_behind(scene))
    strange = [node for node, access in behind if _strange(node, access)]
    if strange:
        replies = yield Together(
            tuple(scene.ask(node, _set_user(node, OWN, *RIGHTS), timeout_s=ANSWER_S) for node in strange)
        )
        if trouble := _trouble(strange, replies):
            return Outcome(False, trouble)
    nodes = [node for node, _ in behind]
    introduced = {node.id: _introduction(scene, node) for node in strange}
    asks = (
        scene.ask(node, *introduced.get(node.id, ()), *admission(node), kept(node), timeout_s=ANSWER_S)
        for node in nodes
    )
    replies = yield Together(tuple(asks))
    trouble = _trouble(nodes, replies, no_file=introduced)
    return Outcome(not trouble, trouble or f"told to {', '.join(node.id for node in nodes)}")


def admission(node: Node) -> tuple[Command, ...]:
    """What makes a node know the passwords of clients that are granted, and no other; nothing where there are none."""
    return (_set_user(node, CLIENTS),) if granted(node) else ()


def _set_user(node: Node, user: str, *rights: str) -> Command:
    return with_passwords(user, granted(node)[user], *rights)


def with_passwords(user: str, hashes: Iterable[str], *rights: str) -> Command:
    """Let `user` in with these, and no other."""
    return ("ACL", "SETUSER", user, "on", "resetpass", *(f"#{one}" for one in sorted(hashes)), *rights)


def kept(node: Node) -> Command:
    """Have a node write down whom it lets in."""
    return ("ACL", "SAVE") if node.part == Part.DATA else ("SENTINEL", "FLUSHCONFIG")


def introduction(label: str, node: Node) -> Command:
    """Have a Sentinel log in to the data nodes of its group as who may do everything there."""
    return ("SENTINEL", "SET", label, "auth-user", OWN, "auth-pass", node.probe.password)


def _introduction(scene: Scene, node: Node) -> tuple[Command, ...]:
    """What else a node of an earlier Everup is told, so that it too logs in to the others as who is known there."""
    password, opinion = node.probe.password, scene.opinion(node)
    if node.part == Part.DATA:
        return ("CONFIG", "SET", "masteruser", OWN), ("CONFIG", "SET", "masterauth", password)
    watches = (introduction(scene.label, node),) if opinion and opinion.known else ()
    peers = (("sentinel-pass", password), ("sentinel-user", OWN))
    return (*watches, *(("SENTINEL", "CONFIG", "SET", *pair) for pair in peers))


def _trouble(nodes: Sequence[Node], replies: Sequence[Any], no_file: Iterable[NodeId] = ()) -> str:
    """Who did not do it, and why; "" when all did. A data node of an earlier Everup has `no_file` to write to."""
    for node, reply in zip(nodes, replies, strict=True):
        if isinstance(reply, Silence):
            return f"{node.id} did not answer: {reply.because}"
        counted = reply[:-1] if node.part == Part.DATA and node.id in no_file else reply
        if wrong := next((str(one) for one in counted if isinstance(one, ReplyError)), ""):
            return f"{node.id} did not do it: {wrong}"
    return ""
