"""Apps: equal instances that listen, behind one address that spreads requests over those that are well."""

from typing import Any, Literal

from pydantic import Field, field_validator

from everup.kinds import _haproxy
from everup.kinds._draining import OPERATIONS
from everup.kinds._process import ProcessService, instance, instance_id, instance_number, read_running, stand_in_id
from everup.kinds._rolling import admit_ready, leave_lost, reload_endpoint, replace_stale, retire, shut_out
from everup.model.contracts import Claim, Grant
from everup.model.desired import Blueprint, ClientPath, Endpoint, NodeId, Probe, Protocol, Tcp
from everup.model.observed import Reading
from everup.model.spec import Duration, Service, WriteRequest

HTTP_PORT = 8080

PROBE_EVERY_S = 0.5
HANG_S = 5.0
"""An instance that runs, and answers nothing for this long, is ended: its requests are then sent to another."""


class AppService(ProcessService):
    """`kind: app` in the spec."""

    kind: Literal["app"]
    health: str = Field(
        default="tcp",
        description="tcp: it is well while it accepts connections. A path: GET answers below 400. none: while it runs.",
    )
    timeout: Duration = Field(
        default=30.0,
        description="How long an answer may take. At 5s or less, a request that may be repeated then goes to another.",
    )
    drill: WriteRequest | None = Field(
        default=None, description="A request that makes it write, for everup drill SERVICE --app: {method, path, body}."
    )

    @field_validator("health")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("tcp", "none") and not _is_path(value):
            raise ValueError("must be tcp, none, or a path such as /healthz")
        return value


def _is_path(text: str) -> bool:
    """It starts with a slash and needs no quoting anywhere: printable ASCII without space or quote."""
    return text.startswith("/") and all("!" <= letter <= "~" and letter != "'" for letter in text)


def read_status(replies: tuple[Any, ...]) -> Reading:
    """An HTTP status below 400 means ready."""
    status = replies[0][0] if replies and isinstance(replies[0], tuple) and replies[0] else None
    if not isinstance(status, int):
        return Reading(ready=False, because="it did not answer with HTTP")
    return Reading(ready=200 <= status < 400, because="" if 200 <= status < 400 else f"it answers with HTTP {status}")


def health_probe(health: str, listen: Tcp) -> Probe:
    """How an instance is asked whether it is well; asked often, since this alone finds one that hangs."""
    if health == "none":
        return Probe(Protocol.NONE, None, read_running)
    if health == "tcp":
        return Probe(Protocol.CONNECT, listen, _haproxy.read_connected, interval_s=PROBE_EVERY_S, hang_s=HANG_S)
    return Probe(Protocol.HTTP, listen, read_status, ((health,),), interval_s=PROBE_EVERY_S, hang_s=HANG_S)


def client_path(service: AppService) -> ClientPath:
    """A client asks for the page that tells the app's health, else for the first, and waits as long as it may take."""
    page = service.health if _is_path(service.health) else "/"
    return ClientPath("http", {"PATH": page, "TIMEOUT_S": str(service.timeout + 1)})


class App:
    """The kind `app`."""

    name = "app"
    prefix: str | None = None
    service: type[Service] = AppService
    connect = {  # noqa: RUF012 - the protocol's attribute, never changed
        "python": ("import urllib.request\n\nprint(urllib.request.urlopen('{URL}/').read().decode())\n",),
        "node": ("const answer = await fetch('{URL}/');\nconsole.log(await answer.text());\n",),
        "ruby": ("require 'net/http'\n\nputs Net::HTTP.get(URI('{URL}/'))\n",),
        "shell": ("curl --fail '{URL}/'\n",),
    }

    def claims(self, label: str, service: Any) -> tuple[Claim, ...]:
        """The endpoint's address, one for every instance that the limit allows, and one for their stand-in."""
        instances = [instance_id(label, number) for number in range(1, service.limit + 1)]
        end = Claim(f"{label}-endpoint", {"http": HTTP_PORT}, everywhere=True, public=True)
        return (end, *(Claim(key, {"http": HTTP_PORT}, moves=True) for key in (*instances, stand_in_id(label))))

    def blueprint(self, service: Any, grant: Grant) -> Blueprint:
        """`scale` instances and the endpoint, which knows every address ever granted: the limit may go down under load.

        Raises:
            ValueError: `run` names a variable that it is not given.
        """
        extra = stand_in_id(grant.label)
        slots = {**_slots(grant), extra: grant.listeners[extra]["http"]}
        *nodes, stand_in = (
            instance(service, grant, node_id, health_probe(service.health, address), address)
            for node_id, address in slots.items()
        )
        listen = grant.listeners[f"{grant.label}-endpoint"]["http"]
        # Without a question HAProxy must still know which slots run.
        health = "tcp" if service.health == "none" else service.health
        end = _haproxy.http_node(grant.label, listen, slots, health, service.timeout, aside=(extra,))
        end = _haproxy.public(end) if grant.spread else end
        return Blueprint(
            label=grant.label,
            kind=self.name,
            ha=service.scale > 1,
            nodes=(*nodes[: service.scale], end),
            needs=service.needs,
            endpoint=Endpoint(f"http://{listen}", end.id),
            bindings={"URL": f"http://{listen}"},
            environment=service.plain,
            operations=OPERATIONS,
            rules=(admit_ready, reload_endpoint, leave_lost, retire, replace_stale),
            scale=service.scale,
            limit=service.limit,
            retiring=tuple(nodes[service.scale :]),
            weaknesses=shut_out,
            stand_ins=(stand_in,),
            clients={"endpoint": client_path(service)},
        )


def _slots(grant: Grant) -> dict[NodeId, Tcp]:
    """Every address granted to an instance, by its id, in order of numbers."""
    keys: dict[int, NodeId] = {}
    for key in grant.listeners:
        number = instance_number(grant.label, key)
        if number is not None:
            keys[number] = key
    return {instance_id(grant.label, number): grant.listeners[keys[number]]["http"] for number in sorted(keys)}


KIND = App()
