"""The command as its users have it: real processes, a real control plane, real Redis."""

import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest

from tests.everup_cli import Everup

pytestmark = pytest.mark.faults

SPEC = """\
environment: shop
services:
  cache: {kind: redis}
"""

UNSTARTABLE = """\
environment: shop
programs: {redis-server: /bin/false}
services:
  cache: {kind: redis}
"""


@pytest.fixture(scope="module")
def shop():
    """One environment that is up; tests leave it so."""
    with Everup(SPEC) as everup:
        everup("up")
        yield everup


@pytest.fixture
def fresh():
    with Everup(SPEC) as everup:
        yield everup


def control_pid(everup):
    return everup.status()["control_plane"]["pid"]


def ended(everup, pid):
    return pid not in everup.processes()


def test_a_second_up_changes_nothing_and_says_so(shop):
    before = shop.nodes("cache")
    assert "everything is as declared" in shop("up").stdout
    assert shop.json("up")["changes"] == []
    assert {id: node["pid"] for id, node in shop.nodes("cache").items()} == {
        id: node["pid"] for id, node in before.items()
    }
    assert shop.json("plan")["changes"] == []


def test_status_tells_people_and_programs_the_same(shop):
    text = shop("status").stdout
    service = shop.service("cache")
    assert text.startswith("shop · local · healthy\n")
    assert service["endpoint"] in text and "● healthy" in text
    nodes = shop("status", "cache").stdout
    assert all(node["id"] in nodes and f"pid {node['pid']}" in nodes for node in service["nodes"])
    assert not re.search(r"[ \x1b]$", text, re.MULTILINE)


def test_global_options_work_on_both_sides(shop):
    assert json.loads(shop("--json", "-e", "shop", "status").stdout)["environment"] == "shop"
    assert json.loads(shop("status", "--json", "-e", "shop").stdout)["environment"] == "shop"
    assert "no environment other" in shop("status", "-e", "other", codes=(1,)).stderr


def test_variables_reach_a_shell_a_program_and_a_command(shop):
    url = shop.variables("cache")["CACHE_URL"]
    assert f"CACHE_URL={url}\n" in shop("env").stdout
    assert shop.json("env")["cache"]["CACHE_URL"] == url
    script = shop("env", "--export").stdout
    shown = subprocess.run(["/bin/sh", "-c", f'{script}\nprintf %s "$CACHE_URL"'], capture_output=True, text=True)
    assert shown.stdout == url
    ran = shop("run", "--", "/bin/sh", "-c", "printf %s $REDIS_URL; exit 7", codes=(7,))
    assert ran.stdout == url
    assert "no such command" in shop("run", "cache", "--", "no-such-program", codes=(127,)).stderr
    assert "everup run -- COMMAND" in shop("run", codes=(2,)).stderr


def test_a_snippet_is_printed_for_the_language_asked_for(shop):
    answer = shop.json("connect", "cache")
    assert answer["language"] == "python"
    assert shop("connect", "cache").stdout.rstrip() == answer["snippet"].rstrip() != ""
    assert shop("connect", "cache", "--lang", "cobol", codes=(2,)).stdout == ""


def test_the_shell_talks_to_redis(shop):
    lines = ["SET greeting 'good day'", "GET greeting", "RPUSH l a b", "LRANGE l 0 -1", "GET nothing"]
    script = "\n".join([*lines, "'open", "NONSENSE", "quit", "SET greeting 0"])
    environ = {**shop.environ, "PATH": "/nonexistent"}
    command = [shop.environ["PATH"].split(":")[0] + "/everup", "shell", "cache"]
    talk = subprocess.run(
        command, cwd=shop.folder, env=environ, input=script, capture_output=True, text=True, timeout=120
    )
    assert talk.stdout.splitlines()[:6] == ["OK", "good day", "(integer) 2", "1) a", "2) b", "(nil)"]
    assert "(not sent)" in talk.stdout and "(error) ERR unknown command 'NONSENSE'" in talk.stdout
    assert talk.returncode == 1


