"""What should run: nodes with their files, ports and probes, and the blueprint that groups them into a service."""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from everup.model.resources import Resources

if TYPE_CHECKING:
    from everup.model.actions import Action
    from everup.model.findings import Election, Finding
    from everup.model.observed import Reading, View
    from everup.model.renewal import Renewal

NodeId = str
"""`<label>-<name>`, unique in an environment and valid as a folder name: `redis01-2`, `redis01-sentinel-1`."""


@dataclass(frozen=True)
class Tcp:
    """A TCP address: numeric host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Socket:
    """A Unix socket `name` in the home directory of node `node`."""

    node: NodeId
    name: str


Address = Tcp | Socket


class Part(StrEnum):
    """What a node is for within its service."""

    DATA = "data"  # holds the service's data: a Redis or PostgreSQL server
    VOTER = "voter"  # votes on who is primary: a Sentinel, an etcd member
    FRONT = "front"  # stands before another node and can be replaced at any time
    ENDPOINT = "endpoint"  # the load balancer behind the service's stable address
    INSTANCE = "instance"  # one of several equal app or worker processes


class Protocol(StrEnum):
    """How a probe or a command talks to a node."""

    RESP = "resp"  # Redis: `request` is a sequence of commands, the answer a list of replies
    HTTP = "http"  # one request per connection; each answer is (status, text)
    CONNECT = "connect"  # a TCP connection that succeeds; with a command, that a word or an end comes back for it
    HAPROXY = "haproxy"  # runtime commands on the stats socket; the answer is a list of texts
    SQL = "sql"  # PostgreSQL, database `postgres`: a command is one statement, its answer a list of rows
    NONE = "none"  # no question: a running process counts as ready


Command = tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """A question to a node and the pure reading of its answer.

    `commands` are RESP commands, HAProxy runtime commands (one word each), or, for HTTP, `(("/healthz",),)`.
    `read` gets the replies as `Ask` describes them and never raises. `interval_s` applies to a ready node; a starting
    one is asked every few milliseconds. `hang_s` is how long a running node may stay silent before it counts as hung;
    `absent_s` the same while connections are refused, for a node that starts what listens there again by itself.
    `user`, `password` and `spare` are as in `Ask`.
    """

    protocol: Protocol
    to: Address | None
    read: Callable[[tuple[Any, ...]], "Reading"]
    commands: tuple[Command, ...] = ()
    interval_s: float = 1.0
    timeout_s: float = 1.0
    hang_s: float = 3.0
    absent_s: float | None = None
    password: str = field(default="", repr=False)
    user: str = ""
    spare: str = field(default="", repr=False)


@dataclass(frozen=True)
class Stop:
    """How a node is asked to end: `signal` first, SIGKILL to its whole session after `grace_s` seconds.

    `repeat_s` is for programs that refuse to stop at times, and forget that they were asked: they are asked again.
    """

    signal: str = "SIGTERM"
    grace_s: float = 10.0
    repeat_s: float | None = None


@dataclass(frozen=True)
class Node:
    """One process. Engines run it; nothing here says where.

    Attributes:
        program: a name that the engine resolves to a file (`redis-server`, `haproxy`, `python`), or, for apps, any word
            found on `env["PATH"]`.
        args: its arguments; the process runs in its own home directory unless `cwd` is set, so relative names work.
        files: name -> text, written before every start; owned by Everup. A change restarts the node, or, with
            `reload_signal`, rewrites them and sends that signal.
        seeds: name -> text, written only when absent, because the program rewrites them itself.
        told: names of seeds whose changes a running node is told of: they are not part of the digest.
        ports: name -> address it listens on. The engine refuses to start it when somebody else listens there.
        env: environment variables; `ambient` ones (PATH and the like) are not part of the digest.
        secrets: further ones: variable -> name of a secret, whose value the engine asks for at every start.
        keeps: glob patterns, relative to its home, that must each match a file when the node has its data.
        uses: further programs it needs; `{bin:NAME}` in its texts stands for the directory that holds one of them, and
            `{home}` for the node's home. Texts are arguments, files, seeds and environment.
        unprivileged: its program refuses to run as root: an engine that runs as root runs it as somebody else.
        image: the container image it runs from, where it runs in a container; "" for Everup's own.
        resources: what it may use of its host at most, where the engine sees to that; None: as much as there is.
        rebuilds: it may begin anew on another host, without its data, while nobody knows what becomes of it on one that
            is lost: others of its group have what it has, and elect without it.
    """

    id: NodeId
    service: str
    part: Part
    program: str
    args: tuple[str, ...]
    probe: Probe
    files: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    ports: Mapping[str, Tcp] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    ambient: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    keeps: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    unprivileged: bool = False
    image: str = ""
    resources: Resources | None = None
    rebuilds: bool = False
    stop: Stop = Stop()
    reload_signal: str | None = None

    @cached_property
    def digest(self) -> str:
        """Changes exactly when a restart is due; hexadecimal, 16 characters."""
        return self._hash(None if self.reload_signal else dict(self.files))

    @cached_property
    def files_digest(self) -> str:
        """Changes when `files` do; matters to nodes that reload instead of restarting."""
        return self._hash(dict(self.files))

    def _hash(self, files: Mapping[str, str] | None) -> str:
        ports = {name: str(port) for name, port in self.ports.items()}
        seeds = {name: text for name, text in self.seeds.items() if name not in self.told}
        what: list[Any] = [self.program, self.args, ports, dict(self.env), seeds, self.cwd, files]
        if self.secrets:  # which ones, not their values
            what.append(dict(self.secrets))
        if self.image:
            what.append(self.image)
        if self.resources:
            what.append([self.resources.memory_bytes, self.resources.cpus])
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Endpoint:
    """The stable address of a service: where clients go, and the node that listens there."""

    url: str
    node: NodeId


@dataclass(frozen=True)
class Ask:
    """Commands for one address, sent in order on one connection.

    The reply to it is a tuple with one entry per command: for RESP, what the server said as `str`, `int`, `None`,
    nested lists, or a `ReplyError`; for SQL, a list of rows, each a list of `str` or None, or a `ReplyError`, which
    stands alone where the server refused the connection itself; for HAProxy one `str` per command, and copy after copy
    where it runs on several hosts. Or `Silence`, when nothing useful came back.

    An HTTP command is `(path,)`, a GET whose reply is (status, all that follows the status line), or
    `(method, path, body)` with a JSON body and at will a fourth word, the value of `Authorization`; its reply is
    (status, body).

    `spare` is for RESP: a password without a user, tried where `user` is not let in.
    """

    to: Address
    commands: tuple[Command, ...]
    protocol: Protocol = Protocol.RESP
    timeout_s: float = 1.0
    password: str = field(default="", repr=False)
    user: str = ""
    spare: str = field(default="", repr=False)


@dataclass(frozen=True)
class Silence:
    """No answer: timed out or cut off, and why; `refused` when nobody listened."""

    because: str
    refused: bool = False


class ReplyError(Exception):
    """A server's own error reply, as a value."""


