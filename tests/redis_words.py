"""What a Redis, a Sentinel and the endpoint's HAProxy answer to their probes, word for word as Valkey 9.1 and HAProxy
2.8 do; shortened to lines that somebody might read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from everup.kinds._redis_scene import KNOBS, SETTINGS, port_of
from everup.model.desired import Node, ReplyError

NO_GROUP = ReplyError("ERR No such master with that name")


@dataclass(frozen=True)
class Data:
    """The state of one data node. `follows` is its upstream, None on a primary. Its append-only file has `written`
    bytes and 7 more are about to be; it held `begun` when it was last rewritten, 0 if it never was. Its data take
    `used` bytes of memory, and may take `most`."""

    follows: Node | None = None
    link_up: bool = True
    offset: int = 2062
    syncing: bool = False
    loading: bool = False
    rewriting: bool = False
    written: int = 4000
    begun: int = 89
    used: int = 5 << 20
    most: int = 256 << 20
    replicas: Mapping[str, int] = field(default_factory=dict)


def info(one: Data) -> tuple[str, str]:
    """The answers to INFO replication and INFO persistence."""
    lines = ["# Replication"]
    if one.follows is None:
        lines += ["role:master", f"connected_slaves:{len(one.replicas)}"]
        for index, (address, offset) in enumerate(one.replicas.items()):
            host, port = address.rsplit(":", 1)
            lines.append(f"slave{index}:ip={host},port={port},state=online,offset={offset},lag=1,type=replica")
    else:
        to = port_of(one.follows)
        lines += ["role:slave", f"master_host:{to.host}", f"master_port:{to.port}"]
        lines += [f"master_link_status:{'up' if one.link_up else 'down'}", "master_last_io_seconds_ago:0"]
        lines += [f"master_sync_in_progress:{int(one.syncing)}", f"slave_read_repl_offset:{one.offset}"]
        lines += [f"slave_repl_offset:{one.offset}", "slave_priority:100", "slave_read_only:1", "connected_slaves:0"]
    lines += ["master_failover_state:no-failover", "master_replid:81e98e00552294f689dbbc0e70eaa0754e2a621e"]
    lines += [f"master_repl_offset:{one.offset}", "second_repl_offset:-1", ""]
    kept = ["# Persistence", f"loading:{int(one.loading)}", "async_loading:0", "rdb_bgsave_in_progress:0"]
    kept += ["aof_enabled:1", f"aof_rewrite_in_progress:{int(one.rewriting)}", "aof_rewrite_scheduled:0"]
    kept += ["aof_last_bgrewrite_status:ok", "aof_last_write_status:ok"]
    kept += [f"aof_current_size:{one.written}", f"aof_base_size:{one.begun}", "aof_buffer_length:7", ""]
    return "\r\n".join(lines), "\r\n".join(kept)


def memory(one: Data) -> str:
    """The answer to INFO memory: 3 MB wait for replicas and are not counted, and 8 MB are kept for those to come."""
    backlog, apart = 8 << 20, 3 << 20
    lines = ["# Memory", f"used_memory:{one.used + backlog + apart}", f"maxmemory:{one.most}"]
    lines += [f"mem_not_counted_for_evict:{apart}", f"mem_replication_backlog:{backlog}", ""]
    return "\r\n".join(lines)


@dataclass(frozen=True)
class Opinion:
    """One Sentinel's view. `ghosts` are addresses it remembers though nobody declares them; `missing` those it does not
    know yet; `flagged` are peers noted as agreeing that the primary is down."""

    named: Node
    epoch: int = 3
    known: bool = True
    ghosts: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    flagged: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    knobs: Mapping[str, str] = field(default_factory=dict)


def run_id(node: Node) -> str:
    """The 40 characters by which a Sentinel is known."""
    return node.id.encode().hex()[:40].rjust(40, "0")


def sentinel(me: Node, opinion: Opinion, members: Iterable[Node], voters: Iterable[Node]) -> tuple[Any, ...]:
    """The answers to `sentinel_question`."""
    voters = list(voters)
    knobs = {**KNOBS, **opinion.knobs}
    debug = [word for name, value in knobs.items() for word in (name.upper(), value)]
    if not opinion.known:
        return run_id(me), NO_GROUP, NO_GROUP, NO_GROUP, debug
    to = port_of(opinion.named)
    quorum = str(len(voters) // 2 + 1)
    fields = {"name": "redis01", "ip": to.host, "port": str(to.port), "flags": "master"}
    fields |= {"config-epoch": str(opinion.epoch), **SETTINGS, "quorum": quorum, **opinion.settings}
    replicas = [str(port_of(node)) for node in members if node.id != opinion.named.id] + list(opinion.ghosts)
    rows = [_row(address, address, "slave") for address in replicas if address not in opinion.missing]
    others = [node for node in voters if node.id != me.id and str(port_of(node)) not in opinion.missing]
    flags = {node.id: "sentinel,master_down" if node.id in opinion.flagged else "sentinel" for node in others}
    peers = [_row(run_id(node), str(port_of(node)), flags[node.id]) for node in others]
    return run_id(me), [word for pair in fields.items() for word in pair], rows, peers, debug


def _row(name: str, address: str, flags: str) -> list[str]:
    host, port = address.rsplit(":", 1)
    return ["name", name, "ip", host, "port", port, "runid", name, "flags", flags]


SERVERS = (
    "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last"
    "_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id"
    " srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr"
    " srv_agent_port"
)


def haproxy(address: str, *, up: bool = True, admin: int = 0) -> tuple[str, str]:
    """The answers to `show servers state` and `show stat` of an endpoint that leads to `address`."""
    host, port = address.rsplit(":", 1)
    row = f"3 p 1 primary {host} {2 if up else 0} {admin} 1 1 5 6 3 4 6 0 0 0 - {port} - 0 0 - - 0"
    return f"1\n# {SERVERS}\n{row}\n\n", "# pxname,svname,qcur,qmax,scur,smax,\np,primary,0,0,3,9,\n\n"
