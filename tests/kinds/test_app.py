"""Apps and workers as declared: what a spec may say, and what becomes of it."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from everup.kinds._process import expand
from everup.kinds.app import read_status
from everup.model.desired import Part, Protocol, Tcp
from tests.kinds.shapes import KINDS, blueprint, grant, service


@pytest.mark.parametrize(
    ("drill", "said"),
    [
        ({}, "Field required"),
        ({"path": "orders"}, "must be a path such as /orders"),
        ({"path": "/or ders"}, "must be a path such as /orders"),
        ({"path": "/orders", "method": "SEND"}, "'GET', 'POST', 'PUT', 'PATCH' or 'DELETE'"),
        ({"path": "/orders", "within": "soon"}, "must be a duration"),
        ({"path": "/orders", "verb": "PUT"}, "Extra inputs"),
    ],
)
def test_the_request_of_a_drill_is_checked_like_all_else(drill: dict[str, str], said: str):
    assert said in flaw("app", drill=drill)


def test_the_request_of_a_drill_restarts_nothing():
    before, after = blueprint("app"), blueprint("app", drill={"path": "/orders"})
    assert [node.digest for node in after.nodes] == [node.digest for node in before.nodes]


def flaw(kind: str, **keys: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        service(kind, **keys)
    (error,) = caught.value.errors()
    return error["msg"]


@pytest.mark.parametrize("kind", ["app", "worker"])
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"run": "serve 'it"}, "close every quote"),
        ({"run": "   "}, "must name a program"),
        ({"run": "serve | tee log"}, "uses |, which only a shell understands"),
        ({"run": "a && b"}, "uses &&"),
        ({"run": "DEBUG=1 serve"}, "not with a variable"),
        ({"run": "serve \0"}, "NUL"),
        ({"scale": 4}, "scale is over its limit of 3"),
        ({"scale": -1}, "greater than or equal to 0"),
        ({"limit": 0}, "greater than or equal to 1"),
        ({"env": {"A-B": "1"}}, "a name that no variable can have: A-B"),
        ({"env": {"PORT": "1"}}, "sets PORT, which Everup gives"),
        ({"env": {"EVERUP_X": "1"}}, "sets EVERUP_X"),
        ({"stop_grace": "soon"}, "must be a duration"),
    ],
)
def test_what_cannot_work_is_refused_in_words(kind: str, keys: dict[str, Any], said: str):
    assert said in flaw(kind, **keys)


@pytest.mark.parametrize("health", ["healthz", "", "HTTP", "/a b", "/a'b", "/a\nb", "/é"])
def test_health_is_tcp_none_or_a_path(health: str):
    assert "must be tcp, none, or a path" in flaw("app", health=health)


@pytest.mark.parametrize(
    "run", ["sh -c 'a | b && c > d'", 'serve --title "a; b"', "serve a=b", "serve http://x/?a=b&c=d"]
)
def test_quoted_and_harmless_signs_are_no_shell(run: str):
    assert service("app", run=run).run == run


def test_each_instance_is_told_its_own_address_and_all_variables_without_a_shell():
    web = blueprint("app", run="serve --on $HOST:${PORT} '--title=two words' $REDIS_URL$$", env={"LOG_LEVEL": "info"})
    first, second = web.of(Part.INSTANCE)
    listen = first.ports["http"]
    assert (first.program, first.args) == (
        "serve",
        ("--on", str(listen), "--title=two words", "redis://127.0.0.9:6379$"),
    )
    assert first.env == {
        "HOST": listen.host,
        "PORT": "8080",
        "REDIS_URL": "redis://127.0.0.9:6379",
        "LOG_LEVEL": "info",
    }
    assert first.ambient["PATH"] == "/usr/bin"
    assert second.env["HOST"] != listen.host


def test_a_worker_is_told_no_address():
    (worker, _) = blueprint("worker").nodes
    assert set(worker.env) == {"REDIS_URL"}
    assert (worker.ports, worker.probe.protocol) == ({}, Protocol.NONE)


@pytest.mark.parametrize("kind", ["app", "worker"])
def test_a_variable_that_is_not_given_is_refused_by_its_name(kind: str):
    with pytest.raises(ValueError, match=r"run names \$REDIS, which it is not given"):
        blueprint(kind, run="serve $REDIS")


def test_a_worker_may_not_use_an_address_that_it_does_not_have():
    with pytest.raises(ValueError, match=r"run names \$PORT"):
        blueprint("worker", run="work $PORT")


@given(st.text())
def test_a_word_without_dollars_stays_as_it_is(word: str):
    word = word.replace("$", "")
    assert expand(word, {}) == word


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), st.text(), min_size=1))
def test_values_are_put_in_as_they_are(variables: dict[str, str]):
    name, value = next(iter(variables.items()))
    assert expand(f"<${{{name}}}>${name}", variables) == f"<{value}>{value}"


@pytest.mark.parametrize(
    ("cwd", "where"), [(None, "/srv/shop"), ("web", "/srv/shop/web"), ("/opt/web", "/opt/web"), (".", "/srv/shop")]
)
def test_the_working_directory_is_that_of_the_spec_file_or_relative_to_it(cwd: str | None, where: str):
    assert {node.cwd for node in blueprint("app", cwd=cwd).of(Part.INSTANCE)} == {where}


@pytest.mark.parametrize("kind", ["app", "worker"])
def test_a_requested_restart_concerns_every_instance_and_nobody_else(kind: str):
    before, after = blueprint(kind), blueprint(kind, revision=1)
    changed = {old.id for old, new in zip(before.nodes, after.nodes, strict=True) if old.digest != new.digest}
    assert changed == {node.id for node in before.of(Part.INSTANCE)}


def test_another_path_does_not_restart_anything():
    declared = service("app")
    first, second = (
        KINDS["app"].blueprint(declared, grant(KINDS["app"], declared, path=path)) for path in ("/bin", "/usr/bin")
    )
    assert [node.digest for node in first.nodes] == [node.digest for node in second.nodes]


@pytest.mark.parametrize(
    ("health", "protocol", "checked"),
    [("tcp", Protocol.CONNECT, False), ("none", Protocol.NONE, False), ("/up", Protocol.HTTP, True)],
)
def test_health_decides_what_everup_and_haproxy_ask(health: str, protocol: Protocol, checked: bool):
    web = blueprint("app", health=health)
    assert {node.probe.protocol for node in web.of(Part.INSTANCE)} == {protocol}
    (end,) = web.of(Part.ENDPOINT)
    assert ("option httpchk" in end.files["haproxy.cfg"]) is checked
    assert " check inter " in end.files["haproxy.cfg"]


def test_the_endpoint_knows_every_address_that_was_ever_granted_and_scaling_does_not_touch_it():
    declared = service("app", limit=5)
    first = grant(KINDS["app"], declared)
    ends = [
        blueprint("app", before=first, scale=scale, limit=limit).nodes[-1] for scale, limit in [(1, 5), (5, 5), (2, 2)]
    ]
    assert len({end.files_digest for end in ends}) == 1
    assert re.findall(r"server (web-\d) ", ends[0].files["haproxy.cfg"]) == [f"web-{n}" for n in range(1, 6)]


def test_others_are_given_the_address_of_the_endpoint():
    web = blueprint("app")
    assert web.bindings == {"URL": f"http://{web.nodes[-1].ports['http']}"}
    assert web.endpoint and web.endpoint.url == web.bindings["URL"]


@pytest.mark.parametrize(("status", "ready"), [(200, True), (204, True), (302, True), (404, False), (503, False)])
def test_a_status_below_400_is_ready(status: int, ready: bool):
    assert read_status(((status, "body"),)).ready is ready


def test_snippets_hold_nothing_but_placeholders_that_the_bindings_fill():
    web = blueprint("app")
    for (snippet,) in KINDS["app"].connect.values():
        assert set(re.findall(r"\{([A-Z_]+)\}", snippet)) <= set(web.bindings)


def test_an_address_is_that_of_the_grant():
    declared = service("app")
    granted = grant(KINDS["app"], declared)
    node = KINDS["app"].blueprint(declared, granted).nodes[0]
    assert node.ports["http"] == granted.listeners["web-1"]["http"]
    assert isinstance(node.probe.to, Tcp)


SECRET = {"MODE": "plain", "API_KEY": {"secret": "api-key"}}


@pytest.mark.parametrize("kind", ["app", "worker"])
def test_a_secret_is_named_and_its_value_is_nowhere(kind: str):
    with_secret = blueprint(kind, env=SECRET)
    first = with_secret.of(Part.INSTANCE)[0]
    assert first.secrets == {"API_KEY": "api-key"}
    assert ("API_KEY" in first.env, first.env["MODE"], with_secret.environment) == (False, "plain", {"MODE": "plain"})
    other = blueprint(kind, env={**SECRET, "API_KEY": {"secret": "other"}}).of(Part.INSTANCE)[0]
    assert len({first.digest, other.digest, blueprint(kind, env={"MODE": "plain"}).of(Part.INSTANCE)[0].digest}) == 3


@pytest.mark.parametrize("kind", ["app", "worker"])
def test_a_secret_takes_the_place_of_a_variable_that_is_given(kind: str):
    (first, *_) = blueprint(kind, run="serve", env={"REDIS_URL": {"secret": "elsewhere"}}).of(Part.INSTANCE)
    assert ("REDIS_URL" in first.env, first.secrets) == (False, {"REDIS_URL": "elsewhere"})


@pytest.mark.parametrize("run", ["serve $API_KEY", "serve --key=${API_KEY}"])
def test_a_secret_cannot_be_put_on_a_command_line(run: str):
    with pytest.raises(ValueError, match=r"run names \$API_KEY, a secret, which every user of the machine would see"):
        blueprint("worker", run=run, env=SECRET)
    assert blueprint("worker", run="sh -c 'serve $$API_KEY'", env=SECRET).nodes[0].args[-1] == "serve $API_KEY"


@pytest.mark.parametrize("kind", ["app", "worker"])
def test_a_declaration_with_secrets_comes_back_from_the_store_as_it_was(kind: str):
    declared = service(kind, env=SECRET)
    stored = json.loads(json.dumps(declared.model_dump()))
    assert type(declared).model_validate({**declared.model_dump(), "env": stored["env"]}) == declared
