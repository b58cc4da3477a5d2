"""Whom a node of the little model of a Redis group lets in: the part of Valkey's ACL that Everup uses."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from everup.kinds._redis_users import CLIENTS, OWN, granted, hashed
from everup.model.desired import Ask, Node, ReplyError

NOAUTH = ReplyError("NOAUTH Authentication required.")


@dataclass
class Doors:
    """User -> hashes, in the memory of a node and in its file; `earlier` nodes have no file. No user: all may come in.

    `greets` is the name by which a Sentinel logs in to the others. `heard` is all that was said on it.
    """

    users: dict[str, frozenset[str]] = field(default_factory=dict)
    kept: dict[str, frozenset[str]] = field(default_factory=dict)
    greets: str = ""
    earlier: bool = False
    heard: list[str] = field(default_factory=list)

    def furnish(self, node: Node) -> None:
        """The node starts: with its file, or, the first time, with what it begins with."""
        self.kept = self.kept or dict(granted(node))
        self.users, self.greets = dict(self.kept), self.greets or (OWN if self.kept else "")

    def admits(self, user: str, password: str) -> bool:
        """Whether somebody may come in with that."""
        return not self.users or hashed(password) in self.users.get(user or CLIENTS, ())

    def enters(self, question: Ask) -> bool:
        """Whether whoever asks may."""
        self.heard += [word for words in question.commands for word in words]
        return self.admits(question.user, question.password) or self.admits("", question.spare)

    def answer(self, words: tuple[str, ...]) -> Any:
        """What it says to commands about users; `NotImplemented` of others."""
        match words:
            case ("ACL", "GETUSER", name):
                if name not in self.users:
                    return None
                return ["flags", ["on"], "passwords", sorted(self.users[name]), "commands", "+@all", "keys", "~*"]
            case ("ACL", "SETUSER", name, "on", "resetpass", *rest):
                self.users[name] = frozenset(_hashes(rest))
            case ("ACL", "SAVE") if self.earlier:
                return ReplyError("ERR This instance is not configured to use an ACL file.")
            case ("ACL", "SAVE") | ("SENTINEL", "FLUSHCONFIG"):
                self.kept = dict(self.users)
            case ("SENTINEL", "CONFIG", "GET", "sentinel-user"):
                return ["sentinel-user", self.greets]
            case ("SENTINEL", "CONFIG", "SET", "sentinel-user", name):
                self.greets = name
            case ("SENTINEL", "CONFIG", "SET", *_):
                pass
            case _:
                return NotImplemented
        return "OK"


def _hashes(words: Iterable[str]) -> Iterable[str]:
    return (word[1:] for word in words if word.startswith("#"))
