"""Server programs are found in a fixed order, and their versions are checked."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from everup.engines.local import programs
from everup.engines.local.programs import Programs
from everup.model.errors import EngineError


def a_program(folder: Path, name: str, says: str) -> Path:
    """An executable that prints its version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o700)
    return path


REDIS = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=1"
VALKEY = "Valkey server v=8.0.1 sha=00000000:0 malloc=libc bits=64 build=1"


@pytest.fixture
def without_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "product"), [("redis-server", "valkey"), ("haproxy", "haproxy")])
def test_the_wheels_bring_programs_that_run_as_they_are(name: str, product: str) -> None:
    found = Programs({}, {}).find(name)
    assert found.origin == "wheel"
    assert found.version.startswith(f"{product} ")
    assert subprocess.run([found.path, "-v"], capture_output=True, env={}, check=False).returncode == 0


def test_a_setting_comes_before_a_variable_before_a_wheel_before_the_path(tmp_path: Path) -> None:
    set_here = a_program(tmp_path / "set", "redis-server", REDIS)
    variable = a_program(tmp_path / "variable", "redis-server", REDIS)
    a_program(tmp_path / "path", "redis-server", REDIS)
    environ = {"PATH": str(tmp_path / "path"), "EVERUP_REDIS_SERVER": str(variable)}
    first = Programs({"redis-server": str(set_here)}, environ).find("redis-server")
    assert (first.path, first.origin, first.version) == (set_here, "setting", "redis 7.0.15")
    second = Programs({}, environ).find("redis-server")
    assert (second.path, second.origin) == (variable, "environment")
    assert Programs({}, {"PATH": environ["PATH"]}).find("redis-server").origin == "wheel"


@pytest.mark.usefixtures("without_wheels")
def test_on_the_path_redis_comes_before_valkey(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path)}
    valkey = a_program(tmp_path, "valkey-server", VALKEY)
    assert Programs({}, environ).find("redis-server").path == valkey
    redis = a_program(tmp_path, "redis-server", REDIS)
    assert Programs({}, environ).find("redis-server").path == redis


@pytest.mark.usefixtures("without_wheels")
def test_what_is_too_old_is_passed_over_on_the_path(tmp_path: Path) -> None:
    a_program(tmp_path, "redis-server", REDIS.replace("7.0.15", "5.0.7"))
    valkey = a_program(tmp_path, "valkey-server", VALKEY)
    assert Programs({}, {"PATH": str(tmp_path)}).find("redis-server").path == valkey


@pytest.mark.parametrize(
    ("name", "says", "version"),
    [
        ("redis-server", REDIS.replace("7.0.15", "6.2.14"), "7.0"),
        ("redis-server", VALKEY.replace("8.0.1", "7.1.0"), "7.2"),
        ("haproxy", "HAProxy version 2.4.22-1 2023/02/14 - https://haproxy.org/", "2.6"),
    ],
)
def test_what_was_asked_for_and_is_too_old_is_refused(tmp_path: Path, name: str, says: str, version: str) -> None:
    path = a_program(tmp_path, name, says)
    with pytest.raises(EngineError) as error:
        Programs({name: str(path)}, {}).find(name)
    assert str(path) in error.value.message
    assert f"needs {version} or newer" in error.value.message
    assert error.value.code == "engine.program_unfit"


@pytest.mark.parametrize("state", ["missing", "not executable", "another program", "silent"])
def test_what_was_asked_for_and_is_unfit_is_refused(tmp_path: Path, state: str) -> None:
    path = tmp_path / "redis-server"
    if state != "missing":
        a_program(tmp_path, "redis-server", "ls (GNU coreutils) 9.1" if state == "another program" else "")
    if state == "not executable":
        path.chmod(stat.S_IRUSR)
    with pytest.raises(EngineError) as error:
        Programs({}, {"EVERUP_REDIS_SERVER": str(path)}).find("redis-server")
    assert f"{path} (from environment variable EVERUP_REDIS_SERVER)" in error.value.message


@pytest.mark.usefixtures("without_wheels")
def test_what_is_missing_comes_with_the_command_that_brings_it() -> None:
    findings = {finding.name: finding for finding in Programs({}, {"PATH": ""}).survey()}
    assert set(findings) == {"etcd", "haproxy", "patroni", "postgres", "psql", "python", "redis-server"}
    assert findings["redis-server"].program is None
    assert "EVERUP_REDIS_SERVER" in findings["redis-server"].problem
    assert "pip install 'everup[servers]'" in findings["redis-server"].remedy
    assert findings["python"].program
    assert str(findings["python"].program.path) == sys.executable


def test_a_version_is_asked_for_once(tmp_path: Path) -> None:
    path = tmp_path / "haproxy"
    path.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho 'HAProxy version 3.0.1 2024/05/29'\n")
    path.chmod(0o700)
    for _ in range(3):
        Programs({"haproxy": str(path)}, dict(os.environ)).find("haproxy")
    assert (tmp_path / "asked").read_text().count("asked") == 1
