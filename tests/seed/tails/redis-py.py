
# From here on: numbered writes, one in flight, one JSON line each. Times are seconds on the monotonic clock.
import itertools
import json
import time

from redis.exceptions import RedisError

for n in itertools.count(1):
    sent_s = time.monotonic()
    error = None
    try:
        master.sadd(os.environ.get("WRITES_KEY", "writes"), n)
    except (RedisError, OSError) as caught:
        error = f"{type(caught).__name__}: {caught}"
    line = {"n": n, "sent_s": sent_s, "ended_s": time.monotonic(), "error": error}
    print(json.dumps(line), flush=True)
    time.sleep(float(os.environ.get("WRITE_EVERY_MS", "5")) / 1000)
