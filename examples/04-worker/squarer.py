"""Takes numbers from the list `jobs` and stores their squares, through failovers."""

import os
import time

from redis import Redis
from redis.exceptions import RedisError

queue = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True, socket_timeout=5)
print("waiting for jobs", flush=True)

while True:
    try:
        job = queue.blpop(["jobs"], timeout=1)
        if job:
            number = int(job[1])
            queue.hset(os.environ["RESULTS"], str(number), number * number)
            print(f"{number} squared is {number * number}", flush=True)
    except RedisError as error:  # a failover: the next try leads to the new primary
        print(f"trying again: {error}", flush=True)
        time.sleep(0.05)
