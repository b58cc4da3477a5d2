"""Another password for clients while the former one goes on working: the user `default` has both in between.

Each step is granted before the nodes are told and again after, so that what is told to a node that was away meanwhile,
or after a control plane that died half-way, is never less than what clients have.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from everup.kinds._redis_scene import ask_of
from everup.kinds._redis_users import (
    CLIENTS,
    COMING,
    ENDING,
    FORMER,
    LOGIN,
    hashed,
    kept,
    login_of,
    with_passwords,
)
from everup.model.contracts import Grant
from everup.model.desired import Ask, Node, NodeId
from everup.model.renewal import Renewal, Turn

ANSWER_S = 10.0
"""A node writes its passwords to its disk before it answers."""


@dataclass(frozen=True)
class Begin:
    """Makes one more password work beside the `number`-th, whose hash is `current`, on all that run of `nodes`."""

    nodes: tuple[Node, ...]
    number: int
    current: str

    def __call__(self, password: str) -> Turn:
        """What to do for that password; one that an attempt of before has left works no more."""
        told = with_passwords(CLIENTS, (self.current, hashed(password)))
        return Turn(
            asks={node.id: ask_of(node, told, kept(node), timeout_s=ANSWER_S) for node in self.nodes},
            before={COMING: hashed(password)},
            after={LOGIN: f"{self.number + 1}:{password}", FORMER: f"{self.number}:{self.current}", COMING: ""},
        )


@dataclass(frozen=True)
class Cut:
    """Ends sessions one by one, and none that only connects yet: the endpoint's look at a server could be one."""

    nodes: tuple[Node, ...]

    def __call__(self, node_id: NodeId, replies: tuple[Any, ...]) -> Ask | None:
        """What to ask a node that answered `Finish`."""
        kills = tuple(("CLIENT", "KILL", "ID", one) for one in _numbers(replies))
        return (
            next((ask_of(node, *kills, timeout_s=ANSWER_S) for node in self.nodes if node.id == node_id), None)
            if kills
            else None
        )


@dataclass(frozen=True)
class Finish:
    """Lets clients in with the password of the hash `current` only; `former` is granted as what ends."""

    nodes: tuple[Node, ...]
    current: str
    former: str

    def __call__(self, cut: bool) -> Turn:
        """What to do; `cut` ends every session that was there before, for no node knows by which password one began."""
        told = with_passwords(CLIENTS, (self.current,))
        return Turn(
            asks={
                node.id: ask_of(node, told, kept(node), ("CLIENT", "LIST"), timeout_s=ANSWER_S) for node in self.nodes
            },
            then=Cut(self.nodes) if cut else None,
            before={FORMER: "", ENDING: self.former},
            after={ENDING: ""},
        )


def renewal_of(grant: Grant, nodes: Iterable[Node]) -> Renewal:
    """How the clients of a group get another password; `nodes` are its data nodes and Sentinels, retiring ones too."""
    number, password = login_of(grant)
    former = grant.secrets.get(FORMER, "") or grant.secrets.get(ENDING, "")
    everywhere = tuple(nodes)
    return Renewal(
        login=_named(number + 1),
        current=_named(number),
        former=_named(former.partition(":")[0]) if former else "",
        begin=Begin(everywhere, number, hashed(password)),
        finish=Finish(everywhere, hashed(password), former),
        sessions=sessions,
    )


def _named(number: int | str) -> str:
    return f"{CLIENTS} with password {number}"


def sessions(replies: tuple[Any, ...]) -> int:
    """How many sessions of clients a node had."""
    return len(_numbers(replies))


def _numbers(replies: tuple[Any, ...]) -> list[str]:
    """The sessions of clients, as the node numbers them; who has said nothing yet is `default` to it, and has none."""
    lines = [line.split() for line in str(replies[-1]).splitlines()]
    return [words[0].removeprefix("id=") for words in lines if f"user={CLIENTS}" in words and "cmd=NULL" not in words]
