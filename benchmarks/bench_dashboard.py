"""The dashboard's price and speed: 50 browsers that listen, an event's way to them, a dead primary's way to the eye."""

import argparse
import asyncio
import contextlib
import json
import random
import time
from datetime import UTC, datetime

import httpx

from benchmarks.table import Row, progress, publish
from benchmarks.weight import cpu_percent, rss_mb
from tests.browser import MISSING, Browser
from tests.everup_cli import Everup

LISTENERS = 50

SPEC = """\
environment: bench-dashboard
services:
  redis01: {kind: redis, ha: true}
  redis02: {kind: redis, ha: true}
  sleeper: {kind: worker, run: sleep 100000, scale: 6, limit: 10}
"""


LOOK_S = 20.0
"""A page that is in sight is asked for again this often even when nothing happens, as its script does."""

PACE_S = 0.25
"""While things happen, it is asked for again this often, as its script does."""


class Listeners:
    """So many browsers' worth of subscribers, each with a connection of its own, and with its looks at the page."""

    def __init__(self, urls: list[str]) -> None:
        self._browsers = {url: httpx.AsyncClient(timeout=None, verify=False, follow_redirects=True) for url in urls}
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self.opened = 0
        self.late_ms: list[float] = []

    async def open(self) -> None:
        """Sign in, and listen; returns once all do, and what came before is not counted."""
        for number, (url, browser) in enumerate(self._browsers.items()):
            await browser.get(url)
            news = url.partition("/sign-in")[0] + "/e/bench-dashboard/news"
            self._tasks.append(asyncio.create_task(self._listen(browser, news)))
            self._tasks.append(asyncio.create_task(self._look(browser, news, number)))
        async with asyncio.timeout(60):
            while self.opened < LISTENERS:  # noqa: ASYNC110 - fifty tasks count it up
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        self.late_ms.clear()

    async def _listen(self, browser: httpx.AsyncClient, news: str) -> None:
        async with browser.stream("GET", news) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                now = datetime.now(UTC)
                self.opened += line.startswith(": ")
                if line.startswith("data: "):
                    said_at = datetime.fromisoformat(json.loads(line[6:])["at"])
                    self.late_ms.append((now - said_at).total_seconds() * 1000)
                    self._news.set()

    async def _look(self, browser: httpx.AsyncClient, news: str, number: int) -> None:
        await asyncio.sleep(LOOK_S * number / LISTENERS)  # people open pages at any time
        while True:
            (await browser.get(f"{news.removesuffix('/news')}?live=1")).raise_for_status()
            await asyncio.sleep(PACE_S)
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_S)
                await asyncio.sleep(random.random() * min(0.02 * (LISTENERS - 1), 1.2))  # a moment of its own

    async def close(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for browser in self._browsers.values():
            await browser.aclose()


async def listen(everup: Everup, runs: int, rows: dict[str, Row]) -> None:
    """Idle cost without and with listeners, and how late events are."""
    pid = everup.control_plane()
    await asyncio.sleep(5.0)  # what starting the nodes left to do is done
    for _ in range(runs):
        rows["alone"].add(await asyncio.to_thread(cpu_percent, [pid], 6.0))
    rows["rss alone"].add(rss_mb(pid))
    await asyncio.to_thread(fail_over, everup, runs, rows["failover alone"])
    with everup.api() as owner:
        urls = [owner.post("/v1/dashboard", json={}).json()["url"] for _ in range(LISTENERS)]
    listeners = Listeners(urls)
    await listeners.open()
    await asyncio.sleep(5.0)  # the browsers' first looks are over
    for run in range(runs):
        progress(f"dashboard · {LISTENERS} listeners, window {run + 1} of {runs}")
        rows["listened"].add(await asyncio.to_thread(cpu_percent, [pid], 6.0))
    rows["rss listened"].add(rss_mb(pid))
    for run in range(runs):
        progress(f"dashboard · events, run {run + 1} of {runs}")
        await asyncio.to_thread(everup, "restart", "sleeper")
        await asyncio.to_thread(everup.wait_healthy)
    for late_ms in listeners.late_ms:
        rows["late"].add(late_ms)
    await asyncio.to_thread(fail_over, everup, runs, rows["failover watched"])
    await listeners.close()


def fail_over(everup: Everup, runs: int, row: Row) -> None:
    """How long failovers take, from the confirmed death to the end of the operation."""
    for run in range(runs):
        progress(f"dashboard · {row.what}, run {run + 1} of {runs}")
        time.sleep(3.0)  # the looks at what was before are over
        everup.kill(everup.primary("redis02"))
        everup.wait_healthy()
        lines = everup("events", "-n", "200", "--json").stdout.splitlines()
        ended = [one["fields"] for one in map(json.loads, lines) if one["name"] == "operation.ended"]
        row.add(next(one["took_ms"] for one in reversed(ended) if one["operation"] == "failover" and one["done"]))


def watch(everup: Everup, runs: int, row: Row) -> None:
    """How long after a primary is killed the picture in a browser shows it."""
    with Browser() as browser:
        browser.driver.get(everup.json("dashboard")["url"])
        browser.wait(lambda: "live" in browser.text())
        shown = "return document.querySelector('.wide [data-service=redis01]').dataset.state"
        for run in range(runs):
            progress(f"dashboard · kill, run {run + 1} of {runs}")
            browser.wait(lambda: browser.ask(shown) == "healthy")
            time.sleep(1.0)  # a look that is on its way would see the kill by chance
            killed_s = everup.kill(everup.primary("redis01"))
            browser.wait(lambda: browser.ask(shown) != "healthy", every_s=0.005)
            row.add((time.monotonic() - killed_s) * 1000)
            everup.wait_healthy()


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks dashboard", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="windows of 6 seconds, restarts and kills (default 10)")
    runs = parser.parse_args(argv).runs
    rows = {
        "alone": Row("control plane CPU, nobody listens, of one core", "%"),
        "listened": Row(f"control plane CPU, {LISTENERS} listen, of one core", "%"),
        "late": Row(f"an event until each of {LISTENERS} listeners has it", "ms"),
        "seen": Row("kill -9 of a primary until a browser shows it", "ms"),
        "failover alone": Row("failover of Redis, nobody looks", "ms"),
        "failover watched": Row(f"failover of Redis, {LISTENERS} look", "ms"),
        "rss alone": Row("control plane RSS, dashboard never opened", "MB"),
        "rss listened": Row(f"control plane RSS, {LISTENERS} listen", "MB"),
    }
    with Everup(SPEC) as everup:
        everup("up")
        asyncio.run(listen(everup, runs, rows))
        if MISSING:
            rows.pop("seen").notes = {"left out": MISSING}
        else:
            watch(everup, runs, rows["seen"])
    publish("dashboard", list(rows.values()))
