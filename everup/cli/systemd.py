"""The control plane as a service of systemd: started with the machine, and again whenever it ends."""

import hashlib
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from everup.cli.session import Session
from everup.model.errors import EverupError, NotFound, NotPermitted, Refused
from everup.runtime.home import Home
from everup.runtime.lock import STANDBY

BOOTED = Path("/run/systemd/system")
"""Is there where systemd runs the machine (sd_booted(3))."""

ANSWER_S = 60.0

UNIT = """\
[Unit]
Description=Everup, which looks after {home}
After=network.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
Environment={environment}
{user}Restart=always
RestartSec=2
# What it started goes on running when it ends or is restarted: services never depend on it.
KillMode=process
OOMPolicy=continue
TasksMax=infinity

[Install]
WantedBy={target}
"""


@dataclass(frozen=True)
class Unit:
    """The unit of one home, for the whole machine (`system`) or for one user."""

    home: Path
    system: bool
    owner: str
    path: str

    @property
    def name(self) -> str:
        """Its name: another one for each home but the usual."""
        usual = Home.find({"HOME": os.environ.get("HOME", "")}).path
        if self.home == usual:
            return "everup.service"
        return f"everup-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:8]}.service"

    @property
    def file(self) -> Path:
        """Where systemd looks for it."""
        if self.system:
            return Path("/etc/systemd/system") / self.name
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return config / "systemd" / "user" / self.name

    def text(self) -> str:
        """The unit itself."""
        words = [sys.executable, "-P", "-m", "everup.serve"]
        return UNIT.format(
            home=str(self.home).replace("%", "%%"),
            command=" ".join(_quoted(word).replace("$", "$$") for word in words),
            environment=" ".join(
                _quoted(word) for word in (f"EVERUP_HOME={self.home}", f"PATH={self.path}", f"{STANDBY}=1")
            ),
            user=f"User={self.owner}\n" if self.system else "",
            target="multi-user.target" if self.system else "default.target",
        )

    def commands(self, *, install: bool) -> tuple[tuple[str, ...], ...]:
        """What makes systemd know it and start it, or stop and forget it; the first word of each is a program."""
        control = ("systemctl",) if self.system else ("systemctl", "--user")
        if not install:
            return ((*control, "disable", "--now", self.name), (*control, "daemon-reload"))
        begin = ((*control, "daemon-reload"), (*control, "enable", self.name), (*control, "restart", self.name))
        return begin if self.system else (("loginctl", "enable-linger", self.owner), *begin)


def _quoted(text: str) -> str:
    """A word of a unit file (systemd.syntax(7))."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def perform(session: Session, *, system: bool | None, show_it: bool, install_it: bool) -> None:
    """Show the home's unit, install it, or else uninstall it.

    Raises:
        EverupError: systemd does not run here, or refuses.
    """
    unit = unit_of(session.home, system=system)
    if show_it:
        show(unit)
    elif install_it:
        install(session, unit)
    else:
        uninstall(unit)


def unit_of(home: Home, *, system: bool | None) -> Unit:
    """The unit of a home. `system`: for the whole machine; None: only if we are root."""
    uid = home.path.stat().st_uid if home.path.exists() else os.getuid()
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:  # a user without a name; systemd takes the number as well
        owner = str(uid)
    chosen = os.getuid() == 0 if system is None else system
    return Unit(home.path, chosen, owner, os.environ.get("PATH", os.defpath))


def show(unit: Unit) -> None:
    """Print the unit, and what `--install` would run."""
    print(f"# {unit.file}\n{unit.text()}")
    print("\n".join(f"# {' '.join(words)}" for words in unit.commands(install=True)))


def install(session: Session, unit: Unit) -> None:
    """Write the unit, hand over from a control plane that runs in the background, and wait until it answers.

    Raises:
        Refused: systemd does not run this machine.
        NotPermitted: only root may do that.
        EverupError: systemd does not take it, or the control plane does not answer.
    """
    _refuse(unit, "--install")
    session.home.prepare()
    unit.file.parent.mkdir(parents=True, exist_ok=True)
    unit.file.write_text(unit.text())
    print(f"wrote {unit.file}")
    for words in unit.commands(install=True):
        _run(words, optional=words[0] == "loginctl")
    _end_other(session.home, unit)
    _await(session.home)
    print("the control plane runs under systemd; what ran before goes on running")


def uninstall(unit: Unit) -> None:
    """Stop the unit and delete it; what the control plane looks after goes on running.

    Raises:
        NotFound: it is not installed.
    """
    _refuse(unit, "--uninstall")
    if not unit.file.exists():
        raise NotFound(f"{unit.file} is not there", "everup serve --print says what would be.", code="not_installed")
    stop, forget = unit.commands(install=False)
    _run(stop)
    unit.file.unlink()
    print(f"deleted {unit.file}")
    _run(forget)
    print("what ran goes on running; the next command starts a control plane in the background")


def _refuse(unit: Unit, option: str) -> None:
    if not BOOTED.is_dir():
        hint = "everup serve --print shows the unit; any other supervisor may run `everup serve` in the foreground."
        raise Refused("systemd does not run this machine", hint, code="refused.no_systemd")
    if unit.system and os.getuid() != 0:
        command = f"sudo EVERUP_HOME={unit.home} {sys.argv[0]} serve {option} --system"
        raise NotPermitted("only root may change the units of the whole machine", f"{command}; or with --user: yours")


def _run(words: Sequence[str], *, optional: bool = False) -> None:
    print(f"$ {' '.join(words)}", flush=True)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=ANSWER_S)
        said, failed = (done.stderr or done.stdout).strip(), done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        said, failed = str(error), True
    if failed and optional:
        print(f"  that failed, so it ends with your last session, and what it started too: {said}")
    elif failed:
        raise EverupError(f"{' '.join(words)} failed: {said}", code="systemd_failed")


def _end_other(home: Home, unit: Unit) -> None:
    """End the control plane that commands started in the background: the unit's own waits for that, and takes over."""
    from everup.cli.daemon import answering
    from everup.engines.local.kernel import look

    client = answering(home)
    if client is None:
        return
    pid = client.get("control")["pid"]
    client.close()
    if unit.name in Path(f"/proc/{pid}/cgroup").read_text():
        return
    os.kill(pid, signal.SIGTERM)
    give_up_s = time.monotonic() + ANSWER_S
    while look(pid) and time.monotonic() < give_up_s:
        time.sleep(0.05)


def _await(home: Home) -> None:
    from everup.cli.daemon import answering

    give_up_s = time.monotonic() + ANSWER_S
    while time.monotonic() < give_up_s:
        if client := answering(home):
            client.close()
            return
        time.sleep(0.1)
    raise EverupError("the control plane does not answer", "journalctl -u everup, or --user-unit, says why.")
