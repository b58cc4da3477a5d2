"""Errors as people and programs read them."""

import json

import pytest

from everup.cli import main
from everup.cli.client import error_of
from everup.cli.exits import Usage, code_of, report, unexpected
from everup.model.errors import EverupError, Flaw, NodeFailed, NotFound, NotPermitted, Refused, SpecError

WRONG = SpecError("everup.yaml", (Flaw("kind is missing", 3, 5, "Say which."), Flaw("no such key", 4, 1)))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WRONG, 2),
        (Usage("no command"), 2),
        (NotPermitted("no"), 4),
        (NotFound("no"), 1),
        (Refused("no"), 1),
        (NodeFailed("no"), 1),
        (EverupError("no"), 1),
    ],
)
def test_each_class_of_error_has_its_exit_code(error, code):
    assert code_of(error) == code


def test_every_flaw_is_told_with_its_place_and_hint(capsys):
    report(WRONG, as_json=False)
    assert capsys.readouterr().err == (
        "error: kind is missing [spec.invalid]\n  everup.yaml:3:5\n  Say which.\n"
        "error: no such key [spec.invalid]\n  everup.yaml:4:1\n"
    )


def test_programs_get_one_object(capsys):
    report(Refused("too many", "everup limit web 9", code="refused.limit", label="web"), as_json=True)
    report(WRONG, as_json=True)
    refused, wrong = (json.loads(line)["error"] for line in capsys.readouterr().err.splitlines())
    assert refused == {"code": "refused.limit", "message": "too many", "hint": "everup limit web 9", "at": "web"}
    assert (wrong["at"], len(wrong["flaws"])) == ("everup.yaml:3:5", 2)


def test_what_nobody_foresaw_is_one_line_and_a_file(tmp_path):
    try:
        raise ValueError("oh")
    except ValueError as error:
        told = unexpected(error, tmp_path)
    assert told.message == "something broke inside everup: ValueError: oh"
    assert "Traceback" in (tmp_path / "crash.log").read_text()


def test_an_answer_that_is_no_problem_report_is_still_an_error():
    assert error_of(500, {}).message == "the control plane answered 500"


def test_a_wrong_word_is_told_with_those_that_there_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["everup", "ha", "enabl", "redis01"])
    with pytest.raises(SystemExit) as end:
        main.run()
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: no such command 'enabl'")
    assert "everup ha --help shows what is possible: enable, disable." in told
