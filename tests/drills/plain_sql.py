"""A plain client of PostgreSQL in a process of its own, by psycopg alone: `plain_sql.py URL TABLE`.

It shares no line with Everup. It inserts one row per commit, connects again when it is cut, and journals each attempt.
"""

import itertools
import json
import sys
import time

import psycopg

url, table = sys.argv[1:]
connection = None
for n in itertools.count(1):
    sent_s = time.monotonic()
    error = None
    try:
        if connection is None:
            connection = psycopg.connect(url, autocommit=True, connect_timeout=5)
            connection.execute(f"create table if not exists {table} (n bigint)")
        connection.execute(f"insert into {table} values ({n})")
    except psycopg.Error as caught:
        error = str(caught)
        if connection is not None:
            connection.close()
        connection = None
    print(json.dumps({"n": n, "sent_s": sent_s, "ended_s": time.monotonic(), "error": error}), flush=True)
    time.sleep(0.005)
