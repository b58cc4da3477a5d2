"""The unit for systemd."""

import shutil
import subprocess
from pathlib import Path

import pytest

from everup.cli import systemd
from everup.cli.session import Session
from everup.cli.systemd import Unit
from everup.model.errors import Refused

ODD = Path('/srv/of "all" 50% $HOME')


def unit(home: Path = Path("/srv/everup"), *, system: bool = False) -> Unit:
    return Unit(home, system, "root", "/usr/bin:/bin")


@pytest.mark.parametrize("home", [Path("/srv/everup"), ODD])
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit(tmp_path: Path, home: Path, system: bool):
    file = tmp_path / "everup-test.service"
    for text, good in ((unit(home, system=system).text(), True), ("[Service]\nExecStart=nonsense\n", False)):
        file.write_text(text)
        found = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=120
        )
        ours = [line for line in found.stderr.splitlines() if file.name in line]
        assert (found.returncode == 0 and not ours) == good, found.stderr


def test_services_outlive_the_unit_and_it_is_started_again():
    text = unit().text()
    for line in ("KillMode=process", "OOMPolicy=continue", "Restart=always", "StartLimitIntervalSec=0"):
        assert f"\n{line}\n" in text
    assert "WantedBy=default.target" in text and "User=" not in text
    assert "WantedBy=multi-user.target" in unit(system=True).text() and "User=root" in unit(system=True).text()


def test_words_are_quoted_as_systemd_reads_them():
    assert 'Environment="EVERUP_HOME=/srv/of \\"all\\" 50%% $HOME"' in unit(ODD).text()


def test_each_home_has_a_unit_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    usual = unit(Path("/home/ann/.local/state/everup"))
    assert usual.file == Path("/home/ann/.config/systemd/user/everup.service")
    assert unit().name not in (usual.name, unit(ODD).name)
    assert unit(system=True).file.parent == Path("/etc/systemd/system")


def test_what_is_run_names_the_unit():
    assert [words[-1] for words in unit().commands(install=True)] == [
        "root",
        "daemon-reload",
        unit().name,
        unit().name,
    ]
    assert unit(system=True).commands(install=False)[0] == ("systemctl", "disable", "--now", unit().name)


def test_without_systemd_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(systemd, "BOOTED", tmp_path / "nowhere")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for act in (lambda: systemd.install(Session(), unit()), lambda: systemd.uninstall(unit())):
        with pytest.raises(Refused) as caught:
            act()
        assert caught.value.code == "refused.no_systemd"
    assert list(tmp_path.iterdir()) == []
