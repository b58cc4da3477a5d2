"""The services of the control plane: what they are given, and what nobody may read there."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from everup.engines.swarm import control
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


@pytest.mark.parametrize("text", ["7", "{}", "not JSON", '{"number": 1, "keeper": "", "address": "", "pieces": []}'])
def test_a_label_that_somebody_else_wrote_is_no_manifest(text: str) -> None:
    with pytest.raises(EngineError, match="not what Everup wrote"):
        manifest_in({"Labels": {LABEL: text}})
