"""A small desk: real model values held in memory, decided by the real core."""

from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Any

from everup.core.chain import ORIGIN, seal
from everup.core.parting import Occupants, Site
from everup.core.permission import check
from everup.core.plan import preview
from everup.core.tally import QUICK_S, Certified, Histogram, Meter, Tally, Vitals
from everup.model.access import Caller
from everup.model.audit import Deed
from everup.model.desired import Blueprint, Endpoint, Node, Part, Probe, Protocol, Tcp
from everup.model.drill import Drill, DrillFault, Scene, Targets, Wish
from everup.model.errors import EverupError, Flaw, NodeFailed, NotFound, NotPermitted, Refused, SpecError, Unavailable
from everup.model.events import Event
from everup.model.ledger import Kept
from everup.model.notices import Delivery, Destination
from everup.model.observed import (
    EVERYWHERE,
    Ground,
    Group,
    Health,
    Host,
    NodeState,
    NodeStatus,
    Observed,
    Reading,
    Role,
)
from everup.model.picture import Change, Foresight, Picture
from everup.model.secret import Secret
from everup.model.spec import Environment, Service, Source

SOURCE = Source(file="/srv/shop/everup.yaml", text="environment: shop\n", directory="/srv/shop", path="/bin")


def node(node_id: str, service: str, part: Part, port: int) -> Node:
    """A node that listens on one address of its own."""
    listen = Tcp("127.91.0.9", port)
    probe = Probe(Protocol.CONNECT, listen, lambda replies: Reading(ready=bool(replies)))
    return Node(node_id, service, part, "true", (), probe, ports={"main": listen})


def redis() -> Blueprint:
    """Two data nodes, one Sentinel and an endpoint."""
    nodes = (
        node("redis01-1", "redis01", Part.DATA, 6379),
        node("redis01-2", "redis01", Part.DATA, 6380),
        node("redis01-sentinel-1", "redis01", Part.VOTER, 26379),
        node("redis01-endpoint", "redis01", Part.ENDPOINT, 6399),
    )
    endpoint = Endpoint("redis://:hunter2@127.91.0.9:6399", "redis01-endpoint")
    return Blueprint("redis01", "redis", True, nodes, endpoint=endpoint)


def web(scale: int = 2) -> Blueprint:
    """Instances behind no endpoint, within a limit of 6."""
    nodes = tuple(node(f"web-{n}", "web", Part.INSTANCE, 8080 + n) for n in range(1, scale + 1))
    return Blueprint("web", "app", False, nodes, needs=("redis01",), scale=scale, limit=6)


def ready(one: Node, role: Role | None = None) -> NodeStatus:
    """A node that runs as declared and answers."""
    state = NodeState(
        running=True,
        service=one.service,
        digest=one.digest,
        files_digest=one.files_digest,
        pid=4711,
        since_utc="2026-11-22T14:00:00Z",
        generation=1 if one.part == Part.DATA else None,
        free_bytes=40 << 30,
        disk_bytes=100 << 30,
    )
    return NodeStatus(
        Health.READY,
        state,
        Reading(ready=True, role=role, lags_bytes={"127.91.0.9:6380": 17} if role == Role.PRIMARY else {}),
    )


def kept(label: str, writes: int, size_bytes: int) -> Kept:
    """An entry of the ledger of lost writes."""
    pair = (f"{label}-1", f"{label}-2")
    moment = "2026-11-22T14:03:22.000+00:00"
    place = f"/srv/lost/20261122T140322-{pair[0]}"
    span = ("5001", str(5000 + size_bytes))
    return Kept(label, *pair, moment, writes, size_bytes, *span, True, False, "", place, ("commands.aof",), ("a", "b"))


def world(*blueprints: Blueprint) -> Picture:
    """Everything declared is ready; redis01-1 is primary."""
    roles = {"redis01-1": Role.PRIMARY, "redis01-2": Role.REPLICA}
    nodes = {one.id: ready(one, roles.get(one.id)) for blueprint in blueprints for one in blueprint.nodes}
    observed = Observed(1.0, nodes, {"redis01": Group("redis01-1", 1)})
    services = {blueprint.label: Service(kind=blueprint.kind) for blueprint in blueprints}
    environment = Environment(environment="shop", services=services)
    return Picture(environment, SOURCE, blueprints, observed, control_pid=1, control_since_utc="2026-11-22T13:00:00Z")


def on_hosts(picture: Picture, **grounds: Ground) -> Picture:
    """The same world with its nodes spread over these hosts, in turn; endpoints are on all of them."""
    names = list(grounds)
    nodes = {}
    for number, (name, one) in enumerate(picture.observed.nodes.items()):
        host = names[number % len(names)]
        there = {"host": host, "address": "10.0.0.9", "ground": grounds[host]}
        state = replace(one.state, host=EVERYWHERE) if "endpoint" in name else replace(one.state, **there)
        nodes[name] = replace(one, state=state)
    return replace(picture, observed=replace(picture.observed, nodes=nodes))


