"""One of several writers at full speed, one write in flight, through the Sentinels, or by REDIS_URL with VIA=endpoint;
with WAIT=1 it waits for a replica.

Writes are journalled in memory and printed at SIGTERM: printing each at once would be most of the work.
"""

import json
import os
import signal
import sys
import time

from redis import Redis
from redis.exceptions import RedisError
from redis.sentinel import Sentinel

KEY, WAIT = os.environ["WRITES_KEY"], os.environ.get("WAIT") == "1"
entries = [entry.split(":") for entry in os.environ["REDIS_SENTINEL_LIST"].split(",")]
sentinel = Sentinel([(host, int(port)) for host, port in entries], socket_timeout=1)
journal: list[tuple[int, float, float, str | None]] = []
over = False


def stop(*_: object) -> None:
    """Leave the loop after the write in flight."""
    global over
    over = True


def write(client: Redis, n: int) -> None:
    """Write one number. Raises RedisError when it is not acknowledged, by a replica too where that is asked for."""
    if not WAIT:
        client.sadd(KEY, n)
        return
    pipe = client.pipeline(transaction=False)
    pipe.sadd(KEY, n).execute_command("WAIT", 1, 1000)
    if pipe.execute()[1] < 1:
        raise RedisError("no replica has it")


signal.signal(signal.SIGTERM, stop)
if os.environ.get("VIA") == "endpoint":
    client = Redis.from_url(os.environ["REDIS_URL"], socket_timeout=5)
else:
    client = sentinel.master_for(os.environ["REDIS_SENTINEL_MASTER"], socket_timeout=5)
n = 0
while not over:
    n += 1
    sent_s = time.monotonic()
    error = None
    try:
        write(client, n)
    except (RedisError, OSError) as caught:
        error = f"{type(caught).__name__}: {caught}"
        time.sleep(0.002)
    journal.append((n, sent_s, time.monotonic(), error))
for n, sent_s, ended_s, error in journal:
    sys.stdout.write(json.dumps({"n": n, "sent_s": sent_s, "ended_s": ended_s, "error": error}) + "\n")
sys.stdout.flush()
