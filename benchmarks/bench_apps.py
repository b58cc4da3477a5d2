"""An app of three instances loses one after another under load: requests that fail, and time until it accepts again."""

import argparse
import socket
import subprocess
import time

from benchmarks.table import Row, progress, publish
from tests.everup_cli import Everup
from tests.http_load import HttpLoad

SPEC = """\
environment: bench-apps
services:
  web:
    kind: app
    run: python -IS server.py $HOST $PORT
    health: /
    scale: 3
"""
SERVER = """\
import http.server, sys

class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body go out at once: nobody can save an answer that is cut in its middle

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\\n")

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Page).serve_forever()
"""


def accepts(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=0.2):
            return True
    except OSError:
        return False


def accepted_after_ms(node: dict[str, object], everup: Everup) -> float:
    """Kill an instance; milliseconds until its address accepts connections again, its own start-up included."""
    host, port = str(node["address"]), int(str(node["port"]))
    killed_s = everup.kill(node)
    while accepts(host, port):  # until the kernel has ended it
        time.sleep(0.0005)
    while not accepts(host, port):
        if time.monotonic() > killed_s + 30:
            raise TimeoutError(f"{node['id']} does not accept again")
        time.sleep(0.0005)
    return (time.monotonic() - killed_s) * 1000


def own_start_up_ms(everup: Everup) -> float:
    """Milliseconds that the same server needs from exec to accepting, without Everup."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started_s = time.monotonic()
    command = ["python", "-IS", str(everup.folder / "server.py"), "127.0.0.1", str(port)]
    with subprocess.Popen(command, env=everup.environ, stdin=subprocess.DEVNULL) as process:
        while not accepts("127.0.0.1", port):
            time.sleep(0.0005)
        took_ms = (time.monotonic() - started_s) * 1000
        process.kill()
    return took_ms


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks apps", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="instances killed (default 20)")
    runs = parser.parse_args(argv).runs
    again, own = Row("killed instance accepts again", "ms"), Row("its own start-up, under the same load", "ms")
    with Everup(SPEC) as everup:
        (everup.folder / "server.py").write_text(SERVER)
        everup("up")
        with HttpLoad(everup.variables("web")["WEB_URL"], clients=8, pause_s=0.005) as load:
            time.sleep(2.0)  # so that every client has its connection
            for run in range(runs):
                progress(f"apps · kill {run + 1} of {runs}")
                again.add(accepted_after_ms(everup.nodes("web")[f"web-{run % 3 + 1}"], everup))
                everup.wait_healthy()
                time.sleep(0.5)
                own.add(own_start_up_ms(everup))  # under the same load
                time.sleep(0.5)
            requests = load.stop()
    failed = [request for request in requests if request.error]
    again.notes = {"requests": f"{len(requests):,}", "failed": len(failed)}
    slowest = Row("slowest request", "ms")
    slowest.add(max(request.ended_s - request.sent_s for request in requests) * 1000)
    publish("apps", [again, own, slowest])
    for request in failed[:5]:
        progress(f"failed: {request.error}")