def test_events_and_logs_end_quietly_when_their_reader_goes(shop):
    lines = [json.loads(line) for line in shop("events", "--json").stdout.splitlines()]
    assert [one["seq"] for one in lines] == sorted(one["seq"] for one in lines)
    assert {"node.started", "node.ready", "service.healthy"} <= {one["name"] for one in lines}
    assert all(re.match(r"\d\d:\d\d:\d\d  \S", line) for line in shop("events", "-n", "3").stdout.splitlines())
    assert "cache-1" in shop("logs", "cache").stdout
    assert "no service or node" in shop("logs", "cash", codes=(1,)).stderr
    follower = shop.start("logs", "cache", "-f")
    follower.stdout.readline()
    follower.stdout.close()
    shop("run", "--", "true")
    follower.send_signal(signal.SIGINT)
    assert follower.wait(60) in (0, 130)
    assert "Traceback" not in follower.stderr.read()


def test_ctrl_c_says_one_sentence(shop):
    follower = shop.start("events", "-f")
    follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=60)
    assert (follower.returncode, err.count("\n")) == (130, 2)
    assert "interrupted" in err


def test_a_restart_is_followed_to_its_end(shop):
    before = shop.nodes("cache")["cache-1"]["pid"]
    assert shop("restart", "cache").stdout.endswith("cache was restarted\n")
    after = shop.service("cache")
    assert after["health"] == "healthy"
    assert after["nodes"][0]["pid"] != before


def test_check_ends_with_3_where_a_node_could_not_be_lost_and_says_what_to_do(shop):
    assert "→ everup ha enable cache" in shop("check", codes=(3,)).stdout
    body = shop.json("check", "cache", codes=(3,))
    assert (body["verdict"], body["services"][0]["survives"]) == ("no", {"node": False, "host": False})
    assert "has no service nobody" in shop("check", "nobody", codes=(1,)).stderr
    assert "its data is there" in shop("explain", "cache").stdout
    assert "Its services: cache" in shop("explain", "nobody", codes=(1,)).stderr


def test_what_has_no_scale_is_refused(shop):
    assert "refused.kind" in shop("limit", "cache", "3", codes=(1,)).stderr
    assert "refused.kind" in shop("deploy", "cache", codes=(1,)).stderr
    assert "everup ha enable cache" in shop("scale", "cache", "3", codes=(1,)).stderr
    error = json.loads(shop("limit", "cache", "3", "--json", codes=(1,)).stderr)["error"]
    assert error.keys() >= {"code", "message", "hint", "at"}
    assert "It has: cache" in shop("scale", "cash", "3", codes=(1,)).stderr
    assert shop("scale", "cache", "many", codes=(2,)).stdout == ""


def test_one_machine_has_no_host_to_drain(shop):
    refused = shop("drain", "node1", codes=(1,)).stderr
    assert "refused.engine" in refused
    assert "engine: swarm" in refused
    assert "refused.engine" in shop("undrain", "node1", codes=(1,)).stderr


def test_down_asks_and_nobody_there_is_no(shop):
    assert "--yes" in shop("down", codes=(2,)).stderr
    assert shop.status()["health"] == "healthy"


def test_a_killed_control_plane_is_started_again_by_the_next_command(shop):
    pid, nodes = control_pid(shop), shop.nodes("cache")
    os.kill(pid, signal.SIGKILL)
    first, second = shop.start("status", "--json"), shop.start("env", "cache", "--json")
    (out, err), (variables, err_too) = first.communicate(timeout=240), second.communicate(timeout=240)
    assert "it was started again" in err + err_too
    assert json.loads(out)["control_plane"]["pid"] != pid
    assert "CACHE_URL" in json.loads(variables)
    shop.wait_healthy()
    assert {id: node["pid"] for id, node in shop.nodes("cache").items()} == {
        id: node["pid"] for id, node in nodes.items()
    }
    assert sum("everup.serve" in command for command in shop.processes().values()) == 1


def test_the_home_is_private(shop):
    home = shop.home / "state"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "everup.sock").stat().st_mode) == 0o600


def test_doctor_finds_what_runs(shop):
    found = shop.json("doctor")
    assert found["ok"] and {"redis-server", "haproxy", "home"} <= {check["name"] for check in found["checks"]}
    broken = shop.environ | {"EVERUP_HAPROXY": "/bin/false"}
    with Everup(SPEC, environ=broken | {"EVERUP_HOME": str(shop.home / "other")}) as other:
        assert "haproxy" in other("doctor", codes=(3,)).stdout


def test_the_schema_is_json(fresh):
    assert "cache" not in fresh("schema").stdout
    assert fresh.json("schema")["$schema"]


def test_nothing_runs_before_up_and_looking_starts_nothing(fresh):
    for command in (("status",), ("env",), ("logs", "cache"), ("down", "--yes")):
        assert "no environment runs here" in fresh(*command, codes=(1,)).stderr
    assert fresh.processes() == {}


