"""Redis: one node, or a primary with replicas and Sentinels; always behind an endpoint that follows the primary."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib import resources
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from everup.core.targets import CALM, Watch, watch_for
from everup.kinds import _haproxy
from everup.kinds._rebuilding import REPLACE_AFTER, only_in_a_group
from everup.kinds._redis_connect import CONNECT
from everup.kinds._redis_memory import LEAST_BYTES, how_full, memory_lines, refuses_writes
from everup.kinds._redis_outlook import Weaknesses, election
from everup.kinds._redis_reading import read_data, read_sentinel
from everup.kinds._redis_recipes import OPERATIONS
from everup.kinds._redis_renewal import renewal_of
from everup.kinds._redis_rules import RULES
from everup.kinds._redis_users import (
    FILE,
    OWN,
    data_question,
    login_of,
    read_guarded_data,
    read_guarded_sentinel,
    users,
    voter_question,
)
from everup.model.contracts import Claim, Grant
from everup.model.desired import (
    Ask,
    Blueprint,
    ClientPath,
    Command,
    Endpoint,
    Node,
    Part,
    Pauses,
    Probe,
    Protocol,
    Salvage,
    Stop,
    Tcp,
)
from everup.model.observed import Reading
from everup.model.spec import Duration, DurationOrNever, Frozen, Service

REDIS_PORT = 6379
SENTINEL_PORT = 26379
VOTER_PORT = 26380
"""The Sentinel itself listens here; the published port 26379 belongs to the front that knows QUIT."""

TAKEOVER_S = 0.3
"""From a hang that was noticed to the next write, at most: 10-140 ms measured, and the killing of the node."""

KEEP = (
    "Leave it out. WAIT 1 after a write says whether a replica has it, and what has it survives any one node;"
    " durability: safe stops the writes of a primary that no replica confirms for a second."
)
"""What keeps acknowledged writes where replication is asynchronous."""

COARSE_S = 2
"""How much longer than it is told to a primary that hears no replica takes writes: it counts whole seconds of their
silence, and looks once a second."""

MOST_REPLICAS = 6

BEAT = (("PUBLISH", "everup:beat", ""),)
"""Waits wherever a write has to wait (CLIENT PAUSE counts it as one), and changes nothing."""

FRONT_SOURCE = (resources.files("everup") / "programs" / "sentinel_front.py").read_text(encoding="utf-8")


class Ha(Frozen):
    """The size of a highly available group."""

    replicas: Annotated[int, Field(ge=2, le=MOST_REPLICAS)] = Field(
        default=2, description="Nodes that copy the primary; 2 or more."
    )
    sentinels: Annotated[int, Field(ge=3, le=9)] = Field(default=3, description="Voters: odd, 3 or more.")

    @field_validator("sentinels")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd: an even number of Sentinels has no clear majority; use 3 or 5")
        return value


class RedisService(Service):
    """`kind: redis` in the spec."""

    settled: ClassVar[frozenset[str]] = frozenset({"kind", "auth"})
    least_memory: ClassVar[int] = LEAST_BYTES

    kind: Literal["redis"]
    ha: bool | Ha = Field(
        default=False, description="true: 1 primary, 2 replicas, 3 Sentinels; or {replicas, sentinels}."
    )
    durability: Literal["fast", "safe"] | None = Field(
        default=None,
        description="safe: with HA, the primary refuses writes while no replica has confirmed any for a second,"
        " on several hosts for two. Default: safe on several hosts, else fast.",
    )
    auth: bool = Field(
        default=False, description="true: a password for the nodes and the Sentinels, in REDIS_PASSWORD."
    )
    replace_after: DurationOrNever = Field(default=None, description=REPLACE_AFTER)
    rto: Duration | None = Field(default=None, description="How long writing may stand still after a fault, e.g. 2s.")
    rpo: Literal["async"] = Field(default="async", description="async: replication is; 0 is refused with the reason.")

    _several = field_validator("replace_after")(only_in_a_group)

    @field_validator("rto")
    @classmethod
    def _within_reach(cls, value: float | None) -> float | None:
        if value is not None:
            watch_for(value, TAKEOVER_S)
        return value

    @field_validator("rpo", mode="before")
    @classmethod
    def _asynchronous(cls, value: object) -> object:
        if value == 0:
            raise ValueError(
                "cannot be kept: Redis replicates asynchronously, and a failover can lose what was not sent", KEEP
            )
        return value

    @property
    def watch(self) -> Watch:
        """How closely its nodes are watched."""
        return CALM if self.rto is None else watch_for(self.rto, TAKEOVER_S)

    @property
    def replaces_after_s(self) -> float | None:
        """See `Service`."""
        return self.replace_after

    @property
    def size(self) -> int:
        """How many data nodes run."""
        return self.replicas + 1

    def sized(self, count: int) -> Mapping[str, object]:
        """One server, or a primary with `count` - 1 replicas and as many Sentinels as now."""
        if count == 1:
            return {"ha": False}
        return {"ha": {"replicas": count - 1, "sentinels": self.sentinels or Ha().sentinels}}

    @property
    def replicas(self) -> int:
        """How many nodes copy the primary."""
        return self.ha.replicas if isinstance(self.ha, Ha) else 2 if self.ha else 0

    def lag_s(self, spread: bool) -> int:
        """For how long the primary takes writes that no replica confirms, whole seconds; 0: for ever.

        `spread`: its nodes are on several hosts. One that is cut off from the others would take writes that are lost
        when it joins them again. Replicas confirm every second, and a network may delay that.
        """
        if self.replicas == 0 or (self.durability or ("safe" if spread else "fast")) == "fast":
            return 0
        return 2 if spread else 1

    @property
    def sentinels(self) -> int:
        """How many Sentinels vote."""
        return self.ha.sentinels if isinstance(self.ha, Ha) else 3 if self.ha else 0


def redis_conf(address: Tcp, own: str, lag_s: int, memory_bytes: int | None = None) -> str:
    """The recommended configuration (redis.md, end), for a node that listens at `address`.

    `own` is the password by which replicas log in, "" where nobody needs one; clients' passwords are no part of it.
    `lag_s`: writes are refused once no replica has confirmed any for so many seconds; 0: never.
    `memory_bytes`: how much the node may use, where that is limited.
    """
    lines = [
        f"bind {address.host}",
        f"bind-source-addr {address.host}",
        f"replica-announce-ip {address.host}",
        f"port {address.port}",
        "protected-mode no",
        "dir ./data",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "repl-diskless-sync yes",
        "repl-diskless-sync-delay 0",
        "repl-diskless-load swapdb",
        "repl-backlog-size 64mb",
        "client-output-buffer-limit replica 0 0 0",
        "tcp-keepalive 60",
        f"min-replicas-to-write {1 if lag_s else 0}",
        f"min-replicas-max-lag {lag_s or 10}",
    ]
    if own:
        lines += [f"aclfile ../{FILE}", f"masteruser {OWN}", f"masterauth {own}"]  # seen from `dir`
    lines += memory_lines(memory_bytes) if memory_bytes else []
    return "\n".join(lines) + "\n"


def sentinel_conf(address: Tcp, grant: Grant) -> str:
    """A Sentinel's first configuration; which group it watches is told to it at run time, and it remembers.

    Who may log in stands in it as well, and is rewritten with it.
    """
    lines = [
        f"bind {address.host}",
        f"bind-source-addr {address.host}",
        f"port {address.port}",
        "protected-mode no",
        f"sentinel announce-ip {address.host}",
        f"sentinel announce-port {address.port}",
    ]
    if "own" in grant.secrets:
        own = grant.secrets["own"]
        lines += [f"sentinel sentinel-user {OWN}", f"sentinel sentinel-pass {own}", *users(grant)]
    return "\n".join(lines) + "\n"


def data_node(grant: Grant, service: RedisService, index: int) -> Node:
    """The `index`-th data node (from 1): the same alone and in a group, so that HA can be added in place."""
    address = grant.listeners[f"data-{index}"]["redis"]
    own = grant.secrets.get("own", "")
    memory_bytes = service.memory if grant.spread else None
    asked = (read_guarded_data if own else read_data, data_question(bool(own)))
    node = Node(
        id=f"{grant.label}-{index}",
        service=grant.label,
        part=Part.DATA,
        program="redis-server",
        args=("redis.conf",),
        probe=_probe(grant, address, *(how_full(*asked) if memory_bytes else asked)),
        files={"redis.conf": redis_conf(address, own, service.lag_s(grant.spread), memory_bytes), "data/.keep": ""},
        seeds={FILE: "\n".join(users(grant)) + "\n"} if own else {},
        told=(FILE,) if own else (),
        ports={"redis": address},
        env={"EVERUP_REVISION": str(grant.revision)} if grant.revision else {},
        keeps=("data/appendonlydir/*.manifest", "data/appendonlydir/*.base.*"),
        rebuilds=service.replicas > 0,
        stop=Stop("SIGTERM", 30.0, repeat_s=0.5),  # "Writing initial AOF, can't exit": asked then, it goes on running
    )
    return service.watch.over(node)


def voter_node(grant: Grant, index: int) -> Node:
    """The `index`-th Sentinel (from 1)."""
    address = grant.listeners[f"sentinel-{index}"]["voter"]
    own = grant.secrets.get("own", "")
    question = voter_question(grant.label, bool(own))
    return Node(
        id=f"{grant.label}-sentinel-{index}",
        service=grant.label,
        part=Part.VOTER,
        program="redis-server",
        args=("sentinel.conf", "--sentinel"),
        probe=_probe(grant, address, read_guarded_sentinel if own else read_sentinel, question),
        seeds={"sentinel.conf": sentinel_conf(address, grant)},
        told=("sentinel.conf",) if own else (),
        ports={"voter": address},
        env={"EVERUP_REVISION": str(grant.revision)} if grant.revision else {},
        rebuilds=True,
        stop=Stop("SIGTERM", 5.0),
    )


def _probe(
    grant: Grant, address: Tcp, read: Callable[[tuple[Any, ...]], Reading], question: tuple[Command, ...]
) -> Probe:
    """A question from who may do everything; a node of an earlier Everup knows the first password of all instead."""
    if "own" not in grant.secrets:
        return Probe(Protocol.RESP, address, read, question)
    own, first = grant.secrets["own"], grant.secrets["password"]
    return Probe(Protocol.RESP, address, read, question, password=own, user=OWN, spare=first)


def front_node(grant: Grant, index: int) -> Node:
    """What clients reach as the `index`-th Sentinel: passes all on, and answers QUIT (Sentinel >= 7 refuses it)."""
    listen, voter = grant.listeners[f"sentinel-{index}"]["sentinel"], grant.listeners[f"sentinel-{index}"]["voter"]
    # It answers QUIT itself, a second later where its Sentinel hangs, and hangs up where there is none.
    probe = Probe(Protocol.CONNECT, listen, _haproxy.read_connected, (("QUIT",),), interval_s=2.0, timeout_s=2.0)
    return Node(
        id=f"{grant.label}-front-{index}",
        service=grant.label,
        part=Part.FRONT,
        program="python",
        args=("-IS", "sentinel_front.py", str(listen), str(voter)),
        probe=probe,
        files={"sentinel_front.py": FRONT_SOURCE},
        ports={"sentinel": listen},
        rebuilds=True,
        stop=Stop("SIGTERM", 2.0),
    )


class Redis:
    """The kind `redis`."""

    name = "redis"
    prefix: str | None = "REDIS"
    service: type[Service] = RedisService
    connect = CONNECT

    def claims(self, label: str, service: Any) -> tuple[Claim, ...]:
        """An address per data node and per Sentinel, one for the endpoint, and passwords when asked for: the first that
        clients get, and that of Everup and the nodes themselves.

        A single node is granted the addresses of the largest group too: growing then leaves the endpoint as it is.
        """
        listeners = [Claim(f"data-{index}", {"redis": REDIS_PORT}) for index in range(1, MOST_REPLICAS + 2)]
        listeners += [
            Claim(f"sentinel-{index}", {"sentinel": SENTINEL_PORT, "voter": VOTER_PORT}, votes=True)
            for index in range(1, service.sentinels + 1)
        ]
        secrets = [Claim("password"), Claim("own")] if service.auth else []
        return (Claim("endpoint", {"redis": REDIS_PORT}, everywhere=True), *listeners, *secrets)

    def blueprint(self, service: Any, grant: Grant) -> Blueprint:
        """Data nodes, Sentinels with a front each when there are several, and the endpoint."""
        grant = grant if service.auth else replace(grant, secrets={})
        members, spare_members = _split(grant, "data-", service.replicas + 1)
        voters, spare_voters = _split(grant, "sentinel-", service.sentinels)
        nodes = [data_node(grant, service, index) for index in members]
        nodes += [voter_node(grant, index) for index in voters]
        nodes += [front_node(grant, index) for index in voters]
        listen, own = grant.listeners["endpoint"]["redis"], grant.secrets.get("own", "")
        password = login_of(grant)[1] if own else ""
        slots = {f"{grant.label}-{n}": grant.listeners[f"data-{n}"]["redis"] for n in (*members, *spare_members)}
        end = _haproxy.primary_node(grant.label, listen, nodes[0].ports["redis"], redis_check(own), slots)
        end = end if service.rto is None else service.watch.over(end)
        secret = f":{password}@" if password else ""
        bindings = {"URL": f"redis://{secret}{listen}"}
        if password:
            bindings["PASSWORD"] = password
        if voters:
            sentinels = [str(grant.listeners[f"sentinel-{index}"]["sentinel"]) for index in voters]
            bindings["SENTINEL_URL"] = f"redis-sentinel://{secret}{sentinels[0]}"
            bindings["SENTINEL_LIST"] = ",".join(sentinels)
            bindings["SENTINEL_MASTER"] = grant.label
        retiring = [data_node(grant, service, index) for index in spare_members]
        retiring += [voter_node(grant, index) for index in spare_voters]
        lag_s = service.lag_s(grant.spread)
        return Blueprint(
            label=grant.label,
            kind=self.name,
            ha=bool(service.replicas),
            nodes=(*nodes, end),
            needs=service.needs,
            endpoint=Endpoint(f"redis://{listen}", end.id),
            bindings=bindings,
            operations=OPERATIONS,
            rules=RULES,
            scale=service.size,
            retiring=tuple(retiring),
            weaknesses=Weaknesses(safe=lag_s > 0, exposed=grant.spread and not service.auth),
            election=election,
            salvage=Salvage("redis_lost", waited=False) if service.replicas else None,
            pauses=_pauses(Ask(listen, BEAT, timeout_s=10.0, password=own, user=OWN if own else "", spare=password)),
            alone_s=lag_s + COARSE_S if lag_s else float("inf"),
            shortfall=refuses_writes,
            renewal=renewal_of(grant, _with_passwords((*nodes, *retiring))) if own else None,
            clients={way: ClientPath(f"redis-{way}") for way in (*(["sentinel"] if voters else []), "endpoint")},
        )


def _pauses(beat: Ask) -> Pauses:
    """What changes of the group cost, as measured."""
    return Pauses(beat, join_s=0.15, handover_s=0.06, restart_s=0.2)


def redis_check(own: str) -> tuple[str, ...]:
    """The endpoint's own look at a server, as a backstop to being told: it must answer and call itself primary."""
    auth = [rf"send AUTH\ {OWN}\ {own}\r\n", "expect string +OK"] if own else []
    return (*auth, r"send PING\r\n", "expect string +PONG", r"send info\ replication\r\n", "expect string role:master")


def _split(grant: Grant, prefix: str, count: int) -> tuple[Iterable[int], Iterable[int]]:
    """Indexes that are declared, and those that were once granted and no longer are."""
    granted = [int(key.removeprefix(prefix)) for key in grant.listeners if key.startswith(prefix)]
    return range(1, count + 1), sorted(index for index in granted if index > count)


def _with_passwords(nodes: Iterable[Node]) -> Iterable[Node]:
    """Those where clients log in themselves."""
    return (node for node in nodes if node.part in (Part.DATA, Part.VOTER))


KIND = Redis()
