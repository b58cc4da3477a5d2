"""A real control plane on a TCP port: commands with tokens, what they are refused, and a fuzzer."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.everup_cli import Everup

pytestmark = pytest.mark.faults

FUZZ_S = int(os.environ.get("EVERUP_FUZZ_S", "0"))
"""How long the fuzzer goes on; 0: only a few requests of each route, however long they take."""

SPEC = """\
environment: shop
services:
  redis01: {kind: redis}
  web: {kind: worker, run: sleep 100000, limit: 4}
"""


class Remote:
    """The control plane of an environment that is up, by its port; and tokens by name."""

    def __init__(self, everup: Everup) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.server = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.everup = everup
        everup("serve", "--listen", self.server.removeprefix("http://"), "--keep")
        everup("up")
        self.tokens = {
            "op": self.token("op", "operator"),
            "dev": everup("token", "create", "dev", "--level", "developer", "-e", "shop").stdout.strip(),
            "eye": self.token("eye", "viewer"),
            "elsewhere": self.token("elsewhere", "operator", ["other"]),
        }

    def token(self, name: str, level: str, environments: list[str] | None = None) -> str:
        with self.everup.api() as owner:
            wanted = {"name": name, "level": level, "environments": environments}
            secret: str = owner.post("/v1/tokens", json=wanted).json()["secret"]
        return secret

    def __call__(self, who: str, *words: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        return self.everup("--server", self.server, "--token", self.tokens[who], *words, codes=codes)

    def http(self, who: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        return httpx.Client(base_url=f"{self.server}/v1", headers=headers, timeout=60)


@pytest.fixture(scope="module")
def remote():
    with Everup(SPEC) as everup:
        yield Remote(everup)


def test_commands_do_over_tcp_what_they_do_here(remote):
    assert "web: 1 → 2 instances" in remote("dev", "scale", "web", "2", "--no-wait").stdout
    assert remote("eye", "status", codes=(0, 3)).stdout.startswith("shop · local")


def test_an_up_from_elsewhere_is_judged_by_what_it_changes(remote):
    file = remote.everup.folder / "everup.yaml"
    file.write_text(SPEC.replace("limit: 4", "limit: 5"))
    refused = remote("dev", "up", codes=(4,)).stderr
    assert "it raises the limit of web from 4 to 5: that takes an operator" in refused
    file.write_text(SPEC)
    without = SPEC.replace("  redis01: {kind: redis}\n", "")
    for who, text, status in (("dev", without, 403), ("eye", SPEC, 403), ("elsewhere", SPEC, 404), ("dev", SPEC, 200)):
        with remote.http(who) as http:
            body = {"file": str(file), "text": text, "directory": "", "path": ""}
            answers = [http.post(f"/{what}", json=body) for what in ("plan", "apply")]
            assert [one.status_code for one in answers] == [status, status], (who, answers[1].text)
    services = {one["label"]: one for one in remote.everup.status()["services"]}
    assert (services["web"]["limit"], services["redis01"]["health"]) == (4, "healthy")


def test_what_needs_the_machine_says_so(remote):
    for words in (("drill", "redis01", "--fault", "crash"), ("doctor",), ("store", "backup", "all.tar.gz")):
        told = remote("op", *words, codes=(2,)).stderr
        assert f"{words[0]} needs the machine itself" in told and "--server local" in told


def test_an_environment_of_others_is_not_there(remote):
    with remote.http("elsewhere") as http:
        assert http.get("/control").json()["environments"] == []
        for path in ("/environments/shop", "/environments/other", "/environments/shop/variables"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["hint"]) == (404, "Known: other.")


def test_a_revoked_token_is_none_at_the_next_request(remote):
    remote.tokens["brief"] = remote.token("brief", "viewer")
    with remote.http("brief") as http:
        assert http.get("/control").status_code == 200
        remote.everup("token", "revoke", "brief")
        assert http.get("/control").status_code == 401
    listed = remote.everup.json("token", "list")["tokens"]
    assert {one["name"] for one in listed} == set(remote.tokens) - {"brief"}
    assert next(one for one in listed if one["name"] == "eye")["used_utc"]
    assert not any(secret in str(listed) for secret in remote.tokens.values())


def test_a_context_stands_for_a_server_and_its_token(remote):
    everup = remote.everup
    token = remote.everup.home / "token.txt"
    token.write_text(remote.tokens["dev"] + "\n")
    with token.open() as given:
        added = subprocess.run(
            [Path(sys.executable).parent / "everup", "context", "add", "prod", "--server", remote.server],
            env=everup.environ,
            stdin=given,
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert "as dev (developer)" in added.stdout, added.stderr
    file = everup.home / "config" / "everup" / "contexts.json"
    assert file.stat().st_mode & 0o777 == 0o600
    try:
        assert "takes an operator" in everup("limit", "web", "9", codes=(4,)).stderr
        assert everup("--server", "local", "limit", "web", "4")
    finally:
        everup("context", "remove", "prod")


def test_no_token_is_in_the_log_or_the_events(remote):
    kept = [path for path in (remote.everup.home / "state").rglob("*") if path.is_file()]
    assert any(path.name == "everup.log" for path in kept)
    for path in kept:
        text = path.read_bytes()
        assert not any(secret.encode() in text for secret in remote.tokens.values()), path


CONFIG = '[parameters]\n"query.follow" = false\n'
"""A stream that is followed ends with its reader."""


@pytest.mark.timeout(FUZZ_S + 600)
def test_a_fuzzer_finds_no_server_error_and_no_answer_that_is_not_described(remote, tmp_path):
    """`positive_data_acceptance` is left out: a spec is a text of its own grammar, which no JSON Schema describes."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    options = {
        "--header": f"Authorization: Bearer {remote.tokens['op']}",
        "--exclude-path": "/v1/control/stop",  # ends what is asked
        "--exclude-checks": "positive_data_acceptance,object_level_authorization",
        **({"--max-time": str(FUZZ_S)} if FUZZ_S else {"--phases": "fuzzing", "--max-examples": "8", "--seed": "1"}),
        "--rate-limit": "40/s",
        "--request-timeout": "120",
        "--warnings": "off",
        "--suppress-health-check": "all",
        "--generation-database": "none",
    }
    program = Path(sys.executable).parent / "schemathesis"
    words = [word for option in options.items() for word in option]
    ran = subprocess.run(
        [program, "--config-file", config, "run", f"{remote.server}/v1/openapi.json", "--no-color", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=FUZZ_S + 300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr + remote.everup.log()
    assert "No issues found" in ran.stdout
    assert "Traceback" not in remote.everup.log()
