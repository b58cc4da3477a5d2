"""From a node to the Swarm service that runs it, and from a service back to what it says of its node. Pure.

A node is a service of one replica, pinned to a host; what is everywhere is a global service, a copy on every host.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from everup.engines.swarm.placement import is_loopback
from everup.engines.swarm.sight import popen_code
from everup.engines.swarm.volume import AGENT_FOLDER, AGENT_VOLUME, HOMES
from everup.model.desired import Node, NodeId, Part, Tcp

ENVIRONMENT, NODE = "everup.environment", "everup.node"
"""Labels by which services, containers, volumes and secrets of a node are found."""

SERVICE, DIGEST, FILES = "everup.service", "everup.digest", "everup.files-digest"
TICKET, _ADDRESSES, _PART = "everup.ticket", "everup.addresses", "everup.part"
"""Labels that say as what it was started, and by which start."""

ASIDE = "everup.aside"
"""Label of a volume that holds what was set aside: of which environment and node, `shop/redis01-1`. No node uses it."""

STARTS = "everup.starts"
"""A label of what runs from an image of the user's, and so takes no ticket: the how-manieth start this is."""

GIVEN_UP = "everup.given-up"
"""Label of a service: the newest start on a host that its node was rebuilt away from. What is left of it is stale."""

KEEPING = "everup.keeping"
"""Label of a service: the number of the control plane that changed it last."""

ORDER_NAME = "everup-node"
"""The file in `/run/secrets` in which the start program finds its order."""

START = ("python3", "-m", "everup.engines.swarm.start", f"/run/secrets/{ORDER_NAME}")

TASK = "EVERUP_TASK={{.Task.ID}}"
"""Swarm fills in whose task a container is: the agent finds a start's container by it."""

LONGEST_NAME = 63
_HASH_LETTERS = 10
_CLEAR_NAME = re.compile(r"[A-Za-z0-9]+([-_]+[A-Za-z0-9]+)*")
_LONGEST_LINES = {"max-size": "10m", "max-file": "3"}
_ENDED, _NEVER = ("complete", "failed", "shutdown"), ("rejected", "remove", "orphaned")
_SECOND_NS = 1_000_000_000
WHOLE_CPU = 1_000_000_000
"""As many billionths of a processor, in which Docker counts, are one."""

_GRACE_BEYOND_S = 5.0
"""Docker kills this much later than the agent would have: the agent asks as often as a node wants to be asked."""


@dataclass(frozen=True)
class Start:
    """One start of a node.

    Attributes:
        ticket: a number larger than that of any earlier start; the node's volume remembers the largest.
        image: what it runs from.
        secret_id: of the secret that holds its order; "" for a node that runs from an image of the user's.
        host_id: the Swarm's id of the host that it is pinned to; "" for what is everywhere.
        extra_args: come behind the node's own.
        secrets: variable -> value, revealed.
        number: which start of this node it is, from 1, as far as its service remembers.
        keeping: the number of the control plane that orders it.
        given_up: the newest start on another host, of what began anew on this one; 0 for what never did.
    """

    environment: str
    node: Node
    ticket: int
    image: str
    secret_id: str = ""
    host_id: str = ""
    extra_args: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    number: int = 1
    keeping: int = 0
    given_up: int = 0

    @property
    def name(self) -> str:
        """Of the service and of the volume."""
        return name_of(self.environment, self.node.id)

    @property
    def labels(self) -> dict[str, str]:
        """What service and container say of themselves."""
        plain = {STARTS: str(self.number)} if self.node.image else {}
        anew = {GIVEN_UP: str(self.given_up)} if self.given_up else {}
        return {
            **plain,
            **anew,
            **whose(self.environment, self.node.id),
            SERVICE: self.node.service,
            DIGEST: self.node.digest,
            FILES: self.node.files_digest,
            TICKET: str(self.ticket),
            _PART: self.node.part.value,
            KEEPING: str(self.keeping),
            _ADDRESSES: ",".join(map(str, self.node.ports.values())),
        }


@dataclass(frozen=True)
class Deployed:
    """What a service of the Swarm says of its node.

    `host_id` is "" for what is everywhere; `wanted`: Swarm is to run it; `grace_s`: how long it may take to end after
    it was asked to, or a little more; `secrets` are the ids of those it uses;
    `starts`: how often it was started, of what takes no tickets. `moves`: it holds nothing, so another host may run it
    once nobody knows what becomes of it where it is. What other hosts have of starts up to `given_up` is stale. What
    `keeps` holds data of its service.
    """

    id: str
    environment: str
    node_id: NodeId
    service: str
    digest: str
    files_digest: str
    ticket: int
    host_id: str
    wanted: bool
    grace_s: float = 10.0
    addresses: tuple[Tcp, ...] = ()
    secrets: tuple[str, ...] = ()
    starts: int = 0
    moves: bool = False
    given_up: int = 0
    keeps: bool = False

    @property
    def everywhere(self) -> bool:
        """There is a copy of it on every host."""
        return not self.host_id

    @property
    def outdated(self) -> int:
        """What another host has of starts with a smaller ticket than this is stale; 0: nothing is."""
        if self.moves:
            return self.ticket
        return self.given_up + 1 if self.given_up else 0


