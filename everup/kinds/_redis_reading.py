"""What Redis and Sentinel say, turned into facts; upstream's words "master" and "slave" stop here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from everup.model.desired import ReplyError
from everup.model.observed import Reading, Role

DATA_QUESTION = (("INFO", "replication"), ("INFO", "persistence"))


@dataclass(frozen=True)
class RedisFacts:
    """One data node's own word on replication.

    `offset` counts bytes of the replication stream that it has. `follows` is `"host:port"` of its upstream, None on a
    primary. `settled`: its append-only file on disk holds all that was loaded (no rewrite is under way). `written`:
    how many bytes its append-only file holds, with what is about to be written; None without one. A server that has
    neither rewritten nor loaded it since it was begun leaves out the part that it began with: not `rewritten`.
    `replication_id` names the stream, and goes to the replicas with it.
    """

    role: Role
    offset: int
    follows: str | None = None
    link_up: bool = False
    syncing: bool = False
    loading: bool = False
    settled: bool = False
    written: int | None = None
    rewritten: bool = True
    replication_id: str = ""
    replicas: Mapping[str, int] = field(default_factory=dict)  # "host:port" -> acknowledged offset


@dataclass(frozen=True)
class Peer:
    """Another node as one Sentinel lists it: `address` is `"host:port"`, `flags` are Sentinel's own."""

    address: str
    run_id: str
    flags: frozenset[str]


@dataclass(frozen=True)
class SentinelFacts:
    """One Sentinel's view of the group. `named` is the address of the primary it would give to a client.

    `known` is False while it does not watch the group yet; `settings` and `knobs` are name -> value as it reports them.
    """

    my_id: str
    known: bool
    named: str = ""
    epoch: int = 0
    flags: frozenset[str] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    knobs: Mapping[str, str] = field(default_factory=dict)
    replicas: tuple[Peer, ...] = ()
    peers: tuple[Peer, ...] = ()


def sentinel_question(name: str) -> tuple[tuple[str, ...], ...]:
    """All that is asked of a Sentinel about the group `name`, in one round trip."""
    return (
        ("SENTINEL", "MYID"),
        ("SENTINEL", "MASTER", name),
        ("SENTINEL", "REPLICAS", name),
        ("SENTINEL", "SENTINELS", name),
        ("SENTINEL", "DEBUG"),
    )


def parse_info(text: object) -> dict[str, str]:
    """INFO's `key:value` lines as a mapping; anything else is passed over."""
    if not isinstance(text, str):
        return {}
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


def _number(text: object) -> int:
    try:
        return int(str(text))
    except ValueError:
        return 0


def redis_facts(replies: Sequence[Any]) -> RedisFacts | None:
    """Read the answers to `DATA_QUESTION`; None when they are not INFO at all."""
    said: dict[str, str] = {}
    for reply in replies:
        said |= parse_info(reply)
    if said.get("role") not in ("master", "slave"):
        return None
    loading = said.get("loading", "0") != "0" or said.get("async_loading", "0") != "0"
    rewriting = said.get("aof_rewrite_in_progress") != "0" or said.get("aof_rewrite_scheduled") != "0"
    settled = said.get("aof_enabled") == "1" and not rewriting and said.get("aof_last_bgrewrite_status") == "ok"
    rewritten = said.get("aof_base_size") != "0"
    if said["role"] == "master":
        replicas = {}
        for key, value in said.items():
            if key.startswith("slave") and key[5:].isdigit():
                fields = dict(part.split("=", 1) for part in value.split(",") if "=" in part)
                replicas[f"{fields.get('ip')}:{fields.get('port')}"] = _number(fields.get("offset"))
        offset = _number(said.get("master_repl_offset"))
        return RedisFacts(
            Role.PRIMARY,
            offset,
            loading=loading,
            settled=settled,
            written=_written(said),
            rewritten=rewritten,
            replication_id=said.get("master_replid", ""),
            replicas=replicas,
        )
    return RedisFacts(
        Role.REPLICA,
        _number(said.get("slave_repl_offset")),
        follows=f"{said.get('master_host')}:{said.get('master_port')}",
        link_up=said.get("master_link_status") == "up",
        syncing=said.get("master_sync_in_progress", "0") != "0",
        loading=loading,
        settled=settled,
        written=_written(said),
        rewritten=rewritten,
        replication_id=said.get("master_replid", ""),
    )


