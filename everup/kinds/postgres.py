"""PostgreSQL: one server, or a primary with standbys under Patroni; always behind an endpoint that follows it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from everup.core.targets import CALM, Watch, watch_for
from everup.kinds import _haproxy
from everup.kinds._postgres_connect import SNIPPETS
from everup.kinds._postgres_ha import STANDS_ON, Group, asked_by_http, readers
from everup.kinds._postgres_leaving import leave_group
from everup.kinds._postgres_outlook import election, weaknesses
from everup.kinds._postgres_patroni import TTL_S, Access
from everup.kinds._postgres_reading import SERVER_QUESTION, read_server
from everup.kinds._postgres_renewal import login_of, renewal_of
from everup.kinds._postgres_rules import shortfall
from everup.kinds._postgres_server import (
    OWNED,
    SUPERUSER,
    Secrets,
    keeper_json,
    own_name,
    settings_of,
)
from everup.kinds._postgres_single import SINGLE_RULES, lead
from everup.kinds._rebuilding import REPLACE_AFTER, only_in_a_group
from everup.kinds.etcd import endpoints_of
from everup.model.contracts import Claim, Grant
from everup.model.desired import (
    Ask,
    Blueprint,
    ClientPath,
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
from everup.model.spec import Duration, DurationOrNever, Frozen, Service

POSTGRES_PORT = 5432
PATRONI_PORT = 8008
"""Patroni's REST interface; granted to a single server too, so that HA needs no other address."""

TAKEOVER_S = 0.7
"""From a hang that was noticed to the next commit, at most: 0.24 s measured on a calm machine, 0.7 s on a busy one."""

CALM_GROUP = Watch(interval_s=1.0)
"""Without a target a member of a group is asked half as often as a server alone: Patroni's answers cost more."""

PATRONI_SOURCE = (resources.files("everup") / "programs" / "patroni_start.py").read_text(encoding="utf-8")
LEAST_BYTES = 256 << 20
"""A member of a group takes 140 to 185 MB as it starts, as measured: Patroni, the keeper, the server, a copy."""

KEEPER_SOURCE = (resources.files("everup") / "programs" / "postgres_keeper.py").read_text(encoding="utf-8")

BEAT = (("SELECT pg_logical_emit_message(true, 'everup', '')",),)
"""A commit like any other, which waits for a standby where commits do, and changes no table."""

IS_POSTGRES = ("send-binary 0000000804d21630", "expect rstring ^[NG]")
"""The endpoint's own look at a server: asked for GSSAPI, a server that takes connections answers yes or no.

Asked for TLS it would do so too, but one that has TLS then logs that nobody came, twice a second.
"""


class Ha(Frozen):
    """The size of a highly available group."""

    standbys: Annotated[int, Field(ge=2, le=6)] = Field(
        default=2, description="Nodes that copy the primary; 2 or more."
    )


