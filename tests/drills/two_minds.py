"""An app of instances: the first that ever started holds on to the primary's own address, others follow `REDIS_URL`.

`PUT /orders/7` stores number 7; `GET /` tells which of the two answers.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from redis import Redis
from redis.exceptions import RedisError
from redis.sentinel import Sentinel

follower = Redis.from_url(os.environ["REDIS_URL"], socket_timeout=5)
follower.set("two_minds:stays", os.environ["HOST"], nx=True)
STAYS = follower.get("two_minds:stays") == os.environ["HOST"].encode()


def primary() -> "Redis[bytes]":
    """A client of the node that is the primary now, whatever it will be."""
    addresses = [entry.rsplit(":", 1) for entry in os.environ["REDIS_SENTINEL_LIST"].split(",")]
    sentinels = Sentinel([(host, int(port)) for host, port in addresses], socket_timeout=5)
    host, port = sentinels.discover_master(os.environ["REDIS_SENTINEL_MASTER"])
    return Redis(host=host, port=port, socket_timeout=5)


STORE = primary() if STAYS else follower


class Orders(BaseHTTPRequestHandler):
    """Takes orders."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200, "stays" if STAYS else "follows")

    def do_PUT(self) -> None:
        try:
            STORE.sadd("orders", self.path.rpartition("/")[2])
        except RedisError as error:
            self.answer(500, str(error))
        else:
            self.answer(201, "stored")

    def answer(self, status: int, words: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words.encode())

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Orders).serve_forever()