SESSIONS = (("CLIENT", "LIST", "TYPE", "normal"),)

FEW_COMMANDS = 10
"""A client that sends one request per connection needs no more, greetings included."""


def young_sessions(replies: Sequence[Any]) -> int:
    """How many clients the answer to `SESSIONS` lists that came a second ago at most, for few commands.

    Who asks, who probes and the Sentinels are left out. Servers that do not count commands (before Valkey 8.1 and
    Redis 8) tell of all others that came a second ago.
    """
    lines = str(replies[0]).splitlines() if replies else []
    told = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
    return sum(1 for one in told if _is_young(one))


def _is_young(client: Mapping[str, str]) -> bool:
    # Ages are whole seconds by the clock's turns: who came a moment ago may be 1 s old by that.
    young = client.get("age") in ("0", "1") and _number(client.get("tot-cmds")) <= FEW_COMMANDS
    watches = client.get("cmd") in ("client|list", "client", "info") or "sentinel-" in client.get("name", "")
    return young and not watches


def _written(said: Mapping[str, str]) -> int | None:
    if said.get("aof_enabled") != "1" or "aof_current_size" not in said:
        return None
    return _number(said["aof_current_size"]) + _number(said.get("aof_buffer_length"))


def read_data(replies: tuple[Any, ...]) -> Reading:
    """Turn INFO into a role; a replica is ready only while its link to the primary is up."""
    facts = redis_facts(replies)
    if facts is None:
        error = next((str(reply) for reply in replies if isinstance(reply, ReplyError)), "not a Redis answer")
        return Reading(ready=False, because=f"it answers {error}"[:200])
    because = ""
    if facts.loading:
        because = "it is loading its data"
    elif facts.role == Role.REPLICA and facts.syncing:
        because = f"it is copying everything from {facts.follows}"
    elif facts.role == Role.REPLICA and not facts.link_up:
        because = f"its link to {facts.follows} is down"
    lags = {address: max(0, facts.offset - offset) for address, offset in facts.replicas.items()}
    return Reading(not because, facts.role, lags, because, {"redis": facts}, lineage=facts.replication_id)


def _pairs(reply: object) -> dict[str, str]:
    if isinstance(reply, dict):
        return {str(key): str(value) for key, value in reply.items()}
    if not isinstance(reply, list):
        return {}
    return {str(key): str(value) for key, value in zip(reply[::2], reply[1::2], strict=False)}


def _peers(reply: object) -> tuple[Peer, ...]:
    rows = [_pairs(row) for row in reply] if isinstance(reply, list) else []
    return tuple(
        Peer(f"{row['ip']}:{row['port']}", row.get("runid", ""), frozenset(row.get("flags", "").split(",")))
        for row in rows
        if "ip" in row and "port" in row
    )


def sentinel_facts(replies: Sequence[Any]) -> SentinelFacts | None:
    """Read the answers to `sentinel_question`; None when they are not a Sentinel's."""
    if len(replies) < 5 or not isinstance(replies[0], str):
        return None
    master = _pairs(replies[1])
    knobs = {key.lower(): value for key, value in _pairs(replies[4]).items()}
    if "ip" not in master:
        return SentinelFacts(replies[0], known=False, knobs=knobs)
    return SentinelFacts(
        my_id=replies[0],
        known=True,
        named=f"{master['ip']}:{master.get('port', '')}",
        epoch=_number(master.get("config-epoch")),
        flags=frozenset(master.get("flags", "").replace("master", "primary").split(",")),
        settings=master,
        knobs=knobs,
        replicas=_peers(replies[2]),
        peers=_peers(replies[3]),
    )


def read_sentinel(replies: tuple[Any, ...]) -> Reading:
    """A Sentinel is ready once it watches the group."""
    facts = sentinel_facts(replies)
    if facts is None:
        error = next((str(reply) for reply in replies if isinstance(reply, ReplyError)), "not a Sentinel's answer")
        return Reading(ready=False, because=f"it answers {error}"[:200])
    if not facts.known:
        return Reading(False, because="it does not watch the group yet", facts={"sentinel": facts})
    return Reading(True, facts={"sentinel": facts})
