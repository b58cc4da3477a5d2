"""Which control plane a command is about, and where tokens are kept."""

import stat

import pytest

from everup.cli.contexts import Contexts
from everup.cli.exits import Usage
from everup.cli.remote import Place
from everup.cli.session import Session
from everup.cli.tokens import lifetime_s
from everup.model.errors import EverupError, NotFound, Refused

PROD = {"server": "https://prod:7443", "token": "everup_prod", "ca": "/etc/ca.pem"}


@pytest.fixture
def environ(tmp_path, monkeypatch):
    for name in ("EVERUP_SERVER", "EVERUP_TOKEN", "EVERUP_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return {"XDG_CONFIG_HOME": str(tmp_path)}


@pytest.fixture
def kept(environ):
    contexts = Contexts.read(environ)
    contexts.places["prod"], contexts.current = PROD, "prod"
    contexts.write()
    return contexts


def test_without_anything_said_it_is_this_machine(environ):
    assert Session().place is None


def test_the_context_in_use_says_where_and_with_which_token(kept):
    assert Session().place == Place("https://prod:7443", "everup_prod", "/etc/ca.pem")
    assert Session(token="mine").place == Place("https://prod:7443", "mine", "/etc/ca.pem")


def test_variables_come_before_the_context_and_options_before_both(kept, monkeypatch):
    # A token in a variable goes to the server in a variable, or to one that is named, and to no other.
    monkeypatch.setenv("EVERUP_TOKEN", "everup_ci")
    assert Session().place == Place("https://prod:7443", "everup_prod", "/etc/ca.pem")
    monkeypatch.setenv("EVERUP_SERVER", "https://ci")
    monkeypatch.setenv("EVERUP_CA", "ci.pem")
    assert Session().place == Place("https://ci", "everup_ci", "ci.pem")
    assert Session(server="https://other", token="mine").place == Place("https://other", "mine", "ci.pem")
    assert Session(server="local").place is None


def test_a_contexts_token_is_sent_to_no_other_server(kept):
    assert Session(server="https://other").place == Place("https://other", None, None)


def test_the_file_is_its_owners_alone_and_one_that_others_read_is_refused(kept, environ):
    assert stat.S_IMODE(kept.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.file.parent.stat().st_mode) == 0o700
    assert Contexts.read(environ) == kept
    kept.file.chmod(0o640)
    with pytest.raises(EverupError, match="others may read it"):
        Session().place  # noqa: B018 - asked for


@pytest.mark.parametrize("text", ["", "{", "[]", '{"places": 3, "current": "x"}', '{"places": {}}'])
def test_a_damaged_file_is_told(kept, environ, text):
    kept.file.write_text(text)
    with pytest.raises(EverupError, match="cannot be read"):
        Contexts.read(environ)


def test_a_context_that_is_not_there_is_named_with_those_that_are(kept):
    assert kept.of("local") is None
    with pytest.raises(NotFound, match="no context stage") as caught:
        kept.of("stage")
    assert caught.value.hint == "Known: local, prod."


def test_what_needs_the_machine_is_refused_for_another(kept):
    with pytest.raises(Usage, match="doctor needs the machine itself: it looks; but this is about https://prod:7443"):
        Session().here("doctor", "it looks")
    Session(server="local").here("doctor", "it looks")


@pytest.mark.parametrize("server", ["http://prod:7443", "http://10.0.0.5"])
def test_a_token_is_not_sent_in_the_clear(server):
    with pytest.raises(Refused, match="for everybody to read"):
        Place(server, "everup_x").client()


def test_what_is_no_url_and_a_certificate_that_is_not_there_are_told(tmp_path):
    with pytest.raises(EverupError, match="is no URL"):
        Place("prod:7443").client()
    with pytest.raises(EverupError, match="cannot be read"):
        Place("https://prod", ca=str(tmp_path / "none.pem")).client()


def test_a_spec_for_another_machine_says_nothing_of_folders_here(kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "everup.yaml").write_text("environment: shop\n")
    assert (Session().source().directory, Session().source().path) == ("", "")
    assert Session(server="http://127.0.0.1:7443").source().directory == str(tmp_path)
    assert Session(server="local").source().directory == str(tmp_path)


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("15m", 900), ("never", None)])
def test_a_tokens_life_is_said_in_days_hours_or_minutes(text, seconds):
    assert lifetime_s(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "0d", "-1d", "1.5h", "1y", "forever"])
def test_other_lives_are_refused(text):
    with pytest.raises(Usage, match="no time for a token to live"):
        lifetime_s(text)