def test_a_plan_changes_nothing_and_leaves_nothing_running(fresh):
    changes = fresh.json("plan")["changes"]
    assert {change["node"] for change in changes} >= {"cache-1", "cache-endpoint"}
    assert "+" in fresh("plan").stdout
    assert fresh.processes() == {}


def test_a_wrong_spec_starts_no_control_plane(fresh):
    fresh.write_spec("environment: shop\nservices:\n  cache: {kind: rediss, colour: red}\n")
    for command in ("up", "plan"):
        told = fresh(command, codes=(2,)).stderr
        assert "everup.yaml:3:17" in told and "Did you mean redis?" in told
    assert fresh.processes() == {}
    assert "nowhere.yaml cannot be read" in fresh("up", "-f", "nowhere.yaml", codes=(1,)).stderr


def test_down_keeps_the_data_and_ends_the_control_plane_and_destroy_deletes_it(fresh):
    fresh("up")
    pid = control_pid(fresh)
    fresh("run", "--", "true")
    subprocess.run(
        [fresh.environ["PATH"].split(":")[0] + "/everup", "shell", "cache"],
        cwd=fresh.folder,
        env=fresh.environ,
        input="SET kept 1\n",
        text=True,
        check=True,
        capture_output=True,
    )
    assert fresh("down", "--yes").stdout.endswith("shop is down; its data is kept\n")
    assert ended(fresh, pid) and fresh.processes() == {}
    stopped = fresh("status", codes=(3,)).stdout
    assert "stopped" in stopped and fresh.processes() == {}
    fresh("up")
    assert fresh.status()["health"] == "healthy"
    assert fresh.json("down", "--destroy", "--yes")["destroyed"]
    assert fresh.processes() == {}
    assert "no environment shop" in fresh("status", codes=(1,)).stderr


def test_what_cannot_start_is_given_up_early_and_explained(fresh):
    fresh.write_spec(UNSTARTABLE)
    begun_s = time.monotonic()
    failed = fresh("up", codes=(1,))
    assert time.monotonic() - begun_s < 100
    assert "cache is not ready" in failed.stderr and "/bin/false" in failed.stderr
    assert failed.stdout.count("could not be started") == 1
    assert fresh("status", codes=(3,)).stdout.startswith("shop · local · down")


def test_interrupting_up_leaves_it_to_the_control_plane(fresh):
    fresh.write_spec(UNSTARTABLE)
    up = fresh.start("up")
    assert up.stdout.readline()
    up.send_signal(signal.SIGINT)
    _, err = up.communicate(timeout=240)
    assert up.returncode == 130
    assert "the control plane goes on with it" in err and "everup down" in err
    assert control_pid(fresh) in fresh.processes()


def test_a_control_plane_that_cannot_start_shows_its_log(fresh):
    state = fresh.home / "state"
    state.mkdir(mode=0o700)
    (state / "everup.sqlite").mkdir()
    failed = fresh("up", codes=(1,))
    assert "the control plane ended with exit code" in failed.stderr
    assert "everup.log" in failed.stderr and "Traceback (most" not in failed.stderr.splitlines()[0]


def test_a_home_that_others_can_change_is_not_trusted(fresh):
    state = fresh.home / "state"
    state.mkdir()
    (state / "something").touch()
    state.chmod(0o777)
    assert "can be changed by other users" in fresh("up", codes=(4,)).stderr


def test_a_home_with_a_long_path_still_has_a_socket():
    with Everup(SPEC) as everup:
        everup.environ["EVERUP_HOME"] = str(everup.home / ("long" * 30))
        everup("up")
        assert everup.status()["health"] == "healthy"
        everup("down", "--destroy", "--yes")


def test_doctor_looks_for_docker_only_where_somebody_asks_for_it(fresh):
    lacking = fresh.environ | {"DOCKER_HOST": f"unix://{fresh.home}/no-docker.sock"}
    with Everup(SPEC, environ=lacking) as one:
        assert "docker" not in {check["name"] for check in one.json("doctor")["checks"]}
        one.write_spec(SPEC.replace("environment:", "engine: swarm\nenvironment:", 1))
        found = one.json("doctor", codes=(3,))["checks"]
        (docker,) = [check for check in found if check["name"] == "docker"]
        assert not docker["ok"] and "apt-get install docker.io" in docker["remedy"]
