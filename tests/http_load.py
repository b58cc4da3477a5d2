"""Steady HTTP load from clients with kept-alive connections; every request is journalled, and none is tried twice."""

import http.client
import itertools
import threading
import time
from urllib.parse import urlsplit

from tests.journal import Write


class HttpLoad:
    """Clients that send numbered requests one after another until stopped.

    Args:
        url: where the app listens, such as `http://127.91.0.2:8080`.
        method, path, body: of every request; `{n}` in the path and the body becomes the number of the request.
        clients: how many send at the same time, each over one kept-alive connection.
        pause_s: what a client waits between two requests.
    """

    def __init__(
        self,
        url: str,
        *,
        method: str = "GET",
        path: str = "/",
        body: str = "",
        clients: int = 4,
        pause_s: float = 0.01,
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._method, self._path, self._body, self._pause_s = method, path, body, pause_s
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self._writes: list[Write] = []
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def __enter__(self) -> "HttpLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def requests(self) -> list[Write]:
        """Every request that has ended so far; `error` is None where the answer was 2xx."""
        return list(self._writes)

    def stop(self) -> list[Write]:
        """End the load; returns every request once the last one has ended."""
        self._over.set()
        for thread in self._threads:
            thread.join(70)
        return self.requests()

    def _client(self) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
        while not self._over.is_set():
            n = next(self._numbers)
            sent_s = time.monotonic()
            error = None
            try:
                path, body = (text.replace("{n}", str(n)) for text in (self._path, self._body))
                headers = {"Content-Length": str(len(body.encode())), "Content-Type": "application/json"}
                connection.request(self._method, path, body.encode(), headers)
                answer = connection.getresponse()
                said = answer.read()
                if not 200 <= answer.status < 300:
                    error = f"HTTP {answer.status}: {said[:100].decode(errors='replace')}"
            except (OSError, http.client.HTTPException) as caught:
                error = f"{type(caught).__name__}: {caught}"
                connection.close()
            self._writes.append(Write(n, sent_s, time.monotonic(), error))
            self._over.wait(self._pause_s)
        connection.close()
