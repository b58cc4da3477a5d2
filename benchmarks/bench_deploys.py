"""An app of three instances is deployed again and again under load: requests that fail, and how long a deploy takes."""

import argparse
import time

from benchmarks.bench_apps import SERVER, SPEC
from benchmarks.table import Row, progress, publish
from tests.everup_cli import Everup
from tests.http_load import HttpLoad

LEAST_REQUESTS = 30_000


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks deploys", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="deploys that work (default 10); as many more do not")
    runs = parser.parse_args(argv).runs
    took, back = Row("deploy, three instances", "s"), Row("a revision that ends: the former one declared again", "s")
    with Everup(SPEC) as everup:
        (everup.folder / "server.py").write_text(SERVER)
        everup("up")
        with HttpLoad(everup.variables("web")["WEB_URL"], clients=12, pause_s=0.0005) as load:
            while len(took.values) < runs or len(load.requests()) < LEAST_REQUESTS:
                progress(f"deploys · {len(took.values) + 1} · {len(load.requests()):,} requests")
                begun_s = time.monotonic()
                everup("deploy", "web")
                took.add(time.monotonic() - begun_s)
            everup.write_spec(SPEC.replace("server.py", "missing.py"))
            for run in range(runs):
                progress(f"deploys · broken {run + 1} of {runs}")
                begun_s = time.monotonic()
                everup("deploy", "web", codes=(1,))
                back.add(time.monotonic() - begun_s)
            requests = load.stop()
    failed = [request for request in requests if request.error]
    took.notes = {"requests": f"{len(requests):,}", "failed": len(failed)}
    slowest = Row("slowest request", "ms")
    slowest.add(max(request.ended_s - request.sent_s for request in requests) * 1000)
    publish("deploys", [took, back, slowest])
    for request in failed[:5]:
        progress(f"failed: {request.error}")
