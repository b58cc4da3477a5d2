"""Metrics for Prometheus at /metrics, named by its conventions: what is, off the pictures, and what was counted."""

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from everup import __version__
from everup.api.desk import Desk
from everup.api.views import WORST_FIRST
from everup.core.check import check, meant_to_last
from everup.core.health import lag_bytes, service_health
from everup.core.plan import view_of
from everup.core.tally import Certified, Histogram, Vitals
from everup.model.access import OWNER, Level
from everup.model.desired import Blueprint, Node
from everup.model.observed import Role, View
from everup.model.picture import Picture

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Key = Sequence[object]
_T = TypeVar("_T")

WHERE = ["environment", "service"]
NODE = [*WHERE, "node"]


def metrics_routes(desk: Desk) -> APIRouter:
    """One page of text. Who may see one environment only sees the metrics of that one."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        """Every metric, in Prometheus' text format."""
        caller = getattr(request.state, "caller", OWNER)
        names = [name for name in desk.environments() if caller.may(Level.VIEWER, name)]
        page = exposition([desk.picture(name) for name in names], desk.vitals())
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def exposition(pictures: Iterable[Picture], vitals: Vitals) -> bytes:
    """The page: the metrics of these environments, and of the control plane itself."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Reading(Collector):
        """Makes the metrics when they are asked for."""

        def collect(self) -> "Iterator[Metric]":
            """All of them."""
            shown = list(pictures)
            yield from _services(shown)
            yield from _nodes(shown, vitals)
            yield from _counted(vitals, {one.environment.environment for one in shown})
            yield from _control_plane(vitals, {one.environment.environment for one in shown})

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Reading())
    return generate_latest(registry)


def _gauge(name: str, words: str, labels: Iterable[str] = ()) -> "GaugeMetricFamily":
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"everup_{name}", words, labels=list(labels))


def _histogram(name: str, words: str, labels: Iterable[str], values: Iterable[tuple[Key, Histogram]]) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"everup_{name}", words, labels=list(labels))
    for key, one in values:
        buckets = [("+Inf" if bound == float("inf") else f"{bound:g}", count) for bound, count in one.cumulated()]
        family.add_metric([str(part) for part in key], buckets, one.total)
    return family


def _services(pictures: list[Picture]) -> "Iterator[Metric]":
    health = _gauge("service_health", "1 for the health that the service is in.", [*WHERE, "kind", "health"])
    survives = _gauge("service_survives_node_loss", "1 while any one node of the service can be lost.", WHERE)
    redundant = _gauge("service_redundant_by_design", "1 where the service is meant to survive that.", WHERE)
    wanted = _gauge("service_nodes", "Nodes that the service is declared to have.", WHERE)
    ready = _gauge("service_nodes_ready", "Those of them that are ready.", WHERE)
    limit = _gauge("service_instances_limit", "How many instances the service may have.", WHERE)
    lost = _gauge("service_lost_writes", "Writes that failovers have lost, and that are kept.", WHERE)
    for picture in pictures:
        name = picture.environment.environment
        found = check(picture.blueprints, picture.observed, stopped=picture.stopped)
        survivors = {one.label for one in found.services if one.survives_node}
        for blueprint in picture.blueprints:
            key, view = [name, blueprint.label], view_of(blueprint, picture.observed)
            now = "stopped" if picture.stopped else service_health(blueprint, view)[0]
            for word in (*WORST_FIRST, "stopped"):
                health.add_metric([*key, blueprint.kind, word], word == now)
            survives.add_metric(key, blueprint.label in survivors)
            redundant.add_metric(key, meant_to_last(blueprint) and not picture.stopped)
            wanted.add_metric(key, len(blueprint.nodes))
            ready.add_metric(key, sum(view.status(node.id).ready for node in blueprint.nodes))
            if blueprint.limit is not None:
                limit.add_metric(key, blueprint.limit)
            lost.add_metric(key, sum(one.writes for one in picture.kept if one.service == blueprint.label))
    yield from (health, survives, redundant, wanted, ready, limit, lost)


def _nodes(pictures: list[Picture], vitals: Vitals) -> "Iterator[Metric]":
    ready = _gauge("node_ready", "1 while the node answers as it should.", [*NODE, "part"])
    primary = _gauge("node_primary", "1 while the node says that it is the primary.", NODE)
    lag = _gauge("node_replication_lag_bytes", "How far the node is behind its primary.", NODE)
    free = _gauge("node_disk_free_bytes", "What the node's disk has left for it.", NODE)
    size = _gauge("node_disk_size_bytes", "How large the node's disk is.", NODE)
    restarts: list[tuple[Key, int]] = []
    misses: list[tuple[Key, int]] = []
    for picture in pictures:
        name = picture.environment.environment
        meter = vitals.meters.get(name)
        for blueprint, node, view in _each(picture):
            key, status = [name, blueprint.label, node.id], view.status(node.id)
            state = status.state
            ready.add_metric([*key, node.part.value], status.ready)
            if status.role:
                primary.add_metric(key, status.role == Role.PRIMARY)
            if (behind := lag_bytes(node, view)) is not None:
                lag.add_metric(key, behind)
            if state.free_bytes is not None and state.disk_bytes is not None:
                free.add_metric(key, state.free_bytes)
                size.add_metric(key, state.disk_bytes)
            restarts.append((key, state.restarts))
            misses.append((key, meter.misses[node.id] if meter else 0))
    yield from (ready, primary, lag, free, size)
    yield _counts("node_restarts", "Starts of the node after its first.", NODE, restarts)
    yield _counts("node_probe_misses", "Probes that the node did not answer.", NODE, misses)


def _each(picture: Picture) -> Iterator[tuple[Blueprint, Node, View]]:
    for blueprint in picture.blueprints:
        view = view_of(blueprint, picture.observed)
        for node in blueprint.nodes:
            yield blueprint, node, view


def _counts(name: str, words: str, labels: Iterable[str], counts: Iterable[tuple[Key, float]]) -> "CounterMetricFamily":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"everup_{name}", words, labels=list(labels))
    for key, count in counts:
        family.add_metric([str(part).lower() if isinstance(part, bool) else str(part) for part in key], count)
    return family


def _counted(vitals: Vitals, shown: set[str]) -> "Iterator[Metric]":
    def visible(counts: Mapping[Any, _T]) -> list[tuple[Any, _T]]:
        return [(key, value) for key, value in counts.items() if key[0] in shown]

    tally = vitals.tally
    labels = [*WHERE, "cause", "drill"]
    yield _counts("events", "Events by name.", ["environment", "name"], visible(tally.events))
    yield _counts("role_changes", "How often another node became primary.", WHERE, visible(tally.role_changes))
    yield _counts("incidents", "Incidents that began, by what happened first.", labels, visible(tally.incidents))
    yield _counts("drills", "Drills that ended.", [*WHERE, "fault", "verdict"], visible(tally.drills))
    open_now = _gauge("incidents_open", "Incidents that are not over.", WHERE)
    for key, _ in visible(tally.episodes.open):
        open_now.add_metric(list(key), 1)
    yield open_now
    words = "How long the service stood still: in incidents as Everup saw it, in drills as clients measured it."
    yield _histogram("rto_seconds", words, [*WHERE, "source"], visible(tally.rto))
    words = "From what failed until the service was redundant again; drills left out."
    yield _histogram("incident_duration_seconds", words, WHERE, visible(tally.whole))


def _control_plane(vitals: Vitals, shown: set[str]) -> "Iterator[Metric]":
    build = _gauge("build_info", "1, with the versions of Everup and Python.", ["version", "python"])
    build.add_metric([__version__, platform.python_version()], 1)
    start = _gauge("start_time_seconds", "When the control plane started, in seconds since 1970.")
    start.add_metric([], datetime.fromisoformat(vitals.since_utc).timestamp())
    size = _gauge("store_size_bytes", "How much room the store takes on the disk.")
    size.add_metric([], vitals.store_bytes)
    turns = (((name,), meter.reconcile) for name, meter in vitals.meters.items() if name in shown)
    yield from (build, start, size)
    yield _histogram("event_loop_lag_seconds", "How late the event loop was.", (), [((), vitals.lag)])
    yield _histogram("reconcile_duration_seconds", "How long it took to look and to decide.", ["environment"], turns)
    yield from _certificate(vitals.certificate)
    waiting = _gauge("notifications_waiting", "Notifications that are not delivered yet.")
    waiting.add_metric([], vitals.waiting)
    yield waiting
    sent = [((outcome,), count) for outcome, count in vitals.notices.items()]
    yield _counts("notifications", "Notifications by what became of them.", ["outcome"], sent)


def _certificate(now: Certified | None) -> "Iterator[Metric]":
    words = "When the certificate that the API shows expires, in seconds since 1970."
    expiry = _gauge("certificate_expiry_timestamp_seconds", words)
    refused = _gauge("certificate_refused", "1 while the certificate's files hold what cannot be used.")
    if now:
        refused.add_metric([], bool(now.refused))
        if now.expires_s is not None:
            expiry.add_metric([], now.expires_s)
    yield from (expiry, refused)
