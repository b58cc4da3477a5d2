"""One PostgreSQL server: its settings, who may connect, its first statements, and what its keeper is told.

A single server starts with what a group will want, for else adding HA would need a restart (postgres.md section 5):
`wal_level`, `wal_log_hints`, senders, slots, `cluster_name`, and the roles of replication.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from everup.model.desired import Tcp

SUPERUSER, REPLICATOR, REWINDER = "postgres", "rep", "rew"
"""Roles of every server besides its service's own: the probe and the recipes, the standbys, and `pg_rewind`."""

TAKEN = frozenset({SUPERUSER, REPLICATOR, REWINDER, "template0", "template1", "public", "none"})
"""Names that no service's own role and database can have."""

BASE: Mapping[str, str] = {
    "wal_level": "replica",
    "hot_standby": "on",
    "wal_log_hints": "on",
    "max_connections": "100",
    "max_prepared_transactions": "0",
    "max_locks_per_transaction": "64",
    "max_worker_processes": "8",
    "max_wal_senders": "8",
    "max_replication_slots": "10",
    "track_commit_timestamp": "off",
    "superuser_reserved_connections": "5",
    # Turning it on later needs a restart; an empty command would keep all WAL for ever.
    "archive_mode": "on",
    "archive_command": "/bin/true",
    "unix_socket_directories": "",
    "log_checkpoints": "off",
}

OWNED = frozenset(
    {
        *("listen_addresses", "port", "cluster_name", "unix_socket_directories", "wal_level", "wal_log_hints"),
        *("hot_standby", "data_directory", "config_file", "hba_file", "ident_file", "external_pid_file"),
        *("fsync", "full_page_writes", "synchronous_standby_names", "primary_conninfo", "primary_slot_name"),
        *("recovery_target_timeline", "restart_after_crash", "archive_mode", "archive_command", "restore_command"),
        *("max_wal_senders", "max_replication_slots", "logging_collector", "log_destination"),
    }
)
"""Settings that are not the user's: what HA, the probe or the safety of data stands on."""

INITDB = (
    *("--username", SUPERUSER, "--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums"),
    *("--auth", "reject"),  # until the keeper writes pg_hba.conf, before the first start
)

CACHE_BYTES = 128 << 20
"""PostgreSQL's default for `shared_buffers`."""

_REWIND_NEEDS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)


@dataclass(frozen=True)
class Secrets:
    """The passwords of a server's roles: of the service's own, of `postgres`, `rep` and `rew`."""

    own: str = field(repr=False)
    superuser: str = field(repr=False)
    replicator: str = field(repr=False)
    rewinder: str = field(repr=False)


def own_name(label: str) -> str:
    """The name of the service's role and database: its label, unless PostgreSQL keeps that for itself."""
    return f"app_{label}"[:63] if label in TAKEN or label.startswith("pg_") else label


def settings_of(label: str, chosen: Mapping[str, str], memory_bytes: int | None = None) -> dict[str, str]:
    """All settings of a server of the service, but for where it listens; `chosen` are the user's.

    `memory_bytes`: how much it may use, where that is limited. Its own cache then takes a quarter of that at most.
    """
    cache = min(CACHE_BYTES, (memory_bytes or 4 * CACHE_BYTES) // 4)
    fitted = {"shared_buffers": f"{cache >> 10}kB"} if cache < CACHE_BYTES else {}
    return {**BASE, "cluster_name": label, **fitted, **chosen}


def arguments(settings: Mapping[str, str], address: Tcp) -> list[str]:
    """The words that start a server with these settings at `address`."""
    every = {**settings, "listen_addresses": address.host, "port": str(address.port)}
    return [word for name, value in every.items() for word in ("-c", f"{name}={value}")]


def hba(own: str, address: Tcp) -> str:
    """`pg_hba.conf` of a server at `address`: passwords by SCRAM; replication for its role alone.

    What listens on loopback is open to this machine only. A host's own address is there for the other hosts.
    """
    local = ("127.0.0.0/8", "::1/128") if address.host.startswith("127.") else ("all",)
    lines = [f"host replication {REPLICATOR} {where} scram-sha-256" for where in local]
    lines += [f"host all {SUPERUSER},{REWINDER},{REPLICATOR} {where} scram-sha-256" for where in local]
    lines += [f'host "{own}" all {where} scram-sha-256' for where in local]
    lines += [f"host all all {where} scram-sha-256" for where in local]
    return "\n".join(lines) + "\n"


def first_statements(own: str, secrets: Secrets) -> list[str]:
    """What a new server is told before anybody can connect: roles, passwords, and the service's database."""
    return [
        f"ALTER ROLE {SUPERUSER} PASSWORD '{secrets.superuser}'",
        f"CREATE ROLE {REPLICATOR} LOGIN REPLICATION PASSWORD '{secrets.replicator}'",
        f"CREATE ROLE {REWINDER} LOGIN PASSWORD '{secrets.rewinder}'",
        *(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {REWINDER}" for function in _REWIND_NEEDS),
        f"CREATE ROLE \"{own}\" LOGIN PASSWORD '{secrets.own}'",
        f'CREATE DATABASE "{own}" OWNER "{own}"',
        f'REVOKE CONNECT, TEMPORARY ON DATABASE "{own}" FROM PUBLIC',
    ]


def keeper_json(mode: str, own: str, settings: Mapping[str, str], address: Tcp, secrets: Secrets) -> str:
    """What the keeper reads (`everup/programs/postgres_keeper.py` describes it): `single` or `group`, and the words."""
    told = {
        "mode": mode,
        "initdb": INITDB,
        "setup": first_statements(own, secrets),
        "hba": hba(own, address),
        "postgres": arguments(settings, address),
        "patroni": [],
    }
    return json.dumps(told, indent=1) + "\n"