def name_of(environment: str, node_id: NodeId) -> str:
    """A name for all that belongs to a node: readable, unique, at most 63 letters, as Swarm wants them."""
    plain = f"{environment}_{node_id}"
    if "_" not in environment and len(plain) <= LONGEST_NAME and _CLEAR_NAME.fullmatch(plain):
        return plain
    number = hashlib.sha256(json.dumps([environment, node_id]).encode()).hexdigest()[:_HASH_LETTERS]
    readable = re.sub(r"[^A-Za-z0-9_-]", "-", plain)[: LONGEST_NAME - _HASH_LETTERS - 1].strip("-_")
    return f"{readable}-{number}"


def order_name(environment: str, node_id: NodeId, ticket: int) -> str:
    """The name of the secret for one start; at most 63 letters."""
    number = f"{ticket:x}"
    return f"{name_of(environment, node_id)[: LONGEST_NAME - len(number) - 1].rstrip('-_')}.{number}"


def whose(environment: str, node_id: NodeId) -> dict[str, str]:
    """The labels that say which node something belongs to."""
    return {ENVIRONMENT: environment, NODE: node_id}


def filters(environment: str, node_id: NodeId | None = None) -> dict[str, list[str]]:
    """How Docker is asked for what belongs to an environment, or to one node of it."""
    labels = {ENVIRONMENT: environment} if node_id is None else whose(environment, node_id)
    return {"label": [f"{name}={value}" for name, value in labels.items()]}


def is_everywhere(node: Node) -> bool:
    """It listens on loopback addresses alone, so each host needs a copy of its own."""
    return bool(node.ports) and all(map(is_loopback, node.ports.values()))


def order(start: Start) -> dict[str, Any]:
    """What the start program in the container is told; JSON, kept as a secret because passwords are in it."""
    node = start.node
    return {
        "node": {
            "id": node.id,
            "service": node.service,
            "part": node.part.value,
            "program": node.program,
            "args": list(node.args),
            "files": dict(node.files),
            "seeds": dict(node.seeds),
            "ports": {name: [to.host, to.port] for name, to in node.ports.items()},
            "env": dict(node.env),
            "ambient": dict(node.ambient),
            "cwd": node.cwd,
            "keeps": list(node.keeps),
            "uses": list(node.uses),
            "unprivileged": node.unprivileged,
            "stop": asdict(node.stop),
            "reload_signal": node.reload_signal,
        },
        "digest": node.digest,
        "files_digest": node.files_digest,
        "extra_args": list(start.extra_args),
        "ticket": start.ticket,
        "secrets": dict(start.secrets),
        "copy": is_everywhere(node),
        "keeping": start.keeping,
    }


