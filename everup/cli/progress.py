"""Following a change until it is done: live on a terminal, line by line elsewhere."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from everup.cli import render
from everup.cli.client import Client
from everup.model.errors import EverupError, NotFound

Json = dict[str, Any]

POLL_S = 0.15
HOPELESS_S = 6.0
"""Seconds after which a start is given up when everything that lacks has failed again and again."""


EVENT_S = 30.0
"""Seconds that somebody waits, at most, for an event that says how a change went."""

UNTOLD = {"operation.started", "control.started", "node.suspect"}
"""Events that the line-by-line progress leaves out; `everup events` has them all."""

TOLD_ONCE = {"node.failed", "service.held"}
"""Events that come again with every attempt; the first of a node or service says it all."""


class NotReady(EverupError):
    """A change was taken up, and is not done in time."""

    default_code = "not_ready"


class Screen:
    """Shows how far it is; a context manager.

    On a terminal the services with a spinner and the newest event, gone at the end; elsewhere one line per event.
    `quiet` shows lines on stderr, so that stdout stays one JSON object.
    """

    def __init__(self, title: str, *, quiet: bool) -> None:
        self._title = title
        self._console = render.console(stderr=quiet)
        self._live = Live(console=self._console, transient=True, auto_refresh=True, refresh_per_second=12)
        self._is_live = self._console.is_terminal and not quiet
        self._newest: Json | None = None
        self._told: set[tuple[Any, ...]] = set()

    def __enter__(self) -> "Screen":
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_live:
            self._live.stop()

    def show(self, body: Json | None, events: list[Json]) -> None:
        """Draw the newest state."""
        if not self._is_live:
            for event in events:
                if self._is_news(event):
                    self._console.print(render.event_line(event))
            return
        self._newest = events[-1] if events else self._newest
        rows = [render.service_row(_under_way(one, body)) for one in body["services"]] if body else []
        parts: list[RenderableType] = [Spinner("dots", Text(self._title), style="cyan"), Text(), render.grid(rows)]
        if self._newest:
            parts += [Text(), Text.assemble("  ", render.event_line(self._newest))]
        self._live.update(Group(*parts))

    def _is_news(self, event: Json) -> bool:
        if event["name"] not in TOLD_ONCE:
            return event["name"] not in UNTOLD
        key = (event["name"], event["service"], event["node"])
        known = key in self._told
        self._told.add(key)
        return not known


def _under_way(service: Json, body: Json) -> Json:
    """A service as shown while it is on its way: how many nodes are ready, or the first that cannot start."""
    if body["stopped"]:
        left = sum(node["pid"] is not None for node in service["nodes"])
        return {**service, "health": "stopping" if left else "stopped", "because": f"{left} nodes left" if left else ""}
    if service["health"] == "healthy":
        return service
    failed = next((f"{node['id']}: {node['failure']}" for node in service["nodes"] if node["failure"]), "")
    ready = sum(node["health"] == "ready" for node in service["nodes"])
    health = service["health"] if failed or service["health"] != "down" else "starting"
    return {**service, "health": health, "because": failed or f"{ready} of {len(service['nodes'])} nodes ready"}


class Follower:
    """Asks again and again how an environment does, from the moment it was made.

    `failed_revisions` says by label what became of revisions that did not work since then.
    """

    def __init__(self, client: Client, environment: str) -> None:
        self._client = client
        self._path = f"environments/{environment}"
        self._seq = 0
        self._begun_utc = datetime.now(UTC).isoformat()
        self.failed_revisions: dict[str, str] = {}
        with contextlib.suppress(NotFound):
            for event in client.lines(f"{self._path}/events", after=0, follow=False):
                self._seq = event["seq"]

    def watch(self, screen: Screen, timeout_s: float) -> Iterator[tuple[float, Json | None]]:
        """Show and yield (seconds since the beginning, status) until `timeout_s`; None: it is gone."""
        begun_s = time.monotonic()
        while True:
            body, events = self._look()
            screen.show(body, events)
            spent_s = time.monotonic() - begun_s
            yield spent_s, body
            if spent_s >= timeout_s:
                return
            time.sleep(POLL_S)

    def _look(self) -> tuple[Json | None, list[Json]]:
        try:
            events = list(self._client.lines(f"{self._path}/events", after=self._seq, follow=False))
            body = self._client.get(self._path)
        except NotFound:
            return None, []
        if events:
            self._seq = events[-1]["seq"]
        self.failed_revisions |= {one["service"]: one["text"] for one in events if one["name"] == "revision.failed"}
        return body, [one for one in events if _later(one["at"], self._begun_utc)]

    def catch_up(self) -> None:
        """Take in what happened up to now, and show nothing."""
        self._look()

    def await_field(self, event: str, label: str, field: str) -> Any:
        """What the first such event of a service since the beginning says of `field`; None if none comes soon."""
        for _ in range(int(EVENT_S / POLL_S)):
            for one in self._client.lines(f"{self._path}/events", after=self._seq, follow=False):
                self._seq = one["seq"]
                if (one["name"], one["service"]) == (event, label):
                    return one["fields"].get(field)
            time.sleep(POLL_S)
        return None

    def last_lines(self, node: str, count: int) -> list[str]:
        """The newest lines that a node printed; empty when there are none to be had."""
        try:
            return [one["line"] for one in self._client.lines(f"{self._path}/logs/{node}", lines=count, follow=False)]
        except EverupError:
            return []


def _later(at: str, moment: str) -> bool:
    """Did it happen after `moment`, to the second? An environment may carry the events of an earlier life."""
    return datetime.fromisoformat(at).replace(microsecond=0) >= datetime.fromisoformat(moment).replace(microsecond=0)


def settle(follower: Follower, screen: Screen, *, timeout_s: float, label: str | None = None) -> Json:
    """Follow until everything, or the service `label`, is as declared and healthy; returns that status.

    Raises:
        NotReady: it is not within `timeout_s` seconds, or what lacks only fails again and again.
        NotFound: the environment is gone.
    """
    hopeless_since_s: float | None = None
    spent_s, body = 0.0, None
    for spent_s, body in follower.watch(screen, timeout_s):
        if body is None:
            raise NotFound("the environment is gone: somebody destroyed it meanwhile")
        if body["stopped"]:
            raise NotReady("the environment was stopped meanwhile", "everup up starts it again", code="stopped")
        if settled(body, label):
            follower.catch_up()
            _refuse_failed(follower, label)
            return body
        if not hopeless(body, label):
            hopeless_since_s = None
        elif hopeless_since_s is None:
            hopeless_since_s = spent_s
        elif spent_s - hopeless_since_s >= HOPELESS_S:
            break
    assert body is not None
    raise _not_ready(follower, body, label, spent_s)


def settled(body: Json, label: str | None = None) -> bool:
    """Is everything, or one service, as declared and healthy?"""
    if label is None:
        return bool(body["settled"])
    service = next((one for one in body["services"] if one["label"] == label), None)
    if service is None:
        return False
    own = {node["id"] for node in service["nodes"]}
    rolling = service["revision"] is not None and service["revision"]["trial"] == "rolling"
    changing = rolling or any(one["node"] in own for one in body["pending"])
    return service["health"] == "healthy" and not changing


def _refuse_failed(follower: Follower, label: str | None) -> None:
    """Say so if a revision of that service, or of any, did not work and the former one came back."""
    failed = {one: text for one, text in follower.failed_revisions.items() if label in (None, one)}
    for one, text in failed.items():
        raise NotReady(text, f"everup logs {one} shows more; the former revision serves.", code="rolled_back", at=one)


def hopeless(body: Json, label: str | None = None) -> bool:
    """Does everything that lacks, and waits for nothing else, fail to start?"""
    waiting = {one["node"] for one in body["waiting"]}
    nodes = [node for node in _lacking(body, label) if node["failure"] or node["id"] not in waiting]
    return bool(nodes) and all(node["failure"] for node in nodes)


def _lacking(body: Json, label: str | None) -> list[Json]:
    services = [one for one in body["services"] if label in (None, one["label"])]
    return [node for one in services for node in one["nodes"] if node["health"] != "ready"]


def _not_ready(follower: Follower, body: Json, label: str | None, spent_s: float) -> NotReady:
    lacking = sorted(_lacking(body, label), key=lambda node: not node["failure"])
    labels = [one["label"] for one in body["services"] if any(node in one["nodes"] for node in lacking)]
    words = [f"{', '.join(labels) or body['environment']} is not ready after {spent_s:.0f} s"]
    for node in lacking[:4]:
        words.append(f"    {node['id']} is {node['health']}: {node['because'] or 'not looked at yet'}")
    words += [f"    and {len(lacking) - 4} more"] if len(lacking) > 4 else []
    waits = {one["node"]: one["because"] for one in body["waiting"]}
    due = [(one["action"], one["node"], waits.get(one["node"], one["because"])) for one in body["pending"]]
    words += [f"    {action} {node}: {because}" for action, node, because in due] if not lacking else []
    failed = next((node["id"] for node in lacking), None)
    lines = follower.last_lines(failed, 6) if failed else []
    if lines:
        words += [f"  the last lines of {failed}:", *(f"    {line}" for line in lines)]
    more = f"everup logs {failed} shows more. " if failed else ""
    hint = f"{more}The control plane goes on trying; everup down stops everything."
    return NotReady("\n".join(words), hint, at=failed or body["environment"])