class SmallMessenger:
    """Keeps destinations in memory; those named `deaf` take nothing."""

    def __init__(self) -> None:
        self.known: dict[str, Destination] = {}

    def destinations(self) -> tuple[Destination, ...]:
        return tuple(self.known.values())

    async def add(self, destination: Destination, url: str) -> None:
        if destination.name in self.known:
            raise Refused(f"there is a destination {destination.name}")
        self.known[destination.name] = destination

    async def remove(self, name: str) -> None:
        if self.known.pop(name, None) is None:
            raise NotFound(f"there is no destination {name}")

    async def test(self, name: str | None) -> tuple[Delivery, ...]:
        return tuple(
            Delivery(one.name, one.name != "deaf", "it did not answer" if one.name == "deaf" else "")
            for one in self.known.values()
            if name in (None, one.name)
        )


class SmallTrail:
    """An audit log in memory; it takes `room` entries more, if that is not None."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.room: int | None = None

    async def append(self, deed: Deed) -> int:
        if self.room == 0:
            raise EverupError("the store refused a write: the disk is full", code="store.refused")
        self.room = None if self.room is None else self.room - 1
        entry = deed.entry(len(self.entries) + 1)
        former = self.entries[-1]["hash"] if self.entries else ORIGIN
        self.entries.append({**entry, "hash": seal(former, entry)})
        return len(self.entries)

    def page(self, after: int, limit: int) -> list[dict[str, Any]]:
        return self.entries[after:][:limit]


class SmallSecrets:
    """Secrets in memory."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], str] = {}

    async def put(self, environment: str, name: str, value: str, by: str) -> Secret:
        self.values[environment, name] = value
        return Secret(name, "2026-11-22T14:00:00+00:00", by, ("web",))

    async def remove(self, environment: str, name: str) -> None:
        if (environment, name) not in self.values:
            raise NotFound(f"{environment} has no secret {name}", name=name)
        del self.values[environment, name]

    def kept(self, environment: str) -> list[Secret]:
        return [
            Secret(name, "2026-11-22T14:00:00+00:00", "owner") for where, name in self.values if where == environment
        ]


