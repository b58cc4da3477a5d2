"""Reaching the control plane, and starting or ending one in the background."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from everup.cli.client import Client, Gone, Mute
from everup.cli.session import Session
from everup.model.errors import EverupError, NotFound, Refused
from everup.runtime.home import Home

START_S = 10.0
"""Seconds that a control plane may take until it answers."""

LOST_RACE_S = 3.0
"""Seconds to go on waiting after ours ended: another command may have started one at the same moment."""

LOG_LIMIT_BYTES = 4_000_000


@contextlib.contextmanager
def control(session: Session, *, start: bool = False) -> Iterator[Client]:
    """The control plane of the session's home.

    One that died is started again, so that it looks after what runs; with `start` also where nothing ran yet. Started
    by us, it is ended again afterwards, unless an environment runs by then.

    Raises:
        NotFound: no environment was ever started here, and `start` is not set.
        EverupError: it could not be started.
    """
    client, started = reach(session.home, start=start)
    try:
        if started and not start:
            _say_revived(client)
        yield client
    finally:
        if started:
            end(client)
        client.close()


def reach(home: Home, *, start: bool) -> tuple[Client, bool]:
    """A client of a control plane that answers, and whether it was started for this."""
    if client := answering(home):
        return client, False
    if not start and not home.store.exists():
        raise NotFound("no environment runs here", "Start one: everup up", code="environment.none")
    return _start(home), True


def answering(home: Home) -> Client | None:
    """A client, when a control plane answers."""
    if not home.socket.exists():
        return None
    client = Client(home)
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
    """Ask the control plane to end; it refuses while an environment runs. Returns whether it ends."""
    try:
        client.post("control/stop")
    except Refused:
        return False
    except Gone:
        return True
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        try:
            client.get("control")
        except (Gone, Mute):
            return True
        time.sleep(0.02)
    return True


def _start(home: Home) -> Client:
    """Start a control plane in a session of its own, so that it outlives this command and its terminal."""
    home.prepare()
    _shorten_log(home)
    environ = {**os.environ, "EVERUP_HOME": str(home.path)}
    with home.log.open("ab") as log:
        os.chmod(home.log, 0o600)  # noqa: PTH101 - the same file, whatever the path means by now
        begin = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "everup.serve"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environ,
            cwd="/",
            start_new_session=True,
        )
    started_s = time.monotonic()
    give_up_s = started_s + START_S
    while time.monotonic() < give_up_s:
        if client := answering(home):
            return client
        if process.poll() is not None:
            give_up_s = min(give_up_s, time.monotonic() + LOST_RACE_S)
        time.sleep(0.01)
    raise _stillborn(home, process.poll(), begin)


def _stillborn(home: Home, exit_code: int | None, begin: int) -> EverupError:
    with home.log.open("rb") as log:
        log.seek(begin)
        lines = log.read().decode(errors="replace").splitlines()[-8:]
    what = f"did not answer within {START_S:.0f} s" if exit_code is None else f"ended with exit code {exit_code}"
    said = "".join(f"\n    {line}" for line in lines)
    return EverupError(f"the control plane {what}{said}", f"Its log: {home.log}", code="control.failed")


def _shorten_log(home: Home) -> None:
    """Keep one older log; the control plane of now starts a fresh one when it has grown too long."""
    with contextlib.suppress(FileNotFoundError):
        if home.log.stat().st_size > LOG_LIMIT_BYTES:
            home.log.replace(home.log.with_suffix(".log.1"))


def _say_revived(client: Client) -> None:
    found = client.get("control")
    if found["running"]:
        print(f"the control plane was not running; it was started again (pid {found['pid']})", file=sys.stderr)
