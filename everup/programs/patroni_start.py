"""Starts Patroni with two measured corrections: `python -I patroni_start.py CONFIGURATION`.

1. Patroni sends each request to etcd in two pieces and leaves Nagle's algorithm on: 40 to 50 ms per request, three of
   them in a row while a standby takes the lead. It is told to set TCP_NODELAY beside the options it sets anyway.
2. A commit that the chosen standby has confirmed in the instant before it became the synchronous one waits for that
   standby's next word, and with one writer no word comes for up to 10 s (`wal_receiver_status_interval`). So once
   another standby is chosen, some empty messages go through the WAL, and the answers to them let such commits go.
"""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

STIRS, STIR_EVERY_S = 5, 0.1
STIR = "SELECT pg_catalog.pg_logical_emit_message(false, 'everup', '')"


def correct() -> None:
    """Make both corrections, before Patroni's main function is imported."""
    from patroni import utils
    from patroni.postgresql.sync import SyncHandler

    options, choose = utils.keepalive_socket_options, SyncHandler.set_synchronous_standby_names

    def with_nodelay(timeout: int, idle: int, cnt: int = 3) -> Iterator[tuple[int, int, int]]:
        yield from options(timeout, idle, cnt)
        yield socket.IPPROTO_TCP, socket.TCP_NODELAY, 1

    def choose_and_stir(handler: Any, *args: Any, **named: Any) -> None:
        choose(handler, *args, **named)
        server = handler._postgresql
        for _ in range(STIRS if server.is_primary() else 0):  # who sends to the standby may hear of the choice later
            with contextlib.suppress(Exception):  # the next word of the standby does it, if later
                server.query(STIR.replace("'')", "'', true)") if server.major_version >= 170000 else STIR)
            time.sleep(STIR_EVERY_S)

    utils.keepalive_socket_options = with_nodelay
    SyncHandler.set_synchronous_standby_names = choose_and_stir


# Patroni starts postgres through multiprocessing, which imports this file again: nothing may happen then.
if __name__ == "__main__":
    correct()

    from patroni.__main__ import main

    sys.exit(main())