class SmallDesk:
    """A desk over one picture; it remembers what it was told to do."""

    def __init__(self, picture: Picture) -> None:
        self.pictures = {"shop": picture}
        self.done: list[tuple[object, ...]] = []
        self.happened = [
            Event("node.started", "shop", "2026-11-22T14:00:00Z", "web", "web-1", {"because": "it is declared"}, 1),
            Event("node.ready", "shop", "2026-11-22T14:00:01Z", "web", "web-1", {"after_s": 0.31}, 2),
        ]
        self.drilled: list[Drill] = []
        self.tally = Tally()
        self.messenger = SmallMessenger()
        self.breaks: EverupError | None = None
        self.trail = SmallTrail()
        self.secrets = SmallSecrets()

    def environments(self) -> list[str]:
        return list(self.pictures)

    def picture(self, environment: str) -> Picture:
        if environment not in self.pictures:
            raise NotFound(f"no environment {environment} runs here", "everup up", environment=environment)
        return self.pictures[environment]

    def vitals(self) -> Vitals:
        meters = {name: Meter() for name in self.pictures}
        certificate = Certified(1.8e9, "key values mismatch")
        since_utc = "2026-11-22T14:00:00+00:00"
        return Vitals(self.tally, meters, Histogram(QUICK_S), 4096, since_utc, {"sent": 2}, certificate=certificate)

    def variables(self, environment: str) -> dict[str, dict[str, str]]:
        self.picture(environment)
        return {"redis01": {"REDIS_URL": "redis://:hunter2@127.91.0.9:6399"}}

    def connect(self, environment: str, label: str, language: str) -> str:
        self._blueprint(environment, label)
        return f"# {language}\nredis.Redis.from_url('redis://127.91.0.9:6399')\n"

    async def plan(self, source: Source, caller: Caller) -> tuple[tuple[Change, ...], tuple[Foresight, ...]]:
        if "broken" in source.text:
            raise SpecError(source.file, (Flaw("kind is missing", 3, 5, "Say which."), Flaw("no such key", 4, 1)))
        if "taken" in source.text:
            raise NodeFailed("the address 127.0.0.1:80 is in use", code="engine.address_in_use")
        if "away" in source.text:
            raise Unavailable("the engine does not answer")
        if "forbidden" in source.text:
            raise NotPermitted("only operators may")
        name = source.text.partition("environment: ")[2].split()[0] if "environment: " in source.text else "shop"
        check(caller, None, Environment(environment=name))
        picture = self.pictures["shop"]
        return preview(picture.blueprints, picture.observed), (Foresight("redis01", 0.06, "it hands over"),)

    async def apply(self, source: Source, caller: Caller) -> tuple[str, tuple[Change, ...]]:
        changes, _ = await self.plan(source, caller)
        self.done.append(("apply", source.file))
        return "shop", changes

    async def scale(self, environment: str, label: str, count: int) -> Change:
        limit = self._blueprint(environment, label).limit or 1
        if count > limit:
            raise Refused(
                f"{label} may run at most {limit} instances here",
                f"An operator can raise it: everup limit {label} {count}",
                code="refused.limit",
                label=label,
            )
        picture = self.picture(environment)
        others = tuple(one for one in picture.blueprints if one.label != label)
        self.pictures[environment] = replace(picture, blueprints=(*others, web(count)))
        return Change("scale", label, f"{count} instances were asked for")

    async def limit(self, environment: str, label: str, count: int) -> Change:
        self._blueprint(environment, label)
        return Change("limit", label, f"{count} are allowed")

    async def restart(self, environment: str, label: str) -> int | None:
        self._blueprint(environment, label)
        self.done.append(("restart", label))
        return 2

    async def ha(self, environment: str, label: str, enabled: bool) -> tuple[Change, Foresight | None]:
        self._blueprint(environment, label)
        self.done.append(("ha", label, enabled))
        return Change("ha", label, "it is to be one server"), Foresight(label, 0.06, "it hands over")

    async def deploy(self, environment: str, label: str, source: Source | None) -> int | None:
        self._blueprint(environment, label)
        self.done.append(("deploy", label, source))
        return 3

    async def rollback(self, environment: str, label: str, to: int | None) -> int:
        self._blueprint(environment, label)
        self.done.append(("rollback", label, to))
        return to or 1

    async def switchover(self, environment: str, label: str, to: str | None) -> str:
        self._blueprint(environment, label)
        self.done.append(("switchover", label, to))
        return f"{to or 'the best'} took over"

    async def inject(self, environment: str, node: str, fault: str, for_s: float) -> None:
        self.done.append(("inject", node, fault, for_s))

    async def stage(self, environment: str, label: str, fault: DrillFault, wish: Wish, *, confirmed: bool) -> Scene:
        self._blueprint(environment, label)
        if not confirmed:
            raise NotPermitted("its spec does not allow that", code="drill.not_allowed")
        settings = {"URL": "redis://127.91.0.9:6399"}
        return Scene(label, "redis", fault, "redis01-1", wish.via, "redis-endpoint", settings, Targets(2.0), 5.0)

    async def keep_drill(self, environment: str, drill: Drill) -> None:
        self.picture(environment)
        self.drilled.append(drill)

    def drills(self, environment: str) -> list[dict[str, Any]]:
        self.picture(environment)
        return [asdict(one) for one in self.drilled]

    async def rotate(self, environment: str, label: str) -> tuple[str, str, tuple[str, ...]]:
        self._blueprint(environment, label)
        self.done.append(("rotate", label))
        return f"{label}_login_2", label, ("web",)

    async def finish_rotation(self, environment: str, label: str, cut: bool) -> tuple[str, int]:
        self._blueprint(environment, label)
        self.done.append(("finish", label, cut))
        return label, 3

    def sites(self) -> tuple[Site, ...]:
        there = Occupants(leads=("redis01-1",), moves=("web-1",), stays=("redis01-sentinel-1",))
        return (Site(Host("node1", "10.0.0.1", votes=True), {"shop": there}),)

    async def drain(self, host: str, *, force: bool) -> None:
        if host == "node2":
            raise Refused("node2 cannot be spared", code="refused.quorum", host=host)
        self.done.append(("drain", host, force))

    async def undrain(self, host: str) -> None:
        self.done.append(("undrain", host))

    async def stop(self, environment: str, *, destroy: bool) -> None:
        picture = self.picture(environment)
        self.pictures[environment] = replace(picture, stopped=True, observed=Observed(2.0))

    async def events(self, environment: str, *, after: int, follow: bool) -> AsyncIterator[Event]:
        for one in self.happened:
            if one.seq > after:
                yield one

    async def logs(self, environment: str, name: str, *, lines: int, follow: bool) -> AsyncIterator[tuple[str, str]]:
        if name not in ("web", "web-1"):
            raise NotFound(f"{environment} has no service or node {name}", name=name)
        for n in range(lines):
            yield "web-1", f"line {n}"
        if self.breaks:
            raise self.breaks

    def _blueprint(self, environment: str, label: str) -> Blueprint:
        for blueprint in self.picture(environment).blueprints:
            if blueprint.label == label:
                return blueprint
        raise NotFound(f"{environment} has no service {label}", label=label)
