"""The endpoint of a service: HAProxy, its two configurations, the reading of its state, and its runtime commands.

Settings come from measurements (`docs/why` tells them): no `server-state-file` (nobody would write it), no
`on-marked-down shutdown-sessions` in HTTP mode (it cuts requests that a retry would have saved), and
`idle-close-on-response`, without which a reload costs requests on kept-alive connections.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from everup.kinds import _gate
from everup.kinds._haproxy_reading import Server, read_servers
from everup.model.desired import Ask, Node, NodeId, Part, Probe, Protocol, Socket, Stop, Tcp
from everup.model.observed import Reading, View

APPS = "app"
"""The backend that spreads requests over instances; its servers are named by node id."""

GROUP, SLOT = "p", "primary"
"""The backend that leads to a primary, and its only server."""

_LEAD = f"{GROUP}/{SLOT}"
_CUT = f"shutdown sessions server {_LEAD}"

REPLAY_UP_TO_S = 5.0
"""A request that timed out is sent to another instance only if its timeout is at most this: replaying what took longer
would multiply the load that made it slow."""

STATE = (("show servers state",), ("show stat -1 4 -1",))
"""The question whose answer `read_servers` understands: addresses and states, then sessions."""

_HTTP = (
    "  mode http",
    "  option idle-close-on-response",
    "  option forwardfor",
    "  timeout connect 300ms",
    "  timeout client 60s",
    "  timeout http-request 10s",
    "  timeout http-keep-alive 60s",
    "  timeout tunnel 1h",
)

_HEARD_OF = ("  option srvtcpka", "  srvtcpka-idle 1s", "  srvtcpka-intvl 1s", "  srvtcpka-cnt 2")
"""A lost host does not even answer whether it lives: what waits for it is repeated elsewhere, as after an end. An
instance that is only slow has a kernel that answers. While something sent is not acknowledged, nothing is asked."""

_UNHEARD = "tcp-ut 3s"
"""For how long a host may acknowledge nothing of what was sent. It stands at each server: `default-server` passes it on
to none (HAProxy 2.8.25: the sockets' TCP_USER_TIMEOUT was 0, and such requests waited for `timeout server`)."""

_SOCKET = "haproxy.sock"
_FINE = ("IP changed", "port changed", "no need to change", "nothing changed")

CONNECTED = Reading(ready=True)
"""What a connection that succeeded says."""


def read_connected(replies: tuple[Any, ...]) -> Reading:
    """Anything that accepts a connection is ready."""
    return CONNECTED


def http_node(
    label: str,
    listen: Tcp,
    servers: Mapping[NodeId, Tcp],
    health: str,
    timeout_s: float,
    aside: Collection[NodeId] = (),
) -> Node:
    """Spread HTTP requests from `listen` over `servers`; one that does not run is found out and skipped.

    Args:
        label: the service; the node is `<label>-endpoint`.
        listen: where clients connect.
        servers: every instance that may ever run, by node id: changing their number reloads, and loses no request.
        health: a path that must answer GET with 2xx or 3xx, or `tcp` for a connection.
        timeout_s: how long an instance may take to answer; the longest stall that a hung one causes.
        aside: those of `servers` that get no requests before they are admitted.
    """
    question = ["option httpchk", _health_question(health)] if health.startswith("/") else []
    causes = "conn-failure empty-response" + (" response-timeout" if timeout_s <= REPLAY_UP_TO_S else "")
    lines = [
        *_GLOBAL,
        "defaults",
        *_HTTP,
        f"  timeout server {_milliseconds(timeout_s)}",
        *_HEARD_OF,
        # Longer than an overloaded app takes to answer: when every instance is marked down, every request fails.
        "  timeout check 1s",
        # After a (re)load every slot counts as up until its first check, and a request may meet all that do not run.
        f"  retries {max(3, len(servers))}",
        "  option redispatch 1",
        f"  retry-on {causes}",
        "frontend clients",
        f"  bind {listen}",
        # Once sent, a request is repeated only where HTTP says that twice is as good as once.
        "  http-request disable-l7-retry unless { method GET HEAD OPTIONS TRACE PUT DELETE }",
        f"  default_backend {APPS}",
        f"backend {APPS}",
        *(f"  {line}" for line in question),
        "  default-server check inter 500ms fastinter 100ms downinter 250ms fall 2 rise 1"
        " observe layer4 error-limit 1 on-error mark-down",
        *(f"  server {name} {at} {_UNHEARD}{' disabled' if name in aside else ''}" for name, at in servers.items()),
    ]
    return _node(label, "http", listen, lines)


def primary_node(
    label: str, listen: Tcp, server: Tcp, check: Sequence[str], members: Mapping[NodeId, Tcp] | None = None
) -> Node:
    """Lead TCP connections from `listen` to one server, moved by `point`; until then they lead nowhere.

    Only while that server is down, and so chiefly when no control plane lives to point elsewhere, do they lead to the
    first of `members` that has called itself primary for half a second. When the server is up again they are cut.

    While a change of roles is under way as planned, who connects waits (`shut`); those that are there go on.

    A server that fails its check, or says that it is no primary, loses all its connections at once: they can't go on
    writing to it. `retries 0`, because HAProxy would pause up to a second before it tries a dead server again.

    Args:
        label: the service; the node is `<label>-endpoint`.
        listen: where clients connect.
        server: the address to begin with.
        check: the dialogue as `tcp-check` rules, without that word: `send PING\\r\\n`, `expect string +PONG`.
        members: every node that may ever be primary, by id: changing them reloads, and so cuts after 30 s.
    """
    lines = [
        *_tcp(listen, GROUP, gated=True),
        "  option tcp-check",
        "  tcp-check connect linger",  # to be reset after every look makes some servers log it
        *(f"  tcp-check {_decisive(line)}" for line in check),
        "  default-server check inter 500ms fall 1 on-marked-down shutdown-sessions",
        f"  server {SLOT} {server} disabled rise 1 on-marked-up shutdown-backup-sessions",
        *(f"  server {name} {address} fastinter 250ms rise 3 backup" for name, address in (members or {}).items()),
    ]
    end = _node(label, "tcp", listen, lines)
    return replace(end, files={**end.files, _gate.FILE: _gate.SOURCE})


def public(end: Node) -> Node:
    """The endpoint, also reached at every other address of its host, by the same port."""
    listen = end.ports["http"]
    text = end.files["haproxy.cfg"].replace(f"  bind {listen}\n", f"  bind :{listen.port}\n")
    return replace(end, files={**end.files, "haproxy.cfg": text})


def elected(end: Node, servers: Mapping[NodeId, tuple[Tcp, Tcp]], question: str) -> Node:
    """Give a primary's endpoint a net: while its server is down, it leads to the one that says by HTTP that it leads.

    Args:
        end: what `primary_node` made, without members.
        servers: as for `readers_node`: every node that may ever be primary; changing them reloads, and cuts after 30 s.
        question: a path that answers 200 on the primary alone.
    """
    lines = [
        *(f"  server {name} {to} no-check track asked/{name}.asked backup" for name, (to, _) in servers.items()),
        "backend asked",
        *_asked(question),
        # Nobody waits for it while the control plane lives; a leader that is silent for a moment is kept.
        "  default-server check inter 1s fastinter 500ms rise 2 fall 3",
        *(f"  server {name}.asked {asked}" for name, (_, asked) in servers.items()),
    ]
    text = end.files["haproxy.cfg"] + "\n".join(lines) + "\n"
    return replace(end, files={**end.files, "haproxy.cfg": text})


def readers_node(label: str, listen: Tcp, servers: Mapping[NodeId, tuple[Tcp, Tcp]], question: str) -> Node:
    """Spread TCP connections from `listen` over all servers that say, by HTTP, that they may be read from.

    Args:
        label: the service; the node is `<label>-readers`.
        listen: where clients connect.
        servers: node id -> where it serves, and where it is asked.
        question: a path that answers 200 where clients may read.
    """
    lines = [
        *_tcp(listen, "readers"),
        "  balance leastconn",
        *_asked(question),
        "  default-server inter 1s fastinter 100ms downinter 500ms fall 1 rise 1 on-marked-down shutdown-sessions",
        *(f"  server {name} {to} check port {asked.port} addr {asked.host}" for name, (to, asked) in servers.items()),
    ]
    return _node(label, "tcp", listen, lines, "readers")


def _asked(question: str) -> tuple[str, ...]:
    """Look at servers by asking them for a path that only those answer with 200 that may be led to."""
    return (
        "  option httpchk",
        f"  http-check send meth OPTIONS uri {question}",
        "  http-check expect status 200",
    )


def _tcp(listen: Tcp, backend: str, *, gated: bool = False) -> list[str]:
    """The start of a configuration that passes bytes on, through a gate or at once."""
    return [
        *_GLOBAL,
        *(_gate.LOAD if gated else ()),
        "defaults",
        "  mode tcp",
        "  timeout connect 300ms",
        # Clients may be silent for weeks (the longest that HAProxy can wait); keep-alive finds those that are gone.
        "  timeout client 24d",
        "  timeout server 24d",
        "  timeout client-fin 30s",
        "  timeout server-fin 30s",
        *(f"  option {side}tcpka" for side in ("cli", "srv")),
        *(f"  {side}tcpka-{word}" for side in ("cli", "srv") for word in ("idle 60s", "intvl 10s", "cnt 6")),
        # Silence counts after as long as the control plane's own probe waits; a wrong answer counts at once.
        "  timeout check 3s",
        "  retries 0",
        # Without it, a session that is cut while its connection to the server is refused stays for ever, and its client
        # with it (HAProxy 2.8.25): about once in 30 failovers under 4 clients that connect again at once.
        "  option abortonclose",
        *(_gate.TABLE if gated else ()),
        "frontend clients",
        f"  bind {listen}",
        *(_gate.WAIT if gated else ()),
        f"  default_backend {backend}",
        f"backend {backend}",
    ]


_GLOBAL = (
    "global",
    f"  stats socket unix@{_SOCKET} mode 600 level admin expose-fd listeners",
    # HAProxy derives `maxconn` (about 4,000) from this or from `ulimit -Hn`, whichever is less; a fixed `maxconn` makes
    # it refuse to start where the limit of descriptors is low.
    "  fd-hard-limit 8192",
    "  nbthread 2",
    # The first checks all happen at once: servers that do not run are known as such within milliseconds of a reload.
    "  max-spread-checks 1",
    "  hard-stop-after 30s",
)


def _node(label: str, port: str, listen: Tcp, lines: Sequence[str], role: str = "endpoint") -> Node:
    node_id = f"{label}-{role}"
    return Node(
        id=node_id,
        service=label,
        part=Part.ENDPOINT if role == "endpoint" else Part.FRONT,
        program="haproxy",
        args=("-W", "-f", "haproxy.cfg"),
        probe=Probe(Protocol.HAPROXY, Socket(node_id, _SOCKET), read_servers, STATE),
        files={"haproxy.cfg": "\n".join(lines) + "\n"},
        ports={port: listen},
        stop=Stop("SIGTERM", 5.0),
        reload_signal="SIGUSR2",
    )


def _health_question(path: str) -> str:
    return f"http-check send meth GET uri '{path}' ver HTTP/1.1 hdr Host localhost"


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _decisive(line: str) -> str:
    """Let an answer that could hold the expected text, and does not, fail at once; else HAProxy waits for more."""
    word, kind, text = [*line.split(" ", 2), "", ""][:3]
    if word != "expect" or kind != "string":
        return line
    return f"expect min-recv {len(text) if text.startswith('+') else 40} string {text}"


def servers_of(view: View, endpoint: NodeId) -> Mapping[str, Server]:
    """The servers that the endpoint named last; empty while it is not ready, for what it said then may be past."""
    status = view.status(endpoint)
    if not status.ready or status.reading is None:
        return {}
    servers: Mapping[str, Server] = status.reading.facts.get("servers", {})
    return servers


def astray(view: View, endpoint: NodeId, address: Tcp) -> str:
    """Where the endpoint of a primary leads instead of `address`, in words; "" when it leads there, or does not say."""
    status = view.status(endpoint)
    if not status.ready or status.reading is None:
        return ""
    server = servers_of(view, endpoint).get(SLOT)
    if server is not None and server.address == str(address) and server.serves:
        return ""
    seen = f"{server.address}, {'up' if server.up else 'down'}" if server else "nowhere"
    return f"the endpoint leads to {seen}"


def shut(endpoint: NodeId) -> Ask:
    """Let whoever connects from now on wait, until the endpoint is pointed, `open_again`, or 4 s are over."""
    return _ask(endpoint, _gate.SHUT)


def cut(endpoint: NodeId) -> Ask:
    """End the sessions that are open; who connects again waits where the gate is shut."""
    return _ask(endpoint, _CUT)


def open_again(endpoint: NodeId) -> Ask:
    """Let those go on who wait, to where the endpoint leads already."""
    return _ask(endpoint, _gate.OPEN)


def point(endpoint: NodeId, address: Tcp) -> Ask:
    """Lead to `address` from now on, also those who wait at the gate, and cut the connections that lead elsewhere."""
    return _ask(
        endpoint,
        f"set server {_LEAD} addr {address.host} port {address.port}",
        f"set server {_LEAD} state ready",
        f"set server {_LEAD} health up",
        _CUT,
        _gate.OPEN,  # last: who came through before would be cut with the others
    )


def drain(endpoint: NodeId, server: NodeId) -> Ask:
    """Send `server` nothing new; what it is working on goes on."""
    return _ask(endpoint, f"set server {APPS}/{server} state drain")


def rest(endpoint: NodeId, server: NodeId) -> Ask:
    """Take `server` out altogether, checks included, until it is admitted."""
    return _ask(endpoint, f"set server {APPS}/{server} state maint")


def admit(endpoint: NodeId, servers: Sequence[NodeId]) -> Ask:
    """Send requests to `servers` at once, without waiting for a check to succeed first."""
    states = [(f"set server {APPS}/{name} state ready", f"set server {APPS}/{name} health up") for name in servers]
    return _ask(endpoint, *(command for pair in states for command in pair))


def look(endpoint: NodeId) -> Ask:
    """The probe's question, for recipes; `read_servers` understands the reply."""
    return _ask(endpoint, *(words[0] for words in STATE))


def _ask(endpoint: NodeId, *commands: str) -> Ask:
    return Ask(Socket(endpoint, _SOCKET), tuple((command,) for command in commands), Protocol.HAPROXY)


def problem(replies: Sequence[str]) -> str:
    """What HAProxy objected to, in its own words, or "" when every command was carried out."""
    said = (reply.strip() for reply in replies)
    return next((text.splitlines()[0] for text in said if text and not text.startswith(_FINE)), "")
