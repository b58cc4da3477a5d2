"""The HTTP endpoint, with real HAProxy and real servers behind it: what a fault costs the clients."""

import contextlib
import signal
import subprocess
import time
from typing import Any

import pytest

from everup.engines.local import kernel
from everup.kinds import _haproxy
from everup.kinds._haproxy_reading import Server, read_servers
from everup.model.contracts import Grant
from everup.model.desired import Ask, Blueprint, Node, Outcome, Part, Pause, Protocol, Socket, Tcp, Together
from everup.model.observed import View
from tests.http_load import HttpLoad
from tests.kinds.real import HAPROXY, Processes, accepts, fresh_address, wait_until
from tests.kinds.shapes import KINDS, VARIABLES, service

pytestmark = pytest.mark.faults


def slots(count: int) -> dict[str, Tcp]:
    return {f"web-{n}": fresh_address() for n in range(1, count + 1)}


def up(world: Processes, node: Node) -> set[str]:
    servers = read_servers(world.ask(_haproxy.look(node.id))).facts["servers"]
    return {name for name, server in servers.items() if server.serves}


def start(
    world: Processes, *, running: int = 3, limit: int = 10, timeout_s: float = 30.0
) -> tuple[Node, dict[str, Tcp]]:
    servers = slots(limit)
    names = [f"web-{n}" for n in range(1, running + 1)]
    for name in names:
        world.web(name, servers[name])
    node = _haproxy.http_node("web", fresh_address(), servers, "/healthz", timeout_s)
    world.run(node, HAPROXY)
    wait_until(lambda: up(world, node) == set(names))
    return node, servers


def worker(world: Processes, node: Node) -> str:
    """The number of the process that answers now; "" while one takes over from another."""
    with contextlib.suppress(OSError):
        for line in world.ask(Ask(Socket(node.id, "haproxy.sock"), (("show info",),), Protocol.HAPROXY))[
            0
        ].splitlines():
            if line.startswith("Pid: "):
                return line
    return ""


def failures(load: HttpLoad) -> list[str]:
    requests = load.stop()
    assert len(requests) > 100
    return [request.error for request in requests if request.error]


@pytest.mark.parametrize("health", ["tcp", "/healthz", "/a/b?x=1&y=%20#"])
def test_haproxy_accepts_the_configuration(world: Processes, health: str):
    node = _haproxy.http_node("web", fresh_address(), slots(50), health, 2.5)
    world.write(node)
    checked = subprocess.run(
        [HAPROXY, "-c", *node.args[1:]], cwd=world.folder / node.id, capture_output=True, text=True
    )
    assert (checked.returncode, "WARNING" in checked.stderr) == (0, False), checked.stderr


def test_it_starts_where_the_limit_of_descriptors_is_low(world: Processes):
    node = _haproxy.http_node("web", fresh_address(), slots(50), "tcp", 2.5)
    world.write(node)
    command = 'ulimit -n 512 && exec "$0" "$@"'
    world.spawn(node.id, ["/bin/sh", "-c", command, HAPROXY, *node.args])
    wait_until(lambda: accepts(node.ports["http"]))
    wait_until(lambda: (world.folder / node.id / "haproxy.sock").exists())
    assert len(read_servers(world.ask(_haproxy.look(node.id))).facts["servers"]) == 50


def test_a_killed_instance_costs_no_request_and_is_back_within_20_ms_of_being_admitted(world: Processes):
    node, servers = start(world)
    back_s = []
    with HttpLoad(f"http://{node.ports['http']}", clients=8, pause_s=0.002) as load:
        for _ in range(5):
            time.sleep(0.1)
            world.kill("web-2")
            wait_until(lambda: "web-2" not in up(world, node))
            world.web("web-2", servers["web-2"])
            began_s = time.monotonic()
            assert _haproxy.problem(world.ask(_haproxy.admit(node.id, ["web-2"]))) == ""
            wait_until(lambda: "web-2" in up(world, node))
            back_s.append(time.monotonic() - began_s)
        assert failures(load) == []
    assert sorted(back_s)[2] < 0.2


def test_a_hung_instance_stalls_requests_for_the_timeout_and_no_longer(world: Processes):
    node, _ = start(world, timeout_s=1.0)
    with HttpLoad(f"http://{node.ports['http']}", clients=8, pause_s=0.002) as load:
        time.sleep(0.3)
        world.kill("web-2", signal.SIGSTOP)
        wait_until(lambda: "web-2" not in up(world, node))
        time.sleep(1.5)  # longer than the timeout of 1 s
        world.kill("web-2", signal.SIGCONT)
        assert failures(load) == []
    assert max(request.ended_s - request.sent_s for request in load.requests()) < 5.0