def spec(start: Start) -> dict[str, Any]:
    """The Swarm service for one start of a node, as Docker's API wants it."""
    copies = is_everywhere(start.node)
    return {
        "Name": start.name,
        "Labels": start.labels,
        "TaskTemplate": {
            "ContainerSpec": _container(start),
            "Resources": _resources(start.node),
            "RestartPolicy": {"Condition": "any", "Delay": _SECOND_NS} if copies else {"Condition": "none"},
            "Placement": {} if copies else {"Constraints": [f"node.id=={start.host_id}"]},
            "Networks": [{"Target": "host"}],
            "LogDriver": {"Name": "json-file", "Options": _LONGEST_LINES},
        },
        "Mode": {"Global": {}} if copies else {"Replicated": {"Replicas": 1}},
        "UpdateConfig": {"Parallelism": 1, "FailureAction": "continue", "Monitor": _SECOND_NS, "Order": "stop-first"},
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def _resources(node: Node) -> dict[str, Any]:
    """Limits alone: what is reserved would make Swarm keep a pinned node waiting, and say so to nobody."""
    if node.resources is None:
        return {}
    memory_bytes, cpus = node.resources.memory_bytes or 0, node.resources.cpus or 0.0
    return {"Limits": {"MemoryBytes": memory_bytes, "NanoCPUs": round(cpus * WHOLE_CPU)}}


def _container(start: Start) -> dict[str, Any]:
    node = start.node
    common = {
        "Image": start.image,
        "Labels": start.labels,
        "Init": True,
        "StopSignal": node.stop.signal,
        "StopGracePeriod": int((node.stop.grace_s + _GRACE_BEYOND_S) * _SECOND_NS),
        "Healthcheck": {"Test": ["NONE"]},  # one that kills a member which is merely alone costs more than it finds
    }
    if node.image:
        env = {**node.ambient, **node.env, **start.secrets}
        own = {
            "Command": [node.program],
            "Args": [*node.args, *start.extra_args],
            "Env": [f"{k}={v}" for k, v in env.items()],
        }
        return {**common, **own, **({"Dir": node.cwd} if node.cwd else {})}
    volume = {
        "Type": "volume",
        "Source": start.name,
        "Target": f"{HOMES}/{node.id}",
        "VolumeOptions": {"Labels": whose(start.environment, node.id), "NoCopy": True},
    }
    notes = {
        "Type": "volume",
        "Source": AGENT_VOLUME,
        "Target": AGENT_FOLDER,
        "ReadOnly": True,
        "VolumeOptions": {"NoCopy": True},
    }
    secret = {
        "SecretID": start.secret_id,
        "SecretName": order_name(start.environment, node.id, start.ticket),
        "File": {"Name": ORDER_NAME, "UID": "0", "GID": "0", "Mode": 0o400},
    }
    return {
        **common,
        "Command": list(START),
        "Env": [TASK],
        "User": "0:0",
        "Mounts": [volume, notes],
        "Secrets": [secret],
    }


def read(found: Mapping[str, Any]) -> Deployed | None:
    """What a service, as Docker describes it, says of its node; None where it is no node's."""
    wanted: Mapping[str, Any] = found["Spec"]
    labels: Mapping[str, str] = wanted.get("Labels") or {}
    if NODE not in labels:
        return None
    template: Mapping[str, Any] = wanted["TaskTemplate"]
    mode: Mapping[str, Any] = wanted["Mode"]
    constraints = (template.get("Placement") or {}).get("Constraints") or []
    pinned = [text.partition("==")[2] for text in constraints if text.startswith("node.id==")]
    secrets = template["ContainerSpec"].get("Secrets") or []
    return Deployed(
        id=str(found["ID"]),
        environment=labels.get(ENVIRONMENT, ""),
        node_id=labels[NODE],
        service=labels.get(SERVICE, ""),
        digest=labels.get(DIGEST, ""),
        files_digest=labels.get(FILES, ""),
        ticket=_number(labels.get(TICKET, "")),
        host_id=pinned[0] if pinned else "",
        wanted="Global" in mode or bool((mode.get("Replicated") or {}).get("Replicas")),
        grace_s=template["ContainerSpec"].get("StopGracePeriod", 10 * _SECOND_NS) / _SECOND_NS,
        addresses=tuple(_addresses(labels.get(_ADDRESSES, ""))),
        secrets=tuple(str(one["SecretID"]) for one in secrets),
        starts=_number(labels.get(STARTS, "")),
        moves=labels.get(_PART) == Part.INSTANCE.value,
        given_up=_number(labels.get(GIVEN_UP, "")),
        keeps=labels.get(_PART) == Part.DATA.value,
    )


@dataclass(frozen=True)
class TaskEnd:
    """The end of a start, as the host's own Docker has reported it to the Swarm; `ended_utc` in ISO 8601."""

    environment: str
    node_id: NodeId
    ticket: int
    exit_code: int
    ended_utc: str


def read_end(task: Mapping[str, Any]) -> TaskEnd | None:
    """The end of a node's start that a task of the Swarm tells of; None where it tells of none.

    Only states that the host itself reports count: what Swarm wants to be so, or makes of a host's silence, does not.
    Nor does an end of which it does not know how it came about: a Docker that has lost track of a process says that of
    one that goes on, and no agent is there to see whether its volume is held.
    """
    labels: Mapping[str, str] = task["Spec"].get("ContainerSpec", {}).get("Labels") or {}
    status: Mapping[str, Any] = task["Status"]
    if NODE not in labels or status["State"] not in _ENDED:
        return None
    code = (status.get("ContainerStatus") or {}).get("ExitCode")
    known = None if code is None else popen_code(int(code))
    if known is None:
        return None
    return TaskEnd(
        environment=labels.get(ENVIRONMENT, ""),
        node_id=labels[NODE],
        ticket=_number(labels.get(TICKET, "")),
        exit_code=known,
        ended_utc=str(status["Timestamp"]),
    )


def under_way(task: Mapping[str, Any]) -> bool:
    """A task of the Swarm has not ended, as far as its host has told: something of it runs there, or is about to."""
    return task["Status"]["State"] not in (*_ENDED, *_NEVER)


def claimed(found: Mapping[str, Any], keeping: int) -> dict[str, Any] | None:
    """The spec of a service, noted as that control plane's; None where a newer one has changed it."""
    labels: Mapping[str, str] = found.get("Labels") or {}
    if _number(labels.get(KEEPING, "")) > keeping:
        return None
    return {**found, "Labels": {**labels, KEEPING: str(keeping)}}


def at_rest(wanted: dict[str, Any]) -> dict[str, Any]:
    """The spec of a pinned service, changed so that Swarm runs nothing of it; all else is kept for the next start."""
    return {**wanted, "Mode": {"Replicated": {"Replicas": 0}}}


def _addresses(text: str) -> Iterable[Tcp]:
    for word in text.split(",") if text else ():
        host, _, port = word.rpartition(":")
        yield Tcp(host, _number(port))


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
