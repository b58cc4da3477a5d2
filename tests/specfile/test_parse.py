from itertools import pairwise

import pytest

from everup.model.errors import SpecError
from everup.model.spec import Environment
from everup.specfile.parse import MAX_SERVICES, parse
from everup.specfile.tree import MAX_CHARACTERS
from tests.specfile.sample_kinds import KINDS, Group, Program, Store

SHOP = """\
environment: shop
engine: local
programs: {redis-server: /usr/bin/redis-server}
services:
  web:
    kind: app
    run: serve --port $REDIS_URL
    scale: 3
    needs: [redis]
    env: {DAY: "2026-11-22", ON: "true"}
    stop_grace: 1500ms
  redis: {kind: redis, ha: {replicas: 3, sentinels: 5}, rto: 2s}
  cache: {kind: redis, ha: true}
"""
# each letter stands for ten of the one before
LAUGHS = "a: &a [x]\n" + "".join(f"{c}: &{c} [{', '.join(10 * [f'*{b}'])}]\n" for b, c in pairwise("abcdefgh"))
CROWD = "environment: shop\nservices:\n" + "".join(f"  s{n}: {{kind: redis}}\n" for n in range(MAX_SERVICES + 1))


def read(text: str) -> Environment:
    return parse(text, "everup.yaml", KINDS)


def test_a_right_file_becomes_an_environment_of_the_kinds_own_models_in_file_order():
    shop = read(SHOP)
    assert (shop.environment, shop.engine) == ("shop", "local")
    assert shop.programs == {"redis-server": "/usr/bin/redis-server"}
    assert list(shop.services) == ["web", "redis", "cache"]
    web, redis, cache = shop.services.values()
    assert isinstance(web, Program)
    assert (web.scale, web.needs, web.stop_grace) == (3, ("redis",), 1.5)
    assert web.env == {"DAY": "2026-11-22", "ON": "true"}
    assert isinstance(redis, Store)
    assert redis.ha == Group(replicas=3, sentinels=5)
    assert redis.rto == 2.0
    assert isinstance(cache, Store)
    assert cache.ha is True


def test_no_services_can_be_declared_on_purpose():
    assert read("environment: shop\nservices: {}\n").services == {}


def test_anchors_stand_for_what_they_name():
    web, more = read(
        "environment: shop\nservices:\n"
        "  web: {kind: app, run: serve, env: &env {LOG_LEVEL: info}}\n"
        "  more: {kind: app, run: serve, env: *env}\n"
    ).services.values()
    assert web == more


@pytest.mark.parametrize("written", ["2024-01-01", "null_value", "<<", "12:30:00x", "0x", "yes"])
def test_what_looks_like_text_is_text(written: str):
    web = read(f"environment: shop\nservices:\n  web: {{kind: app, run: x, env: {{A: {written}}}}}\n").services["web"]
    assert isinstance(web, Program)
    assert web.env == {"A": written}


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm():
    assert read("\ufeff" + SHOP.replace("\n", "\r\n")) == read(SHOP)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#" * (MAX_CHARACTERS + 1), "larger than"),
        ("[" * 5000, "nested deeper"),
        ("a: &a [*a, *a]", "hold themselves"),
        (LAUGHS, "more than"),
        (CROWD, "at most"),
        ('a: "\\UFFFFFFFF"', "cannot be read"),
        ('environment: "\\ud800"', "no text may hold"),
        ("environment: a\x00", "may not stand"),
        ("environment: " + "9" * 5000, "no such number"),
    ],
)
def test_a_hostile_file_is_refused_in_words(text: str, words: str):
    with pytest.raises(SpecError) as caught:
        read(text)
    assert any(words in flaw.message for flaw in caught.value.flaws)


def test_an_escape_that_the_parser_cannot_read_is_placed_near_it():
    with pytest.raises(SpecError) as caught:
        read('environment: shop\nengine: "\\UFFFFFFFF"\nservices: {}\n')
    assert caught.value.flaws[0].line == 2
