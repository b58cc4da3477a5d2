"""The rig itself: what its hosts are, what its faults do, and that nothing of it stays behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.swarm import cgroups
from tests.swarm.host import Host, until
from tests.swarm.rig import ROOT, Rig, missing, sweep

SLEEP = ("python3", "-c", "import signal; signal.signal(signal.SIGTERM, lambda *_: exit()); signal.pause()")
NAMES = {"node1", "node2", "node3"}


@contextlib.contextmanager
def service(rig: Rig, image: str, *, mounts: list[dict[str, str]] | None = None) -> Iterator[str]:
    """A service with one task on each host, until the end; gives its name."""
    name = f"s{uuid.uuid4().hex[:8]}"
    spec = {
        "Name": name,
        "TaskTemplate": {
            "ContainerSpec": {"Image": image, "Command": list(SLEEP), "Mounts": mounts or [], "StopGracePeriod": 10**9},
            "RestartPolicy": {"Condition": "any", "Delay": 10**8},
        },
        "Mode": {"Global": {}},
    }
    rig.leader().docker.post("/services/create", json=spec).raise_for_status()
    try:
        yield name
    finally:
        rig.mend()
        rig.leader().docker.delete(f"/services/{name}").raise_for_status()


def container(host: Host, name: str) -> dict[str, Any]:
    """The one running container of a service on a host."""
    found: dict[str, Any] = until(lambda: host.containers(name), f"{name} runs on {host.name}")[0]
    return found


def reaches(host: Host, other: Host, port: int = 2377) -> bool:
    """Whether a connection from one host to another's Swarm port is made."""
    with host.entered(), contextlib.suppress(OSError):
        socket.create_connection((other.address, port), timeout=3).close()
        return True
    return False


def test_the_hosts_are_managers_of_one_swarm(rig: Rig):
    assert rig.ready() == NAMES
    engines = [host.docker.get("/info").json() for host in rig.hosts]
    assert {engine["Name"] for engine in engines} == NAMES
    assert {engine["DockerRootDir"] for engine in engines} == {"/var/lib/docker"}
    assert len({engine["ID"] for engine in engines}) == 3
    zones = {name: node["Spec"]["Labels"]["zone"] for name, node in rig.nodes().items()}
    assert zones == {"node1": "a", "node2": "b", "node3": "c"}


def test_a_command_runs_on_a_host(rig: Rig):
    host = rig.hosts[1]
    said = host.run(["sh", "-c", "hostname; cat /etc/resolv.conf; ip -4 -brief address show u0; echo $HOME"]).stdout
    assert said.split()[:3] == ["node2", "nameserver", rig.gateway]
    assert f"{host.address}/24" in said
    assert str(host.disk) in said
    engine = "import httpx; print(httpx.Client(transport=httpx.HTTPTransport(uds='/var/run/docker.sock'))"
    assert "node2" in host.run([sys.executable, "-c", f"{engine}.get('http://docker/info').text)"]).stdout


def test_an_unknown_name_is_refused_by_the_hosts_resolver(rig: Rig):
    asking = "import socket; socket.gethostbyname('nowhere.example')"
    done = rig.hosts[0].run([sys.executable, "-c", asking], check=False)
    assert "Name or service not known" in done.stderr


def test_a_service_runs_from_the_image_by_its_id_on_every_host(rig: Rig, image_id: str):
    with service(rig, image_id) as name:
        assert {container(host, name)["ImageID"] for host in rig.hosts} == {image_id}


def test_a_container_can_ask_the_engine_of_its_host(rig: Rig, image_id: str):
    place = "/var/run/docker.sock"
    asking = (
        f"import httpx; print(httpx.Client(transport=httpx.HTTPTransport(uds='{place}')).get('http://d/info').text)"
    )
    with service(rig, image_id, mounts=[{"Type": "bind", "Source": place, "Target": place}]) as name:
        host = rig.hosts[2]
        docker = ["docker", "exec", container(host, name)["Id"], "python", "-c", asking]
        assert '"Name":"node3"' in host.run(docker).stdout


def test_the_image_has_everup_and_every_server(rig: Rig, image_id: str):
    run = ["docker", "run", "--rm", "--network=none", image_id]
    host = rig.hosts[0]
    assert host.run([*run, "everup", "--version"]).stdout.startswith("everup ")
    programs = host.run([*run, "everup", "doctor"], check=False).stdout
    for program in ("valkey-server", "haproxy", "postgres", "patroni", "etcd"):
        assert program in programs
    assert "uid=990(everup)" in host.run(["docker", "run", "--rm", "--user=everup", image_id, "id"]).stdout


def test_a_killed_container_is_replaced(rig: Rig, image_id: str):
    with service(rig, image_id) as name:
        host = rig.hosts[1]
        before = container(host, name)["Id"]
        host.kill_container(before)
        until(lambda: [one["Id"] for one in host.containers(name)] not in ([], [before]), "another container runs")


