"""Deploys of a real app under load: none of its requests fails, whether the new revision works or not."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.everup_cli import Everup
from tests.http_load import HttpLoad

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SERVER = """\
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
if sys.argv[1] == "ends":
    sys.exit("no such shop")
class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(500 if sys.argv[1] == "errs" else 200)
        self.send_header("Content-Length", str(len(sys.argv[1])))
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
    def do_POST(self):
        self.do_GET()
    def log_message(self, *_):
        pass
ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Page).serve_forever()
"""
SPEC = """\
environment: shop
services:
  web: {{kind: app, run: python -IS web.py {version}, health: /, scale: 1, limit: 3, ready_within: {patience}}}
"""
PATIENT, IMPATIENT = "90s", "3s"
"""The second is for revisions that never work, however slow the machine is."""


def spec(version: str, patience: str = PATIENT) -> str:
    return SPEC.format(version=version, patience=patience)


@pytest.fixture(scope="module")
def shop() -> Iterator[Everup]:
    """An app of one instance that is up, and runs `one`; each test leaves it whole."""
    with Everup(spec("one")) as everup:
        (everup.folder / "web.py").write_text(SERVER)
        everup("up")
        yield everup


@pytest.fixture
def load(shop: Everup) -> Iterator[HttpLoad]:
    """Requests that must not be repeated, so that nothing is hidden by a second try; none may fail."""
    with HttpLoad(shop.variables("web")["WEB_URL"], method="POST", clients=4, pause_s=0.005) as requests:
        yield requests
        answered = requests.stop()
    assert answered
    assert [one.error for one in answered if one.error] == []


def revision(everup: Everup) -> tuple[int, str]:
    known = everup.service("web")["revision"]
    return known["number"], known["trial"]


def test_one_instance_is_replaced_and_no_request_fails(shop: Everup, load: HttpLoad):
    before, pid = revision(shop)[0], shop.nodes("web")["web-1"]["pid"]
    shop.write_spec(spec("two"))
    assert shop.json("deploy", "web")["revision"] == before + 1
    assert revision(shop) == (before + 1, "good")
    assert shop.nodes("web")["web-1"]["pid"] != pid
    assert set(shop.nodes("web")) == {"web-1", "web-endpoint"}
    assert shop.json("rollback", "web")["revision"] == before
    shop("scale", "web", "3")
    shop("restart", "web")


@pytest.mark.parametrize("trouble", ["ends", "errs"])
def test_a_revision_that_does_not_work_is_rolled_back_and_no_request_fails(shop: Everup, load: HttpLoad, trouble: str):
    before = revision(shop)[0]
    nodes = {node_id: node["pid"] for node_id, node in shop.nodes("web").items()}
    shop.write_spec(spec(trouble, IMPATIENT))
    failed = shop("deploy", "web", codes=(1,)).stderr
    assert f"revision {before} comes back" in failed
    assert ("no such shop" if trouble == "ends" else "HTTP 500") in failed
    assert revision(shop) == (before, "good")
    assert {node_id: node["pid"] for node_id, node in shop.nodes("web").items() if node_id in nodes} == nodes


def test_the_control_plane_dies_in_the_middle_of_a_deploy(shop: Everup, load: HttpLoad):
    shop.write_spec(spec("three"))
    wanted = shop.json("deploy", "web", "--no-wait")["revision"]
    give_up_s = time.monotonic() + 120
    while "web-surge" not in shop.nodes("web"):
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    os.kill(shop.control_plane(), signal.SIGKILL)
    while revision(shop) != (wanted, "good"):
        assert time.monotonic() < give_up_s, shop.status()
        time.sleep(0.2)
