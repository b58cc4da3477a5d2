"""The writers of drills, each against the real thing that it writes to."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from everup.drills.clients import HttpClient, Unacknowledged
from everup.drills.load import Heart
from everup.drills.run import patient, until
from everup.model.errors import Inconclusive

REQUESTS: list[tuple[str, str]] = []
BODIES: list[tuple[str | None, str]] = []


class App(BaseHTTPRequestHandler):
    """Takes orders, has no page of the name /missing, and breaks at /broken."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        REQUESTS.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        BODIES.append((self.headers.get("Content-Type"), body))
        self.send_response({"/missing": 404, "/broken": 500}.get(self.path, 200))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), App) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_app_acknowledges_with_any_answer_of_its_own(url: str):
    for path in ("/", "/missing"):
        client = HttpClient({"URL": url, "PATH": path}, "x")
        client.write(1)
        client.close()
    broken = HttpClient({"URL": url, "PATH": "/broken"}, "x")
    with pytest.raises(Unacknowledged, match="HTTP 500"):
        broken.write(1)
    assert Unacknowledged in broken.failures
    broken.close()


def test_a_request_may_carry_the_number(url: str):
    client = HttpClient({"URL": url, "PATH": "/orders/{n}", "METHOD": "PUT"}, "x")
    client.write(7)
    client.close()
    assert REQUESTS[-1] == ("PUT", "/orders/7")
    assert client.survivors() is None


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ('{"key": "{run}-{n}"}', ("application/json", '{"key": "place_1-7"}')),
        ("[{n}]", ("application/json", "[7]")),
        ("key={n}&run={run}", ("application/x-www-form-urlencoded", "key=7&run=place_1")),
        ("", (None, "")),
    ],
)
def test_a_request_carries_what_makes_an_app_write(url: str, body: str, sent: tuple[str | None, str]):
    client = HttpClient({"URL": url, "PATH": "/orders?by={run}", "METHOD": "POST", "BODY": body}, "place_1")
    client.write(7)
    client.close()
    assert (REQUESTS[-1], BODIES[-1]) == (("POST", "/orders?by=place_1"), sent)


def test_a_request_that_is_to_write_is_not_acknowledged_by_a_refusal(url: str):
    client = HttpClient({"URL": url, "PATH": "/missing", "METHOD": "POST", "BELOW": "400"}, "x")
    with pytest.raises(Unacknowledged, match="HTTP 404"):
        client.write(1)
    client.close()


def writer(settings: dict[str, str], number: int = 0) -> "subprocess.Popen[str]":
    rhythm = {"every_s": 0.001, "after_error_s": 0.001, "reads": False}
    told = {"client": "http", "settings": settings, "place": "x", "writer": number, **rhythm}
    command = [sys.executable, "-P", "-m", "everup.drills.writer"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    process.stdin.write(json.dumps(told) + "\n")
    process.stdin.flush()
    return process


def journal(process: "subprocess.Popen[str]", count: int) -> list[list[object]]:
    assert process.stdout
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def test_a_writer_journals_every_attempt_with_a_number_of_its_own_until_it_is_stopped(url: str):
    with writer({"URL": url, "PATH": "/"}, number=2) as process:
        lines = journal(process, 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert [line[0] for line in lines] == list(range(2_000_000_001, 2_000_000_011))
    assert all(line[1] <= line[2] and line[3] is None for line in lines)


def test_a_writer_does_not_outlive_its_conductor(url: str):
    with writer({"URL": url, "PATH": "/"}) as process:
        journal(process, 3)
        assert process.stdin and process.stdout
        process.stdin.close()
        while process.stdout.readline():
            pass
        assert process.wait(120) == 0


def test_a_writer_says_what_went_wrong_and_goes_on(url: str):
    with writer({"URL": url, "PATH": "/broken"}) as process:
        lines = journal(process, 3)
        process.terminate()
    assert [line[3] for line in lines] == ["Unacknowledged: HTTP 500"] * 3


def test_patience_ends():
    attempts: list[int] = []

    def work() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("not yet")
        return "done"

    assert patient(work, (OSError,), 60.0) == "done"
    with pytest.raises(Inconclusive, match="never"):
        patient(lambda: (_ for _ in ()).throw(OSError("never")), (OSError,), 0.0)
    assert not until(lambda: False, 0.0)


def test_the_heart_notes_only_what_came_late():
    with Heart() as heart:
        pass
    assert all(pulse.late_s > 0 for pulse in heart.pulses)
