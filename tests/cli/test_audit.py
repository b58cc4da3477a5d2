"""How the audit log is told to people."""

from typing import Any

import pytest

from everup.cli.audit import told

AT = "2026-11-23T12:00:00.000+00:00"


def entry(seq: int, what: str, **fields: Any) -> dict[str, Any]:
    usual = {
        "at": AT,
        "who": "ann",
        "from": "socket",
        "where": {},
        "given": {},
        "asked": None,
        "status": None,
        "code": "",
    }
    return {"seq": seq, "what": what, **usual, **fields}


SCALE = "POST /v1/environments/{environment}/services/{label}/scale"
ENTRIES = [
    entry(1, SCALE, where={"environment": "shop", "label": "web"}, given={"count": 3}),
    entry(2, SCALE, where={"environment": "shop", "label": "web"}, given={"count": 3}, asked=1, status=200),
    entry(3, "POST /v1/apply", where={"environment": "shop"}, given={"file": "/srv/e.yaml", "text_sha256": "beef"}),
    entry(4, "GET /v1/environments/{environment}/variables", where={"environment": "shop"}, status=200),
    entry(5, "POST /v1/control/stop", who="", **{"from": "192.0.2.7:1"}, status=401, code="unauthenticated"),
]


def lines(count: int = 50) -> list[str]:
    return [" ".join(str(line).split()) for line in told(ENTRIES, count)]


def test_a_request_is_one_line_and_says_who_where_what_and_how_it_ended():
    found = lines()
    assert len(found) == 4
    assert found[0].endswith("ann from socket scale shop/web count=3 done")
    assert found[2].endswith("ann from socket get variables shop done")
    assert found[3].endswith("nobody from 192.0.2.7:1 control stop unauthenticated")


def test_what_was_asked_for_and_never_answered_stands_out():
    assert lines()[1].endswith("apply shop file=/srv/e.yaml no answer")
    assert "beef" not in " ".join(lines())


@pytest.mark.parametrize("count", [1, 3])
def test_the_newest_are_shown(count: int):
    assert lines(count) == lines()[-count:]


@pytest.mark.parametrize("what", ["POST /ui/sign-in", "GET /ui/sign-in"])
def test_signing_in_is_called_so_however_it_was_done(what: str):
    (line,) = told([entry(1, what, given={"via": "link"}, status=200)], 1)
    assert " ".join(str(line).split()).endswith("ann from socket sign-in via=link done")
