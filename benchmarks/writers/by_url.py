"""A steady writer that knows nothing of Sentinels: REDIS_URL and a plain retry."""

import itertools
import json
import os
import time

from redis import Redis
from redis.exceptions import RedisError

client = Redis.from_url(os.environ["REDIS_URL"], socket_timeout=5)
for n in itertools.count(1):
    sent_s = time.monotonic()
    error = None
    try:
        client.sadd(os.environ["WRITES_KEY"], n)
    except (RedisError, OSError) as caught:
        error = f"{type(caught).__name__}: {caught}"
    print(json.dumps({"n": n, "sent_s": sent_s, "ended_s": time.monotonic(), "error": error}), flush=True)
    time.sleep(float(os.environ.get("WRITE_EVERY_MS", "5")) / 1000)
