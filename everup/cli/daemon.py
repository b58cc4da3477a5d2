"""Reaching the control plane, and starting or ending one in the background."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from everup.cli.client import Client, Gone
from everup.cli.remote import Remote
from everup.cli.session import Session
from everup.model.errors import EverupError, NotFound, Refused
from everup.runtime.home import Home

START_S = 30.0
"""Seconds that a control plane may take until it answers."""

SECOND = "refused.second_control_plane"
"""What a control plane says that found another one in its home."""

LOG_LIMIT_BYTES = 4_000_000


@contextlib.contextmanager
def control(session: Session, *, start: bool = False) -> Iterator[Client]:
    """The control plane that the session is about: one elsewhere, or that of its home.

    One of the home that died is started again, so that it looks after what runs; with `start` also where nothing ran
    yet. Started by us, it is ended again afterwards, unless an environment runs by then, or another command uses it.

    Raises:
        NotFound: no environment was ever started here, and `start` is not set.
        EverupError: it could not be started.
    """
    if session.place:
        remote = session.place.client()
        try:
            yield remote
        finally:
            remote.close()
        return
    if start:
        session.home.prepare()
    use = _use(session.home)
    try:
        client, started = reach(session.home, start=start)
        client.use = use
        try:
            if started and not start:
                _say_revived(client)
            yield client
        finally:
            if started:
                end(client)
            client.close()
    finally:
        if use is not None:
            os.close(use)


def _use(home: Home) -> int | None:
    """Keep other commands from ending the control plane under this one, until the descriptor is closed.

    Waits while another command is just ending it. None where there is no home, or no room in it.
    """
    try:
        use = os.open(home.use, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    fcntl.flock(use, fcntl.LOCK_SH)
    return use


def _alone(client: Client) -> bool:
    """No other command uses the control plane, nor will before `client` is closed."""
    try:
        if client.use is not None:
            fcntl.flock(client.use, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def reach(home: Home, *, start: bool) -> tuple[Client, bool]:
    """A client of a control plane that answers, and whether it was started for this."""
    if client := answering(home):
        return client, False
    if not start and not home.store.exists():
        raise NotFound("no environment runs here", "Start one: everup up", code="nothing_runs")
    return _start(home), True


def answering(home: Home) -> Client | None:
    """A client, when a control plane answers."""
    if not home.socket.exists():
        return None
    client = Client.at(home)
    try:
        client.get("control")
    except Gone:
        client.close()
        return None
    except BaseException:
        client.close()
        raise
    return client


def end(client: Client) -> bool:
    """Ask the control plane to end and wait until it has; False while an environment runs, or another uses it.

    One that is reached over TCP is left alone: this command neither started it, nor could start it again.
    """
    from everup.engines.local.kernel import look

    if isinstance(client, Remote) or not _alone(client):
        return False
    try:
        found = client.get("control")
    except Gone:
        return True
    if found["running"]:
        return False
    pid = found["pid"]
    try:
        client.post("control/stop")
    except Refused:
        return False
    except Gone:
        pass  # it was about to end anyway
    deadline_s = time.monotonic() + START_S
    while look(pid) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return True


def leave(home: Home, may: Callable[[Client], None]) -> int:
    """End the control plane of a home for good; what runs goes on running. The home's lock, which is held from now on.

    Args:
        may: is shown the control plane first, and raises where it must not end.

    Raises:
        NotFound: there was never one.
        Refused: it does not end, as something starts it again.
    """
    from everup.runtime.lock import take_lock

    client, _ = reach(home, start=False)
    try:
        may(client)
        os.kill(client.get("control")["pid"], signal.SIGTERM)
    finally:
        client.close()
    deadline_s = time.monotonic() + START_S
    while True:
        try:
            return take_lock(home.lock)
        except Refused:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)


def _start(home: Home) -> Client:
    """Start a control plane and wait until one answers: ours, or that of another command at the same moment."""
    home.prepare()
    _shorten_log(home)
    give_up_s = time.monotonic() + START_S
    begin = home.log.stat().st_size if home.log.exists() else 0
    process = _spawn(home)
    while time.monotonic() < give_up_s:
        if client := answering(home):
            return client
        if process.poll() is not None:
            if SECOND not in _said(home, begin):
                break
            time.sleep(0.05)  # the other one comes up, or is just ending
            begin = home.log.stat().st_size
            process = _spawn(home)
        time.sleep(0.01)
    code = process.poll()
    what = f"did not answer within {START_S:.0f} s" if code is None else f"ended with exit code {code}"
    lines = "".join(f"\n    {line}" for line in _said(home, begin).splitlines()[-8:])
    raise EverupError(f"the control plane {what}{lines}", f"Its log: {home.log}", code="start_failed")


def _spawn(home: Home) -> "subprocess.Popen[bytes]":
    """A control plane in a session of its own, so that it outlives this command and its terminal."""
    with home.log.open("ab") as log:
        home.log.chmod(0o600)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "everup.serve"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "EVERUP_HOME": str(home.path)},
            cwd="/",
            start_new_session=True,
        )


def _said(home: Home, begin: int) -> str:
    with home.log.open("rb") as log:
        log.seek(begin)
        return log.read().decode(errors="replace")


def _shorten_log(home: Home) -> None:
    """Keep one older log; the control plane of now starts a fresh one when it has grown too long."""
    with contextlib.suppress(FileNotFoundError):
        if home.log.stat().st_size > LOG_LIMIT_BYTES:
            home.log.replace(home.log.with_suffix(".log.1"))


def _say_revived(client: Client) -> None:
    found = client.get("control")
    if found["running"]:
        print(f"the control plane was not running; it was started again (pid {found['pid']})", file=sys.stderr)