@dataclass(frozen=True)
class Together:
    """Recipe step: send these at the same time; the reply is a tuple in the same order."""

    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Pause:
    """Recipe step: wait."""

    seconds: float


@dataclass(frozen=True)
class Milestone:
    """Recipe step: say that a point was reached; becomes the event `name` with `fields`."""

    name: str
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Crown:
    """Recipe step: record, durably, that `node` is the primary from now on; the generation grows by one.

    `known` are numbers of the kind's own by which is found later what the former primary has alone; None when it handed
    over all it had.
    """

    node: NodeId
    known: Mapping[str, int] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Halt:
    """Recipe step: stop `node` gracefully, keeping its data; the reply says whether nothing of it runs any more.

    Until the recipe ends, nobody else starts or stops that node.
    """

    node: NodeId


@dataclass(frozen=True)
class Keep:
    """Recipe step: keep what `node`, which leads beside the primary, has alone; it must take no writes meanwhile."""

    node: NodeId


Step = Together | Pause | Milestone | Crown | Halt | Keep


@dataclass(frozen=True)
class Outcome:
    """How a recipe ended: done or not, and why in words."""

    done: bool
    because: str


Recipe = Callable[["Blueprint", "View", NodeId | None], Generator[Step, Any, Outcome]]
"""Steps as data: a pure generator that yields steps, is sent their replies, and returns an outcome.

The third argument is the subject of the operation (the dead primary, the Sentinel to tune), if it has one.
"""

