"""A real HTTP server that takes notifications."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

SECRET = "a-token-in-the-path"


class Receiver(ThreadingHTTPServer):
    """Takes JSON messages, after it has failed `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        super().__init__(("127.0.0.1", 0), Receipt)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server_port}/{SECRET}"

    @contextmanager
    def open(self) -> "Iterator[Receiver]":
        thread = Thread(target=self.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class Receipt(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked += 1
        if server.asked > server.failures:
            server.taken.append(body)
        self.send_response(200 if server.asked > server.failures else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
