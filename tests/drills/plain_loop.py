"""A plain client of Redis in a process of its own, from the standard library alone: `plain_loop.py HOST PORT KEY`.

It shares no line with Everup. It adds numbers to a set, connects again when it is cut, and journals each attempt.
"""

import itertools
import json
import socket
import sys
import time

host, port, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]
connection = None
for n in itertools.count(1):
    sent_s = time.monotonic()
    error = None
    try:
        if connection is None:
            connection = socket.create_connection((host, port), timeout=5)
        connection.sendall(f"*3\r\n$4\r\nSADD\r\n${len(key)}\r\n{key}\r\n${len(str(n))}\r\n{n}\r\n".encode())
        answer = connection.recv(4096)
        if not answer.startswith(b":"):
            raise ConnectionError(answer.decode(errors="replace") or "cut off")
    except OSError as caught:
        error = str(caught)
        if connection is not None:
            connection.close()
        connection = None
    print(json.dumps({"n": n, "sent_s": sent_s, "ended_s": time.monotonic(), "error": error}), flush=True)
    time.sleep(0.005)