def test_a_hung_instance_that_is_killed_costs_no_request_that_may_be_repeated(world: Processes):
    node, _ = start(world, timeout_s=30.0)
    with HttpLoad(f"http://{node.ports['http']}", clients=8, pause_s=0.002) as load:
        time.sleep(0.3)
        world.kill("web-2", signal.SIGSTOP)
        time.sleep(1.0)  # requests pile up on it, for far less than the timeout of 30 s
        world.kill("web-2")
        time.sleep(0.3)
        assert failures(load) == []


@pytest.mark.parametrize(("clients", "pause_s"), [(1, 0.0), (20, 0.002)])
def test_a_reload_costs_no_request(world: Processes, clients: int, pause_s: float):
    node, _ = start(world)
    with HttpLoad(f"http://{node.ports['http']}", clients=clients, pause_s=pause_s) as load:
        for _ in range(10):
            world.write(node)
            before = worker(world, node)
            wait_until(lambda: kernel.catches(world.running[node.id].pid, signal.SIGUSR2))
            world.kill(node.id, signal.SIGUSR2)
            wait_until(lambda before=before: worker(world, node) not in ("", before))
        assert failures(load) == []


@pytest.mark.parametrize(("method", "repeated"), [("GET", True), ("PUT", True), ("POST", False)])
def test_only_a_request_that_may_be_repeated_is_sent_again_when_its_instance_dies(
    world: Processes, method: str, repeated: bool
):
    node, _ = start(world, running=2, limit=2)
    with HttpLoad(f"http://{node.ports['http']}", method=method, path="/slow", clients=4, pause_s=0.0) as load:
        time.sleep(0.25)
        world.kill("web-2")
        time.sleep(0.5)
        errors = [request.error for request in load.stop() if request.error]
    assert bool(errors) is not repeated


def test_draining_lets_requests_end_and_sends_no_new_ones(world: Processes):
    node, _ = start(world, running=2, limit=2)

    def server() -> Server:
        found: Server = read_servers(world.ask(_haproxy.look(node.id))).facts["servers"]["web-2"]
        return found

    with HttpLoad(f"http://{node.ports['http']}", path="/slow", clients=4, pause_s=0.0) as load:
        wait_until(lambda: server().sessions)
        assert _haproxy.problem(world.ask(_haproxy.drain(node.id, "web-2"))) == ""
        assert (server().admin, server().sessions > 0) == ("drain", True)
        assert 0.01 < wait_until(lambda: server().sessions == 0) < 5.0
        assert _haproxy.problem(world.ask(_haproxy.rest(node.id, "web-2"))) == ""
        assert (server().admin, server().up) == ("maint", False)
        world.kill("web-2")
        assert [request.error for request in load.stop() if request.error] == []


def test_haproxy_says_what_it_objects_to(world: Processes):
    node, _ = start(world, running=1, limit=1)
    assert _haproxy.problem(world.ask(_haproxy.drain(node.id, "web-9"))) == "No such server."


def follow(world: Processes, declared: Blueprint, operation: str, subject: str) -> Outcome:
    """Perform an operation against the real HAProxy."""
    steps = declared.operations[operation](declared, View(0.0, {}), subject)
    reply: Any = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        reply = tuple(world.ask(ask) for ask in step.asks) if isinstance(step, Together) else None
        if isinstance(step, Pause):
            time.sleep(step.seconds)


def test_a_rolling_replacement_costs_no_request_not_even_one_that_must_not_be_repeated(world: Processes):
    declared = app(scale=3, health="/healthz")
    for node in declared.of(Part.INSTANCE):
        world.web(node.id, node.ports["http"])
    (end,) = declared.of(Part.ENDPOINT)
    world.run(end, HAPROXY)
    wait_until(lambda: len(up(world, end)) == 3)
    loads = [
        HttpLoad(declared.bindings["URL"], method=m, path=p, clients=3) for m, p in [("POST", "/"), ("PUT", "/slow")]
    ]
    with loads[0], loads[1]:
        for node in declared.of(Part.INSTANCE):
            assert follow(world, declared, "drain", node.id) == Outcome(True, f"{node.id} has no requests left")
            world.kill(node.id)
            world.web(node.id, node.ports["http"])
            assert follow(world, declared, "admit", node.id).done
        time.sleep(0.2)
        assert [request.error for load in loads for request in load.stop() if request.error] == []
    assert follow(world, declared, "drain", "web-99") == Outcome(False, "No such server.")


def app(**keys: Any) -> Blueprint:
    """An app at addresses that nobody else has."""
    kind, declared = KINDS["app"], service("app", **keys)
    listeners = {claim.key: dict.fromkeys(claim.ports, fresh_address()) for claim in kind.claims("web", declared)}
    return kind.blueprint(declared, Grant("web", listeners, variables=VARIABLES))