Rule = Callable[["Blueprint", "View"], Iterable["Action"]]
"""Proposes actions for one service from what is declared and what is observed; pure, with a reason in each action."""


@dataclass(frozen=True)
class Pauses:
    """For how long writers wait while a group changes shape, as measured; seconds.

    Attributes:
        beat: a write that leaves no trace, sent where clients write; by it the real pause is measured.
        join_s: a server is copied for the first time by others, and serves meanwhile.
        handover_s: the primary's role goes to another server.
        restart_s: the only server is restarted.
    """

    beat: Ask
    join_s: float
    handover_s: float
    restart_s: float


@dataclass(frozen=True)
class Salvage:
    """How is found and kept what a former primary has alone: by a program, a module of `everup.programs`.

    `waited`: what is written waits for another node before anybody is told that it is.
    """

    program: str
    waited: bool


@dataclass(frozen=True)
class ClientPath:
    """A way in which clients reach a service, for drills to write along: the program that does (a name in
    `everup.drills.clients`) and what it is told besides the service's bindings."""

    program: str
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Blueprint:
    """All that a kind says about one service.

    `bindings` are variables by suffix (`URL`, `SENTINEL_LIST`); `core.bindings` gives them their full names.
    `rules` are the kind's own, in order of urgency; the common ones of `core.rules` follow them. `retiring` are nodes
    that an earlier, larger declaration may have left behind: no longer wanted, but one may still be the primary.
    `stand_ins` run only while a rule wants them, in place of nodes that are being replaced. `pauses` are those of a
    service with a primary. `clients` are the ways in which clients write, by name, the usual one first; none where
    nobody can. `platform` marks a service that others imply: it stops after them. `shortfall` says what a service still
    lacks although all of its nodes are ready ("" for nothing). `weaknesses` finds what only the kind understands of
    what a loss would cost; `election` says who would lead next, and who must agree. `salvage` keeps what a former
    primary has alone before it follows another. `renewal` is there where the password of clients can be rotated. For
    `alone_s` seconds a primary that hears nobody goes on taking writes: infinite where only its successor stops it.
    `resources` are declared for each server or instance, also where no engine sees to them.
    After `replaces_after_s` on a lost host members are rebuilt on another one; never where that is None.
    """

    label: str
    kind: str
    ha: bool
    nodes: tuple[Node, ...]
    needs: tuple[str, ...] = ()
    endpoint: Endpoint | None = None
    bindings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    operations: Mapping[str, Recipe] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    scale: int = 1
    limit: int | None = None
    retiring: tuple[Node, ...] = ()
    stand_ins: tuple[Node, ...] = ()
    pauses: Pauses | None = None
    platform: bool = False
    clients: Mapping[str, ClientPath] = field(default_factory=dict)
    shortfall: "Callable[[Blueprint, View], str] | None" = None
    weaknesses: "Callable[[Blueprint, View], Iterable[Finding]] | None" = None
    election: "Callable[[Blueprint, View], Election] | None" = None
    salvage: Salvage | None = None
    renewal: "Renewal | None" = None
    alone_s: float = float("inf")
    resources: Resources | None = None
    replaces_after_s: float | None = None

    def of(self, part: Part) -> tuple[Node, ...]:
        """The nodes with that part, in order."""
        return tuple(node for node in self.nodes if node.part == part)

    @property
    def active(self) -> tuple[Node, ...]:
        """All that may run for long or for a while: declared nodes and stand-ins."""
        return (*self.nodes, *self.stand_ins)

    @property
    def known(self) -> tuple[Node, ...]:
        """Every node there is a description of: declared ones, stand-ins, those that retire."""
        return (*self.active, *self.retiring)

    def node(self, node_id: NodeId) -> Node | None:
        """The node with that id, whatever it is for, if the service has it."""
        return next((node for node in self.known if node.id == node_id), None)
