"""The script that makes a bare machine a host, on a machine that has Docker; ssh is played by a wrapper."""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.image import ROOT
from tests.swarm.host import Host
from tests.swarm.image import SYSTEM_PATH
from tests.swarm.rig import Rig, missing

SCRIPT = ROOT / "deploy" / "host.sh"
IMAGE = "everup:tiny"


@pytest.fixture(scope="module")
def pair() -> Iterator[Rig]:
    """Two hosts that know nothing of each other; the first has an image of Everup's name, with nothing in it."""
    if lack := missing():
        pytest.skip(lack)
    with Rig(hosts=2, swarm=False) as pair:
        empty = io.BytesIO()
        tarfile.open(fileobj=empty, mode="w").close()
        place = {"fromSrc": "-", "repo": "everup", "tag": "tiny"}
        pair.hosts[0].docker.post("/images/create", params=place, content=empty.getvalue()).raise_for_status()
        yield pair


def run(host: Host, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the script on a host, where the programs in `folder` come first."""
    return host.run(["env", f"PATH={folder}:{SYSTEM_PATH}", "sh", str(SCRIPT), *words], check=False)


def test_a_host_joins_with_the_image_of_the_first_and_a_second_call_changes_nothing(pair: Rig, tmp_path: Path):
    one, other = pair.hosts
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\nshift\nexec env DOCKER_HOST=unix://{one.socket} sh -c "$*"\n')
    ssh.chmod(0o755)
    one.run(["env", f"PATH={SYSTEM_PATH}", "docker", "swarm", "init", "--advertise-addr", one.address])
    for _ in range(2):
        done = run(other, tmp_path, "join", f"root@{one.address}")
        assert done.returncode == 0, done.stderr
    assert "fetching" not in done.stdout
    ids = {host.docker.get(f"/images/{IMAGE}/json").raise_for_status().json()["Id"] for host in pair.hosts}
    assert len(ids) == 1
    nodes = one.docker.get("/nodes").raise_for_status().json()
    assert {node["Status"]["Addr"] for node in nodes} == {one.address, other.address}
    assert all(node["ManagerStatus"] for node in nodes)


def test_a_first_host_without_the_image_is_told(pair: Rig, tmp_path: Path):
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexit 0\n")
    ssh.chmod(0o755)
    done = run(pair.hosts[1], tmp_path, "join", "root@10.0.0.1")
    assert (done.returncode, done.stderr) == (1, "error: root@10.0.0.1 has no image of Everup; there: make image\n")


@pytest.mark.parametrize("words", [[], ["everything"]])
def test_what_it_does_not_know_it_does_not_do(words: list[str]):
    done = subprocess.run(["sh", str(SCRIPT), *words], capture_output=True, text=True, check=False)
    said = "say first, or join USER@FIRST" if os.geteuid() == 0 else "run it as root: it installs Docker"
    assert (done.returncode, done.stderr) == (1, f"error: {said}\n")