class PostgresService(Service):
    """`kind: postgres` in the spec."""

    kind: Literal["postgres"]
    ha: bool | Ha = Field(default=False, description="true: 1 primary and 2 standbys; or {standbys}.")
    rpo: Literal[0, "async"] = Field(
        default=0,
        description="0: with HA, nothing acknowledged is lost: a commit waits for a standby. async: it does not wait.",
    )
    rto: Duration | None = Field(default=None, description="How long writing may stand still after a fault, e.g. 2s.")
    replace_after: DurationOrNever = Field(default=None, description=REPLACE_AFTER)
    settings: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="PostgreSQL settings by name: {work_mem: 16MB}. A change restarts the servers.",
    )

    _several = field_validator("replace_after")(only_in_a_group)

    @field_validator("rto")
    @classmethod
    def _within_reach(cls, value: float | None) -> float | None:
        if value is not None:
            watch_for(value, TAKEOVER_S)
        return value

    @property
    def watch(self) -> Watch:
        """How closely its nodes are watched."""
        calm = CALM_GROUP if self.standbys else CALM
        return calm if self.rto is None else watch_for(self.rto, TAKEOVER_S)

    settled: ClassVar[frozenset[str]] = frozenset({"kind"})
    least_memory: ClassVar[int] = LEAST_BYTES
    stands_on: ClassVar[Mapping[str, Service]] = STANDS_ON

    @field_validator("settings")
    @classmethod
    def _free_to_choose(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not re.fullmatch(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", name):
                raise ValueError(f"{name!r} is not the name of a setting")
            if name in OWNED:
                raise ValueError(f"{name} is set by Everup; leave it out")
        return value

    @property
    def replaces_after_s(self) -> float | None:
        """See `Service`."""
        return self.replace_after

    @property
    def size(self) -> int:
        """How many servers run."""
        return self.standbys + 1

    def sized(self, count: int) -> Mapping[str, object]:
        """One server, or a primary with `count` - 1 standbys."""
        return {"ha": {"standbys": count - 1} if count > 1 else False}

    def implies(self) -> Mapping[str, Service]:
        """A group stands on etcd."""
        return STANDS_ON if self.standbys else {}

    @property
    def standbys(self) -> int:
        """How many nodes copy the primary."""
        return self.ha.standbys if isinstance(self.ha, Ha) else 2 if self.ha else 0

    @property
    def chosen(self) -> dict[str, str]:
        """The user's settings, as PostgreSQL spells them."""
        words = {True: "on", False: "off"}
        return {name: words[value] if isinstance(value, bool) else str(value) for name, value in self.settings.items()}


def secrets_of(grant: Grant) -> Secrets:
    """The passwords that were granted."""
    granted = grant.secrets
    return Secrets(granted["password"], granted["superuser"], granted["replication"], granted["rewind"])


def data_node(grant: Grant, service: PostgresService, index: int) -> Node:
    """The `index`-th server (from 1), alone. In a group its files and its probe differ, and nothing else does."""
    listeners = grant.listeners[f"data-{index}"]
    address = listeners["postgres"]
    settings = settings_of(grant.label, service.chosen, service.memory if grant.spread else None)
    told = keeper_json("single", own_name(grant.label), settings, address, secrets_of(grant))
    env = {"EVERUP_SETTINGS": ", ".join(f"{name}={value}" for name, value in sorted(service.chosen.items()))}
    if grant.revision:
        env["EVERUP_REVISION"] = str(grant.revision)
    node = Node(
        id=f"{grant.label}-{index}",
        service=grant.label,
        part=Part.DATA,
        program="python",
        args=("-IS", "postgres_keeper.py", "{bin:postgres}"),
        probe=server_probe(address, grant.secrets["superuser"]),
        files={"postgres_keeper.py": KEEPER_SOURCE, "keeper.json": told},
        ports=listeners,
        env=env,
        keeps=("data/PG_VERSION", "data/global/pg_control"),
        uses=("postgres",),
        unprivileged=True,
        stop=Stop("SIGTERM", 30.0),
        reload_signal="SIGHUP",
    )
    return service.watch.over(node)


def server_probe(address: Tcp, password: str) -> Probe:
    """Ask a server by SQL, as its superuser: for that one it keeps connections free."""
    return Probe(Protocol.SQL, address, read_server, SERVER_QUESTION, password=password, user=SUPERUSER)


def pauses_of(listen: Tcp, password: str) -> Pauses:
    """What changes of the group cost, as measured (docs/how-to/postgres.md)."""
    beat = Ask(listen, BEAT, Protocol.SQL, timeout_s=10.0, password=password, user=SUPERUSER)
    return Pauses(beat, join_s=0.5, handover_s=0.5, restart_s=1.5)


class Postgres:
    """The kind `postgres`."""

    name = "postgres"
    prefix: str | None = "DATABASE"
    service: type[Service] = PostgresService
    connect = SNIPPETS

    def claims(self, label: str, service: Any) -> tuple[Claim, ...]:
        """An address per server with a port for Patroni, one for the endpoint, and a password for each role.

        A single server is granted the addresses of a group too: adding HA then leaves the endpoint as it is.
        """
        ports = {"postgres": POSTGRES_PORT, "patroni": PATRONI_PORT}
        reading = Claim("readers", {"postgres": POSTGRES_PORT}, everywhere=True)
        group = (reading, Claim("patroni")) if service.standbys else ()
        most = max(service.standbys, Ha().standbys) + 1
        servers = [Claim(f"data-{index}", ports) for index in range(1, most + 1)]
        secrets = [Claim(name) for name in ("password", "superuser", "replication", "rewind")]
        return (Claim("endpoint", {"postgres": POSTGRES_PORT}, everywhere=True), *servers, *secrets, *group)

    def blueprint(self, service: Any, grant: Grant) -> Blueprint:
        """One server, or several under Patroni with an endpoint for reading; and the endpoint."""
        listen, own = grant.listeners["endpoint"]["postgres"], own_name(grant.label)
        wanted = service.size
        granted = [int(key.removeprefix("data-")) for key in grant.listeners if key.startswith("data-")]
        servers = [data_node(grant, service, index) for index in range(1, wanted + 1)]
        spare = [data_node(grant, service, index) for index in sorted(granted) if index > wanted]
        end = _haproxy.primary_node(grant.label, listen, servers[0].ports["postgres"], IS_POSTGRES)
        end = _haproxy.elected(end, asked_by_http((*servers, *spare)), "/primary")
        end = end if service.rto is None else service.watch.over(end)
        alone = Blueprint(
            label=grant.label,
            kind=self.name,
            ha=False,
            nodes=(*servers, end),
            needs=service.needs,
            endpoint=Endpoint(f"postgresql://{listen}/{own}", end.id),
            bindings=bindings_of(grant, listen),
            operations={"lead": lead},
            rules=SINGLE_RULES,
            scale=wanted,
            retiring=tuple(spare),
            pauses=pauses_of(listen, grant.secrets["superuser"]),
            clients={"endpoint": ClientPath("postgres")},
            renewal=renewal_of(grant, listen, end.id),
        )
        return grouped(alone, service, grant) if "patroni" in grant.secrets else alone


def grouped(alone: Blueprint, service: PostgresService, grant: Grant) -> Blueprint:
    """The same servers under Patroni, and an endpoint for reading; or what is left to do with a group that was."""
    listen, own = grant.listeners["readers"]["postgres"], own_name(grant.label)
    etcd, etcd_password = endpoints_of(grant.variables)
    access = Access(grant.label, etcd, etcd_password, grant.secrets["patroni"])
    settings = settings_of(grant.label, service.chosen, service.memory if grant.spread else None)
    group = Group(access, secrets_of(grant), own, settings, synchronous=service.rpo == 0)
    retiring = tuple(group.member(node, PATRONI_SOURCE) for node in alone.retiring)
    if not service.standbys:
        operations, rules = {**alone.operations, **group.leaving()}, (leave_group, *alone.rules)
        return replace(alone, retiring=retiring, operations=operations, rules=rules)
    members = tuple(group.member(node, PATRONI_SOURCE) for node in alone.of(Part.DATA))
    hosts = ",".join(str(node.ports["postgres"]) for node in members)
    user, password = login_of(grant)
    url = f"postgresql://{user}:{password}@{listen}/{own}"
    return replace(
        alone,
        ha=True,
        nodes=(*members, *alone.of(Part.ENDPOINT), readers(grant.label, listen, members)),
        bindings={**alone.bindings, "REPLICA_URL": url, "HOSTS": hosts},
        operations=group.operations(),
        rules=group.rules(),
        retiring=retiring,
        shortfall=shortfall,
        weaknesses=weaknesses,
        election=election,
        salvage=Salvage("postgres_lost", waited=service.rpo == 0),
        alone_s=0.0 if service.rpo == 0 else TTL_S,
    )


def bindings_of(grant: Grant, listen: Tcp) -> dict[str, str]:
    """The connection variables by suffix; also one by one, for drivers that take no URL."""
    own, (user, password) = own_name(grant.label), login_of(grant)
    return {
        "URL": f"postgresql://{user}:{password}@{listen}/{own}",
        "HOST": listen.host,
        "PORT": str(listen.port),
        "USER": user,
        "PASSWORD": password,
        "NAME": own,
    }


KIND = Postgres()