def test_two_hosts_can_be_kept_apart_while_others_hear_both(rig: Rig):
    one, other, third = rig.hosts
    rig.cut_between(one, other)
    assert not reaches(one, other)
    assert not reaches(other, one)
    assert reaches(third, one)
    assert reaches(third, other)
    rig.heal_between(one, other)
    assert reaches(one, other)


def state(rig: Rig, asked: Host, name: str) -> str:
    """What the manager on a host says of another one; "" while the Swarm has no leader who could say it."""
    return str(rig.nodes(asked).get(name, {}).get("Status", {}).get("State", ""))


def test_a_host_that_is_cut_off_is_down_and_comes_back(rig: Rig):
    one, other, third = rig.hosts
    third.cut()
    until(lambda: state(rig, one, "node3") == "down", "node3 is down for the others")
    assert not reaches(one, third)
    assert third.docker.get("/containers/json").status_code == 200  # its engine lives, alone
    third.heal()
    until(lambda: rig.ready(one) == NAMES, "node3 is ready again")
    assert reaches(other, third)


def test_the_host_that_leads_is_lost_with_all_its_processes_and_comes_back_with_its_disk(rig: Rig, image_id: str):
    volume = [{"Type": "volume", "Source": f"v{uuid.uuid4().hex[:8]}", "Target": "/kept"}]
    with service(rig, image_id, mounts=volume) as name:
        lost = rig.leader()
        writing = ["docker", "exec", container(lost, name)["Id"], "sh", "-c", "echo it is here >/kept/file; sync"]
        lost.run(writing)
        visitor = subprocess.Popen(lost.command(["sleep", "600"]))
        pids = cgroups.members(lost.group)
        assert len(pids) > 3
        lost.kill()
        assert visitor.wait(60) == -signal.SIGKILL
        assert {pid for pid in pids if Path(f"/proc/{pid}").exists()} == set()
        left = [host for host in rig.hosts if host is not lost]
        until(lambda: rig.leader() in left, "another host leads")
        until(lambda: state(rig, left[0], lost.name) == "down", "it is down for the others")
        lost.start()
        until(lambda: rig.ready(left[0]) == NAMES, "it is ready again")
        reading = ["docker", "exec", container(lost, name)["Id"], "cat", "/kept/file"]
        assert lost.run(reading).stdout == "it is here\n"


def test_everything_comes_back_after_a_power_cut(rig: Rig, image_id: str):
    with service(rig, image_id) as name:
        before = {host.name: container(host, name)["Id"] for host in rig.hosts}
        rig.power_cut()
        assert cgroups.members(rig.group) == set()
        rig.power_on()
        until(lambda: rig.ready() == NAMES, "every node is ready")
        for host in rig.hosts:
            assert container(host, name)["Id"] != before[host.name]


@pytest.fixture
def _able() -> None:
    reason = missing()
    if reason:
        pytest.skip(reason)


def traces(token: str, network: int) -> list[str]:
    """What of a rig is still there: its folder, mounts, cgroups, and processes in one of its networks."""
    found = [str(path) for path in Path("/tmp").glob(f"*{token}*")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if token in line]
    found += [str(path) for path in cgroups.folders(f"everup-rig-{token}")]
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            found += [str(path)] if path.stat().st_ino == network else []
    return found


def test_a_closed_rig_leaves_nothing_behind_and_another_is_not_disturbed(rig: Rig):
    with Rig(hosts=1, swarm=False) as small:
        network = Path(f"/proc/{small.hosts[0].pid}/ns/net").stat().st_ino
        assert len(traces(small.token, network)) > 3
    assert traces(small.token, network) == []
    assert rig.ready() == NAMES


MAKER = """
from tests.swarm.rig import Rig
with Rig(hosts=1, swarm=False) as rig:
    print(rig.token, rig._ground.pid, flush=True)
    input()
"""


@pytest.mark.parametrize("ground_too", [False, True])
@pytest.mark.usefixtures("_able")
def test_a_rig_whose_maker_was_killed_leaves_nothing_behind(ground_too: bool):
    maker = subprocess.Popen([sys.executable, "-c", MAKER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert maker.stdout
    token, ground = maker.stdout.readline().decode().split()
    network = Path(f"/proc/{ground}/ns/net").stat().st_ino
    assert len(traces(token, network)) > 3
    for pid in [int(ground), maker.pid] if ground_too else [maker.pid]:
        os.kill(pid, signal.SIGKILL)
    maker.communicate()
    if ground_too:  # nobody is left who could clean up: the next rig does
        assert f"everup-rig-{token}" in sweep()
        assert traces(token, network) == []
    else:
        until(lambda: not traces(token, network), "the ground has cleaned up")
