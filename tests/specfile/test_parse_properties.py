"""Whatever the text: an environment, or flaws that lie within the text. Never another exception."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everup.kinds import load_kinds
from everup.model.errors import SpecError
from everup.model.spec import Environment
from everup.specfile.parse import parse

KINDS = load_kinds()

SHOP = """\
environment: shop
engine: local
programs: {redis-server: /usr/bin/redis-server}
services:
  web: {kind: app, run: serve, scale: 3, limit: 5, needs: [redis], env: {A: "1"}, stop_grace: 5s}
  redis:
    kind: redis
    ha: {replicas: 3, sentinels: 5}
    durability: safe
    rto: 2s
  mailer: {kind: worker, run: mail $WEB_URL, needs: [web, redis]}
"""
SIGNS = [*"{}[]:,-#&*!|>'\"%@`\t\n\r\0 ?~\ufeff\u2028"]
TOKENS = ["<<", "---", "...", "true", "1e999", ".nan", "&a", "*a", "!!int", "!!binary", "\\U", "redis", "kind", "needs"]
PIECES = [*SIGNS, *TOKENS, "%YAML 1.1\n---\n", "9" * 400]
KEYS = "environment engine services programs kind needs ha run scale limit env rto replicas"
WORDS = st.sampled_from([*KEYS.split(), "redis", "app", "web", "local", "shop", "a-b", "a_b"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=5)
)
bounded = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(text: str) -> None:
    try:
        assert isinstance(parse(text, "everup.yaml", KINDS), Environment)
    except SpecError as error:
        last_line = sum(text.count(end) for end in "\n\r\x85\u2028\u2029") + 1
        assert error.flaws
        for flaw in error.flaws:
            assert 1 <= flaw.line <= last_line
            assert 1 <= flaw.column <= len(text) + 1
            assert flaw.message
        assert [(f.line, f.column) for f in error.flaws] == sorted((f.line, f.column) for f in error.flaws)


def written(value: object) -> str:
    """Flow-style YAML of a value, quoted with YAML's own escapes where it must be."""
    match value:
        case dict():
            return "{" + ", ".join(f"{written(key)}: {written(entry)}" for key, entry in value.items()) + "}"
        case list():
            return "[" + ", ".join(written(entry) for entry in value) + "]"
        case str():
            plain = value.isascii() and value.replace("-", "a").replace("_", "a").isalnum()
            return value if plain else '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case _:
            return str(value)


@bounded
@given(st.text(max_size=200))
def test_random_text(text: str):
    check(text)


@bounded
@given(st.lists(st.sampled_from([*PIECES, "a", "  "]), max_size=40).map("".join))
def test_random_yaml_syntax(text: str):
    check(text)


@bounded
@given(VALUES)
def test_random_values(value: object):
    check(written(value))


@bounded
@given(
    st.dictionaries(WORDS, st.dictionaries(WORDS, VALUES, max_size=6) | VALUES, max_size=4),
    st.sampled_from(["app", "redis"]),
)
def test_random_services(services: dict[str, object], kind: str):
    kinded = {label: {"kind": kind, **entry} if isinstance(entry, dict) else entry for label, entry in services.items()}
    check(written({"environment": "shop", "services": kinded}))


@settings(bounded, max_examples=300)
@given(st.fixed_dictionaries({key: st.text(max_size=12) for key in ("run", "health", "cwd", "A", "stop_grace")}))
def test_random_text_in_every_key(texts: dict[str, str]):
    env = {"env": {"A": texts.pop("A")}}
    for key, text in [*texts.items(), ("env", env["env"])]:
        check(written({"environment": "shop", "services": {"web": {"kind": "app", "run": "serve", key: text}}}))
    check(written({"environment": "shop", "services": {"web": {"kind": "app", **texts, **env}}}))


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = SHOP
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from(["", text[start:end] * 2, *PIECES]))
        text = text[:start] + piece + text[end:]
    return text


def test_the_file_that_is_mutated_is_right():
    assert list(parse(SHOP, "everup.yaml", KINDS).services) == ["web", "redis", "mailer"]


@settings(bounded, max_examples=400)
@given(mutated())
def test_random_changes_of_a_right_file(text: str):
    check(text)
