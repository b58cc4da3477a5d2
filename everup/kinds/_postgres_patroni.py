"""Patroni: its configuration, the settings it shares through etcd, and the reading of what it says of its node.

The values are measured (docs/why tells them). Patroni takes no lower ones; that a failover does not wait for them is
because Everup removes the leader key of a node that is confirmed dead.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everup.kinds._etcd_words import USER as ETCD_USER
from everup.kinds._etcd_words import body_of
from everup.kinds._postgres_server import REPLICATOR, REWINDER, SUPERUSER, Secrets, hba
from everup.model.desired import Command, Node, Tcp
from everup.model.observed import Reading, Role

NAMESPACE = "/service/"
REST_USER = "everup"

QUESTION: tuple[Command, ...] = (("GET", "/patroni", ""), ("GET", "/config", ""))

WAL_CAP = "4GB"
"""What a dead standby's slot may hold back, at most; one that needs more is cloned afresh."""

WAL_KEPT = "256MB"
"""What every server keeps for one that comes back before its slot on a new primary exists."""

TTL_S = 20
"""The lease of a primary: after so long without the electors it has stopped taking writes, and another may lead."""

LAG_LIMIT = "16MB"
"""A standby further behind is not read from."""


@dataclass(frozen=True)
class Access:
    """How to reach what a group of PostgreSQL stands on: etcd's members, and the passwords."""

    scope: str
    etcd: tuple[Tcp, ...]
    etcd_password: str = field(repr=False)
    rest_password: str = field(repr=False)

    def key(self, name: str) -> str:
        """A key of the group in etcd, such as `leader`."""
        return f"{NAMESPACE}{self.scope}/{name}"


@dataclass(frozen=True)
class PatroniFacts:
    """What Patroni says of its node.

    `position` counts bytes of WAL: written on a primary, received on a standby. `streaming` on a standby, `standbys` on
    a primary: application name -> sync state, those that stream. `sync_standby`: etcd names it as one that may lead.
    `unlocked`: nobody holds the leader key. `failsafe`: etcd does not answer, and all members agreed to go on.
    `system` is PostgreSQL's identifier of its data.
    `shared` are the settings in etcd, None while there are none.
    """

    role: Role | None
    state: str
    position: int = 0
    timeline: int = 0
    streaming: bool = False
    sync_standby: bool = False
    unlocked: bool = False
    failsafe: bool = False
    system: str = ""
    standbys: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, Any] | None = None


def read_patroni(replies: tuple[Any, ...]) -> Reading:
    """Turn the answers to `QUESTION` into a role and `facts["patroni"]`; a standby is ready only while it streams."""
    answers = [body_of(reply) for reply in replies] if isinstance(replies, tuple) else []
    if len(answers) != len(QUESTION) or "state" not in answers[0][1]:
        return Reading(ready=False, because="not Patroni's answer")
    said, shared = answers[0][1], answers[1][1] if answers[1][0] == 200 else None
    facts = _facts(said, shared)
    runs = facts.state == "running"
    if facts.role == Role.PRIMARY:
        because = "" if runs else f"the server is {facts.state}"
        role = Role.PRIMARY if runs else None
        return Reading(runs, role, because=because, facts={"patroni": facts}, lineage=facts.system)
    ready = runs and facts.streaming
    because = "" if ready else "it does not stream from the primary" if runs else f"the server is {facts.state}"
    lag = _number(said.get("latest_end_lsn")) - facts.position if said.get("latest_end_lsn") else None
    lag_bytes = max(0, lag) if lag is not None else None
    return Reading(
        ready,
        Role.REPLICA if runs else None,
        because=because,
        facts={"patroni": facts},
        lag_bytes=lag_bytes,
        lineage=facts.system,
    )


