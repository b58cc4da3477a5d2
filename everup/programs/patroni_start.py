"""Starts Patroni so that it talks to etcd without delay: `python -I patroni_start.py CONFIGURATION`.

Patroni sends each request in two pieces and leaves Nagle's algorithm on: 40 to 50 ms per request to etcd, three of them
in a row while a standby takes the lead. It is told to set TCP_NODELAY beside the options it sets anyway.
"""

import socket
import sys
from collections.abc import Iterator

# Patroni starts postgres through multiprocessing, which imports this file again: nothing may happen then.
if __name__ == "__main__":
    from patroni import utils

    _options = utils.keepalive_socket_options

    def _with_nodelay(timeout: int, idle: int, cnt: int = 3) -> Iterator[tuple[int, int, int]]:
        yield from _options(timeout, idle, cnt)
        yield socket.IPPROTO_TCP, socket.TCP_NODELAY, 1

    utils.keepalive_socket_options = _with_nodelay

    from patroni.__main__ import main

    sys.exit(main())
