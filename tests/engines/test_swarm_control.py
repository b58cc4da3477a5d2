"""The services of the control plane: what they are given, and what nobody may read there."""

import json
import ssl
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from everup.engines.swarm import control
from everup.engines.swarm.certificates import self_signed
from everup.engines.swarm.leaf import Leaf
from everup.engines.swarm.manifest import LABEL, Manifest, manifest_in, with_manifest, without_manifest
from everup.engines.swarm.pair import CERT, KEY, pair_in
from everup.model.errors import EngineError

SECRET = {"SecretID": "s1", "SecretName": "everup-sealing-key.abc", "File": {"Name": "/run/secrets/everup-sealing-key"}}
MANIFEST = Manifest(7, "a1b2", "10.0.0.1", {"state": ("everup.state-6-a1b2-1", "everup.state-6-a1b2-2")})


def test_one_control_plane_runs_on_the_hosts_that_vote_and_has_no_disk_of_its_own() -> None:
    spec = control.control_spec("everup:1", [SECRET], [])
    template = spec["TaskTemplate"]
    assert spec["Mode"] == {"Replicated": {"Replicas": 1}}
    assert spec["UpdateConfig"]["Order"] == "stop-first"  # never two of them, not even for a moment
    assert template["Placement"]["Constraints"] == ["node.role==manager"]
    assert {mount["Type"] for mount in template["ContainerSpec"]["Mounts"]} == {"bind", "tmpfs"}


@pytest.mark.parametrize("change", [("everup:2", [SECRET]), ("everup:1", [{**SECRET, "SecretID": "s2"}])])
def test_a_specification_is_recognised_until_something_of_it_changes(change: tuple[str, list[Any]]) -> None:
    first, again = (control.control_spec("everup:1", [SECRET], [])["Labels"] for _ in range(2))
    assert first == again
    assert control.control_spec(*change, [])["Labels"] != first


def test_a_container_finds_what_it_is_given_where_a_control_plane_looks(tmp_path: Path) -> None:
    given, home = tmp_path / "secrets", tmp_path / "home"
    pair = pair_in(tmp_path / "pair")
    given.mkdir()
    for name, content in control.Credentials("key", "tls key", "tls cert", pair).secrets.items():
        (given / name).write_bytes(content)
    control.settle(home, given)
    assert (home / "secret.key").read_text() == "key"
    assert (home / "secret.key").stat().st_mode & 0o077 == 0
    assert pair_in(home / "swarm").mark == pair.mark
    assert {path.name for path in (home / "swarm").iterdir()} == {f"{KEY}.pem", f"{CERT}.pem"}


def test_a_container_that_was_given_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="was not started by its Swarm"):
        control.settle(tmp_path / "home", tmp_path / "nothing")


def test_a_manifest_is_read_back_as_it_was_written_and_leaves_other_labels_alone() -> None:
    spec = with_manifest({"Name": "default", "Labels": {"owner": "ada"}}, MANIFEST)
    assert manifest_in(json.loads(json.dumps(spec))) == MANIFEST
    assert manifest_in(with_manifest(spec, replace(MANIFEST, number=8))).number == 8
    assert without_manifest(spec) == {"Name": "default", "Labels": {"owner": "ada"}}
    assert manifest_in({"Labels": None}) == Manifest()


class Voters:
    """The hosts of a Swarm, as Docker lists them."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.cluster = self

    async def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "ID": f"h{number}",
                "Description": {"Hostname": f"node{number}"},
                "Spec": {"Availability": "active"},
                "Status": {"State": "ready", "Addr": f"10.77.0.{number}"},
                **({"ManagerStatus": {"Addr": f"10.77.0.{number}:2377"}} if number < 9 else {}),
            }
            for number in self.numbers
        ]


def handshake(home: Path, authority: str, name: str) -> None:
    """Connect to what is shown in `home` as a client that knows only `authority`; an error where it is not trusted."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=authority)
    server.load_cert_chain(home / control.SHOWN_CERT, home / control.SHOWN_KEY)
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(there, here, server_hostname=name),
        server.wrap_bio(here, there, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert ends[0].version()


async def test_clients_of_the_first_installation_trust_what_is_shown_for_hosts_that_joined_later(
    tmp_path: Path,
) -> None:
    key, authority = self_signed("everup")
    (tmp_path / control.TLS_KEY).write_text(key)
    (tmp_path / control.TLS_CERT).write_text(authority)
    voters = Voters(1, 2, 9)
    leaf = Leaf(voters, tmp_path, tmp_path, tmp_path)  # type: ignore[arg-type]
    assert await leaf.renew()
    for name in ("10.77.0.1", "node2", "127.0.0.1"):
        handshake(tmp_path, authority, name)
    for stranger in ("10.77.0.3", "10.77.0.9", "example.net"):  # the ninth has no vote, and no door
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(tmp_path, authority, stranger)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, self_signed("everup")[1], "10.77.0.1")
    voters.numbers = (1, 2, 3)
    assert await leaf.renew()
    handshake(tmp_path, authority, "10.77.0.3")
    shown = (tmp_path / control.SHOWN_CERT).read_text()
    assert not await leaf.renew()
    assert (tmp_path / control.SHOWN_CERT).read_text() == shown
    assert authority != shown
    assert (tmp_path / control.SHOWN_KEY).stat().st_mode & 0o077 == 0


async def test_keys_that_are_none_are_told_of(tmp_path: Path) -> None:
    (tmp_path / control.TLS_KEY).write_text("nothing")
    (tmp_path / control.TLS_CERT).write_text("nothing")
    with pytest.raises(EngineError, match="certificate cannot be made"):
        await Leaf(Voters(1), tmp_path, tmp_path, tmp_path).renew()  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["7", "{}", "not JSON", '{"number": 1, "keeper": "", "address": "", "pieces": []}'])
def test_a_label_that_somebody_else_wrote_is_no_manifest(text: str) -> None:
    with pytest.raises(EngineError, match="not what Everup wrote"):
        manifest_in({"Labels": {LABEL: text}})
