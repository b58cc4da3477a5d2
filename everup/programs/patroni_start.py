"""Starts Patroni with four measured corrections: `python -I patroni_start.py CONFIGURATION`.

1. Patroni sends each request to etcd in two pieces and leaves Nagle's algorithm on: 40 to 50 ms per request, three of
   them in a row while a standby takes the lead. It is told to set TCP_NODELAY beside the options it sets anyway.
2. A commit can wait for a standby that was never told of it, or that has told already:

   - a process of PostgreSQL (16 to 18 at least) that sends WAL puts itself on the list of those to wake only after it
     has looked for new WAL; what is flushed in between is not sent until something else wakes it (measured: one commit
     in 20,000 to 500,000, the busier the machine the more; `sent_lsn` is one record behind for all of the wait);
   - a standby that confirmed in the instant before it became the synchronous one is not heard again.

   With one writer nothing else comes before the standby's regular word, after `wal_receiver_status_interval` (1 s here,
   10 s by default). So the primary is looked at every 0.15 s; when a commit waits and the standby has confirmed nothing
   since the last look, an empty message goes through the WAL: it wakes the sender, and its answer lets the commit go.
3. Asked for the shared settings while etcd does not answer, Patroni waits for etcd, and each question keeps one of the
   five threads that answer all others, its members' question whether the primary may go on among them. Enough of them,
   and a healthy primary seems hung, or gives up. It is told to say at once that it does not know the settings now.
4. A log-in to etcd names the place in etcd's log where it was made, and a member that is asked with it waits until its
   own log is there before it refuses it. In a group founded anew, whose log is short, that is for ever: Patroni's
   request times out, so it never sees the refusal that would make it log in again. It is told to log in again wherever
   the id of the group has changed.
"""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from threading import Thread
from typing import Any

LOOK_EVERY_S = 0.15
LOOK = (
    "SELECT coalesce(max(flush_lsn)::text, '') FROM pg_catalog.pg_stat_get_wal_senders() WHERE sync_priority > 0"
    " HAVING EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(NULL) WHERE wait_event = 'SyncRep')"
)
STIR = "SELECT pg_catalog.pg_logical_emit_message(true, 'everup', '')"
FOR_ITSELF = {"options": "-c statement_timeout=2000 -c synchronous_commit=local"}
"""A stir must be flushed, but not wait in the queue that it is to move."""


def stir_for_ever(server: Any) -> None:
    """Let no commit wait for a word that does not come; `server` is Patroni's view of its PostgreSQL."""
    connection, before = server.connection_pool.get("stir", FOR_ITSELF), None
    while True:
        time.sleep(LOOK_EVERY_S)
        confirmed = None
        if server.role == "primary" and server.state == "running":
            with contextlib.suppress(Exception):  # looked at again, whatever it was
                confirmed = next((row[0] for row in connection.query(LOOK)), None)
                if confirmed is not None and confirmed == before:
                    connection.query(STIR)
        before = confirmed


def correct() -> None:
    """Make the corrections, before Patroni's main function runs."""
    from patroni import utils
    from patroni.__main__ import Patroni
    from patroni.api import RestApiHandler
    from patroni.dcs.etcd3 import Etcd3Client

    options, run, settings = utils.keepalive_socket_options, Patroni.run, RestApiHandler.do_GET_config
    check_group = Etcd3Client._check_cluster_raft_term

    def with_nodelay(timeout: int, idle: int, cnt: int = 3) -> Iterator[tuple[int, int, int]]:
        yield from options(timeout, idle, cnt)
        yield socket.IPPROTO_TCP, socket.TCP_NODELAY, 1

    def run_and_stir(patroni: Any) -> None:
        Thread(target=stir_for_ever, args=(patroni.postgresql,), daemon=True).start()
        run(patroni)

    def known_settings(asked: Any) -> None:
        if asked.server.patroni.dcs.cluster is None:
            asked.send_error(502)
        else:
            settings(asked)

    def log_in_to_another_group(client: Any, cluster_id: Any, term: Any) -> None:
        if cluster_id and client._cluster_id not in (None, cluster_id):
            client._reauthenticate = True
        check_group(client, cluster_id, term)

    utils.keepalive_socket_options = with_nodelay
    Etcd3Client._check_cluster_raft_term = log_in_to_another_group
    RestApiHandler.do_GET_config = known_settings
    Patroni.run = run_and_stir


# Patroni starts postgres through multiprocessing, which imports this file again: nothing may happen then.
if __name__ == "__main__":
    correct()

    from patroni.__main__ import main

    sys.exit(main())