def _facts(said: Mapping[str, Any], shared: Mapping[str, Any] | None) -> PatroniFacts:
    xlog = said.get("xlog")
    positions = [
        _number(xlog.get(name) if isinstance(xlog, dict) else 0)
        for name in ("location", "received_location", "replayed_location")
    ]
    listed = said.get("replication")
    standbys = {
        str(entry.get("application_name")): str(entry.get("sync_state"))
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict) and entry.get("state") == "streaming"
    }
    role = {"primary": Role.PRIMARY, "master": Role.PRIMARY, "replica": Role.REPLICA}.get(str(said.get("role")))
    return PatroniFacts(
        role=role,
        state="running" if said.get("state") in ("running", "streaming") else str(said.get("state")),
        position=max(positions),
        timeline=_number(said.get("timeline")),
        streaming=said.get("replication_state") == "streaming",
        sync_standby=said.get("sync_standby") is True,
        unlocked=said.get("cluster_unlocked") is True,
        failsafe=said.get("failsafe_mode_is_active") is True,
        system=str(said.get("database_system_identifier") or ""),
        standbys=standbys,
        shared=shared,
    )


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def shared_settings(settings: Mapping[str, str], *, synchronous: bool) -> dict[str, Any]:
    """What all members agree on through etcd; Everup keeps it so."""
    return {
        "ttl": TTL_S,
        "loop_wait": 1,
        "retry_timeout": 3,
        "primary_start_timeout": 0,
        "maximum_lag_on_failover": 16777216,
        "failsafe_mode": True,
        "synchronous_mode": synchronous,
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "parameters": {
                **settings,
                "max_slot_wal_keep_size": WAL_CAP,
                "wal_keep_size": WAL_KEPT,
                "wal_receiver_status_interval": "1s",
            },
        },
    }


def differing(wanted: Mapping[str, Any], shared: Mapping[str, Any], path: str = "") -> str:
    """The first setting that is not as wanted, by its path; "" when all are."""
    for name, value in wanted.items():
        found = shared.get(name)
        if isinstance(value, Mapping):
            inner = differing(value, found if isinstance(found, Mapping) else {}, f"{path}{name}.")
            if inner:
                return inner
        elif str(found) != str(value):
            return f"{path}{name}"
    return ""


def member_name(node: Node) -> str:
    """What Patroni calls a member: its id, on several hosts with the address of its own.

    Patroni takes whoever bears the name in the leader key for the leader. A member that was rebuilt elsewhere must not
    have the name of what may still run, cut off, on its former host, and may come back with data of long ago.
    """
    host = node.ports["postgres"].host
    return node.id if host.startswith("127.") else f"{node.id}-{host.replace('.', '-')}"


def patroni_json(node: Node, access: Access, shared: Mapping[str, Any], secrets: Secrets, own: str) -> str:
    """Patroni's configuration for one node (JSON, which is YAML). It can join a group, and never found one."""
    rest, server = node.ports["patroni"], node.ports["postgres"]
    roles = {
        "superuser": {"username": SUPERUSER, "password": secrets.superuser},
        "replication": {"username": REPLICATOR, "password": secrets.replicator},
        "rewind": {"username": REWINDER, "password": secrets.rewinder},
    }
    told = {
        "scope": access.scope,
        "namespace": NAMESPACE,
        "name": member_name(node),
        "log": {"level": "INFO"},
        "restapi": {
            "listen": str(rest),
            "connect_address": str(rest),
            "authentication": {"username": REST_USER, "password": access.rest_password},
        },
        "etcd3": {
            "hosts": [str(member) for member in access.etcd],
            "username": ETCD_USER,
            "password": access.etcd_password,
        },
        # An emptied node could otherwise found an empty database over the group's name.
        "bootstrap": {"dcs": shared, "method": "never", "never": {"command": "/bin/false"}},
        "postgresql": {
            "listen": str(server),
            "connect_address": str(server),
            "data_dir": "{home}/data",
            "bin_dir": "{bin:postgres}",
            "pgpass": "{home}/pgpass",
            "authentication": {name: {**role, "sslmode": "disable"} for name, role in roles.items()},
            "pg_hba": hba(own, server).splitlines(),
            "basebackup": [{"checkpoint": "fast"}],
        },
    }
    return json.dumps(told, indent=1) + "\n"
