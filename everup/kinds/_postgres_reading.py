"""What a PostgreSQL server says of itself, by SQL."""

from dataclasses import dataclass
from typing import Any

from everup.kinds._gate import YOUNG_S
from everup.kinds._postgres_server import REPLICATOR, REWINDER, SUPERUSER
from everup.model.desired import ReplyError
from everup.model.observed import Reading, Role

SERVER_QUESTION = (
    (
        "SELECT pg_is_in_recovery(),"
        " (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0')::bigint,"
        " (SELECT timeline_id FROM pg_control_checkpoint()), current_setting('server_version'),"
        " (SELECT system_identifier FROM pg_control_system())",
    ),
)
"""The question whose answer `read_server` understands: one row."""

_OF_APPS = (
    "FROM pg_stat_activity WHERE backend_type = 'client backend'"
    f" AND coalesce(usename, '') NOT IN ('{SUPERUSER}', '{REPLICATOR}', '{REWINDER}')"
)

SESSIONS = ((f"SELECT count(*) {_OF_APPS} AND backend_start > clock_timestamp() - interval '{YOUNG_S:g} s'",),)
"""The question whose answer `young_sessions` understands."""

DRAIN_S = 0.1
"""How long transactions may take to end before a planned shutdown cuts them; every client waits for as long."""

DRAIN = (
    (
        f"DO $$ BEGIN WHILE clock_timestamp() < statement_timestamp() + interval '{DRAIN_S:g} s' LOOP"
        " PERFORM pg_stat_clear_snapshot();"
        f" PERFORM pg_terminate_backend(pid) {_OF_APPS} AND state = 'idle';"
        f" EXIT WHEN NOT EXISTS (SELECT {_OF_APPS});"
        " PERFORM pg_sleep(0.002); END LOOP; END $$",
    ),
)
"""Ends the sessions of apps between their transactions, one after the other."""

UNREADY = {
    "57P03": "it is starting up, and replays what it had not written to its tables yet",
    "57P01": "it is shutting down",
    "53300": "every connection it allows is taken",
}
"""Refusals by SQLSTATE, in words: 57P03 cannot_connect_now, 57P01 admin_shutdown, 53300 too_many_connections."""


@dataclass(frozen=True)
class ServerFacts:
    """A server's own view: its role, how much WAL it has written or replayed (bytes), its timeline and version.

    `system` is the identifier that initdb gave to the data, and that copies of them keep.
    """

    role: Role
    wal_bytes: int
    timeline: int
    version: str
    system: str = ""


def read_server(replies: tuple[Any, ...]) -> Reading:
    """Turn the answer to `SERVER_QUESTION` into a role and `facts["postgres"]`; a standby is ready, too."""
    answer = replies[0] if isinstance(replies, tuple) and replies else None
    if isinstance(answer, ReplyError):
        code, _, message = str(answer).partition(": ")
        return Reading(ready=False, because=UNREADY.get(code, f"it refuses: {message or code}"))
    facts = _facts(answer)
    if facts is None:
        return Reading(ready=False, because="its answer makes no sense")
    return Reading(ready=True, role=facts.role, facts={"postgres": facts}, lineage=facts.system)


def young_sessions(replies: tuple[Any, ...]) -> int:
    """How many sessions of apps began a moment ago, by the answer to `SESSIONS`; 0 where it makes no sense."""
    try:
        ((count,),) = replies[0]
        return int(count)
    except (TypeError, ValueError, IndexError):
        return 0


def _facts(rows: Any) -> ServerFacts | None:
    try:
        ((in_recovery, wal_bytes, timeline, version, system),) = rows
        role = {"t": Role.REPLICA, "f": Role.PRIMARY}[in_recovery]
        return ServerFacts(role, int(wal_bytes or 0), int(timeline), str(version), str(system))
    except (TypeError, ValueError, KeyError):
        return None
