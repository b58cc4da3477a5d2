"""What members of etcd are asked, and what their answers mean."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from everup.model.desired import Ask, Command, Node, Protocol
from everup.model.observed import Reading, View

USER = "root"


@dataclass(frozen=True)
class EtcdFacts:
    """One member's view. `members` maps peer URL to (id, name); a member that never started has no name.

    `locked`: it asks for a password. `led`: it knows a leader, so a majority is there. `leads`: it is the leader.
    """

    led: bool
    locked: bool
    members: Mapping[str, tuple[str, str]]
    leads: bool = False


QUESTION: tuple[Command, ...] = (
    ("POST", "/v3/maintenance/status", "{}"),
    ("POST", "/v3/cluster/member/list", "{}"),
    ("POST", "/v3/kv/range", json.dumps({"key": base64.b64encode(b"everup").decode(), "serializable": True})),
)
"""All answered from what the member itself knows: without a majority they are not delayed."""


def body_of(reply: Any) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of one HTTP answer; (0, {}) where there is none."""
    if not isinstance(reply, tuple) or len(reply) != 2 or not isinstance(reply[0], int):
        return 0, {}
    try:
        said = json.loads(reply[1])
    except (TypeError, ValueError):
        return 0, {}
    return (reply[0], said) if isinstance(said, dict) else (0, {})


def read_member(replies: tuple[Any, ...]) -> Reading:
    """Turn the answers to `QUESTION` into `facts["etcd"]`; a member is ready while it knows a leader, without alarm."""
    answers = [body_of(reply) for reply in replies] if isinstance(replies, tuple) else []
    if len(answers) != len(QUESTION) or answers[0][0] != 200:
        return Reading(ready=False, because="not an etcd answer")
    (_, status), (_, listed), (code, ranged) = answers
    leader, header = str(status.get("leader", "0")), status.get("header")
    led, own = leader != "0", str(header.get("member_id", "")) if isinstance(header, dict) else ""
    members: dict[str, tuple[str, str]] = {}
    entries = listed.get("members")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("peerURLs"), list):
            members |= {str(url): (str(entry.get("ID", "")), str(entry.get("name", ""))) for url in entry["peerURLs"]}
    errors = [str(error) for error in status.get("errors") or ()] if isinstance(status.get("errors"), list) else []
    locked = code != 200 and "user name is empty" in str(ranged.get("error", ""))
    because = "; ".join(errors) or ("" if led else "no leader")
    return Reading(
        ready=led and not errors,
        because=because,
        facts={"etcd": EtcdFacts(led, locked, members, led and leader == own)},
    )


def facts_of(view: View, node: Node) -> EtcdFacts | None:
    """What a running member said last."""
    status = view.status(node.id)
    found = status.reading.facts.get("etcd") if status.reading and status.state.running else None
    return found if isinstance(found, EtcdFacts) else None


def peer_url(node: Node) -> str:
    """Where the other members reach it."""
    return f"http://{node.ports['peer']}"


def ask_member(node: Node, *commands: Command, timeout_s: float = 2.0) -> Ask:
    """HTTP requests for a member."""
    return Ask(node.ports["client"], commands, Protocol.HTTP, timeout_s)


def log_in(password: str) -> Command:
    """The request whose answer holds a token, for `Authorization`."""
    return ("POST", "/v3/auth/authenticate", json.dumps({"name": USER, "password": password}))
