"""Keeps one PostgreSQL server, alone or under Patroni; the main process of a data node. Run it in the node's home as

    python -IS postgres_keeper.py FOLDER_OF_POSTGRES [--found] [--aside]

It reads `keeper.json` there, at its start and on SIGHUP:

    mode        "single": postgres alone; "group": Patroni, which starts postgres
    initdb      arguments of initdb, besides the directory
    setup       SQL statements, one a line, run in the new server before anybody can connect
    hba         the text of pg_hba.conf, written before every plain start
    postgres    arguments of postgres for a plain start
    patroni     arguments of the interpreter that start Patroni

The data directory is `data`. Only with `--found` is it ever made, and then in `data.new`, which is renamed when it is
complete: a kill in the middle costs nothing. With `--aside` it is renamed to `data.aside-N` first, so that Patroni
clones the node. A server that has OpenSSL speaks TLS, by `tls.conf` and a certificate made here.

The keeper stands alone: one file, standard library only, no control plane needed.
"""

import contextlib
import ctypes
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WANTED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
PATRONI_PAUSE_S = 0.5
"""How long after its end Patroni is started again; postgres runs on meanwhile."""

LAST_BYTES = 65_536
PASSING = "the database system is|terminating|canceling|authentication|does not exist|too many|remaining connection"
"""Fatal for one session, not for the server."""

ALONE = "postgres is started alone"
LOOK_S = 5.0
FAST = signal.SIGINT
"""PostgreSQL's fast shutdown: sessions are cut, standbys get all WAL."""

_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # prctl(2)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; where the kernel has none, things end later, but they end."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _as_child() -> None:
    """In a child, before it becomes a program: signals arrive, and it does not outlive the keeper."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WANTED)
    prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


class Keeper:
    """What runs: the pid of Patroni, and the postmaster, whoever started it."""

    def __init__(self, programs: Path, *, found: bool, aside: bool) -> None:
        self.programs = programs
        self.found = found
        self.aside = aside
        self.told: dict[str, Any] = {}
        self.patroni: int | None = None
        self.postgres: int | None = None
        self.patroni_at_s: float | None = None

    def run(self) -> int:
        """Start what is told, and stay until it ends; the exit code."""
        self.told = self.read()
        if self.aside and Path("data").exists():
            Path("data").rename(
                next(place for n in itertools.count(1) if not (place := Path(f"data.aside-{n}")).exists())
            )
        if self.found and not Path("data", "PG_VERSION").exists():
            self.make()
        offer_tls(self.programs)
        if self.told["mode"] == "single" or self.found:
            self.start_postgres()
        if self.told["mode"] == "group":
            self.start_patroni()
        while True:
            code = self.wait()
            if code is not None:
                return code

    def read(self) -> dict[str, Any]:
        """What `keeper.json` says now."""
        told: dict[str, Any] = json.loads(Path("keeper.json").read_text(encoding="utf-8"))
        return told

    def wait(self) -> int | None:
        """Take one signal; the exit code when it was the last."""
        left_s = LOOK_S if self.patroni_at_s is None else max(0.01, self.patroni_at_s - time.monotonic())
        told = signal.sigtimedwait(WANTED, left_s)
        if self.patroni_at_s is not None and time.monotonic() >= self.patroni_at_s:
            self.start_patroni()
        if told is None:
            return None
        if told.si_signo == signal.SIGCHLD:
            return self.reap()
        if told.si_signo == signal.SIGHUP:
            self.turn()
            return None
        return self.stop()

    def make(self) -> None:
        """Make the data directory, whole or not at all."""
        shutil.rmtree("data.new", ignore_errors=True)
        say("making the data directory")
        self.call("initdb", "-D", "data.new", *self.told["initdb"])
        words = [str(self.programs / "postgres"), "--single", "-D", "data.new", "-j", "postgres"]
        sql = "".join(f"{line};\n\n" for line in self.told["setup"])
        done = subprocess.run(words, input=sql, text=True, capture_output=True, check=False, preexec_fn=_as_child)
        if done.returncode or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
            raise SystemExit(f"the first statements failed: {done.stderr.strip()[-500:]}")
        # Every clone takes this line along, and has a file of its own for it.
        with Path("data.new", "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write("include_if_exists = '../tls.conf'\n")
        for folder in (Path("data.new"), Path()):
            descriptor = os.open(folder, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            Path("data").rmdir()  # empty, or this fails: nothing that exists is ever replaced
        Path("data.new").rename("data")

    def call(self, program: str, *words: str) -> None:
        """Run a program of PostgreSQL to its end."""
        done = subprocess.run(
            [str(self.programs / program), *words], capture_output=True, text=True, check=False, preexec_fn=_as_child
        )
        if done.returncode:
            raise SystemExit(f"{program} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def start_postgres(self) -> None:
        """Start postgres by itself, as a primary or, where `data` says so, as a standby."""
        if not Path("data", "PG_VERSION").exists():
            raise SystemExit("keeper: there is no database in the data directory, and none may be made")
        if not running(postmaster()):  # not even as a zombie, which postgres would take for alive
            Path("data", "postmaster.pid").unlink(missing_ok=True)
        Path("data", "pg_hba.conf").write_text(self.told["hba"], encoding="utf-8")
        words = [str(self.programs / "postgres"), "-D", "data", *self.told["postgres"]]
        say(ALONE)  # first: last words are looked for behind this line, and a server may say them at once
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, preexec_fn=_as_child)
        child.returncode = 0  # reaped below, with all others
        self.postgres = child.pid

    def start_patroni(self) -> None:
        """Start Patroni; a postgres that runs is taken over as it is."""
        self.patroni_at_s = None
        words = [sys.executable, *self.told["patroni"]]
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, preexec_fn=_as_child)
        child.returncode = 0
        self.patroni = child.pid
        say(f"Patroni runs, pid {child.pid}")

    def turn(self) -> None:
        """Become what `keeper.json` says now, without touching postgres."""
        before, self.told = self.told, self.read()
        if self.told["mode"] == "group":
            if self.patroni is None:
                self.start_patroni()
            elif self.told["patroni"] == before["patroni"]:
                os.kill(self.patroni, signal.SIGHUP)
        elif self.patroni is not None or self.patroni_at_s is not None:
            self.drop_patroni()
            self.settle()

    def settle(self) -> None:
        """Give postgres the settings that it would have been started with alone, in place of Patroni's."""
        said = self.told["postgres"][1::2]
        pairs = [word.partition("=") for word in said]
        lines = [name + " = '" + value.replace("'", "''") + "'" for name, _, value in pairs]
        with contextlib.suppress(FileNotFoundError):
            base = Path("data", "postgresql.base.conf").read_text(encoding="utf-8")
            replace_text(Path("data", "postgresql.conf"), base + "\n" + "\n".join(lines) + "\n")
        replace_text(Path("data", "pg_hba.conf"), self.told["hba"])
        pid = postmaster()
        if running(pid):
            assert pid is not None
            os.kill(pid, signal.SIGHUP)

    def drop_patroni(self) -> None:
        """End Patroni at once; it leaves postgres as it is."""
        self.patroni_at_s = None
        if self.patroni is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.patroni, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.patroni, 0)
            self.patroni = None

    def reap(self) -> int | None:
        """Take in every end below; the exit code when postgres ended without being asked."""
        for pid, status in ends():
            if pid == self.patroni:
                self.patroni = None
                if not running(postmaster()):
                    say(f"Patroni {how(status)}, and postgres does not run")
                    return 1
                say(f"Patroni {how(status)}; it is started again")
                self.patroni_at_s = time.monotonic() + PATRONI_PAUSE_S
            elif pid == postmaster() or (pid == self.postgres and status and self.told["mode"] == "single"):
                self.drop_patroni()
                say(f"postgres {how(status)}{last_words()}")
                return 1
            elif self.told["mode"] == "single" and not running(postmaster()) and not children():
                say("postgres was shut down by somebody else")  # as it was asked to: its pid file is gone
                return 1
        return None

    def stop(self) -> int:
        """Shut down fast and cleanly: Patroni first, so that it can neither restart postgres nor take part."""
        self.drop_patroni()
        pid = postmaster()
        while running(pid):
            assert pid is not None
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, FAST)
            if signal.sigtimedwait({signal.SIGCHLD}, 1.0):
                for _ in ends():
                    pass
        say("postgres was shut down")
        return 0


def offer_tls(programs: Path) -> None:
    """Let a server that has OpenSSL speak TLS to those who ask for it; settings of the user's own come after these."""
    question = [str(programs / "postgres"), "-D", ".", "-c", "config_file=/dev/null", "-C", "ssl_library"]
    answer = subprocess.run(question, capture_output=True, text=True, check=False, preexec_fn=_as_child).stdout
    lines = ""
    if answer.strip() == "OpenSSL" and (Path("server.key").exists() or certify()):
        lines = "ssl = on\nssl_cert_file = '../server.crt'\nssl_key_file = '../server.key'\n"
    place = Path("tls.conf")
    if not place.exists() or place.read_text(encoding="utf-8") != lines:  # the disk may be full
        replace_text(place, lines)


def certify() -> bool:
    """Make a key and a certificate for it, once; False, with a line in the log, where that cannot be done."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-days", "36500", "-subj", "/CN=everup", "-keyout", "server.key.new", "-out", "server.crt"]
    try:
        subprocess.run(words, capture_output=True, check=True, preexec_fn=_as_child)
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"the server speaks no TLS, because no certificate could be made: {error}")
        return False
    Path("server.key.new").rename("server.key")
    return True


def replace_text(place: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    draft = place.with_name(f"{place.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.rename(place)


def postmaster() -> int | None:
    """The pid that the data directory is locked by; None when it is not."""
    try:
        return int(Path("data", "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def running(pid: int | None) -> bool:
    """There is such a postmaster: it has not ended, and is no other process that was given its number since."""
    if pid is None:
        return False
    try:
        if not Path("/proc/self/stat").exists():  # not Linux: a number is all there is
            os.kill(pid, 0)
            return True
        alive = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
        return alive and Path(f"/proc/{pid}/cwd").samefile("data")
    except OSError:
        return False


def children() -> bool:
    """Something below still runs."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def ends() -> "list[tuple[int, int]]":
    """Every child, own or inherited, that has ended: pid and exit code as Popen says it."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not pid:
            return found
        found.append((pid, os.waitstatus_to_exitcode(status)))


def how(code: int) -> str:
    """An exit code in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def last_words() -> str:
    """Why postgres ended, as it said itself; "" when it did not. Refusals of single sessions are no reason."""
    try:
        with Path("out.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    begun = max((number for number, line in enumerate(lines) if ALONE in line), default=0)
    for number in range(len(lines) - 1, begun, -1):
        found = re.search(r"\b(FATAL|PANIC):  (.*)", lines[number])
        if found and not re.search(PASSING, found[2]):
            detail = re.search(r"\bDETAIL:  (.*)", lines[number + 1]) if number + 1 < len(lines) else None
            return f": {found[2]}" + (f"; {detail[1]}" if detail else "")
    return ""


def say(text: str) -> None:
    """One line for the node's log."""
    print(f"keeper: {text}", file=sys.stderr, flush=True)


def main(words: "list[str]", stay: "Callable[[int], None]" = sys.exit) -> None:
    """Keep until the end."""
    prctl(_SET_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, WANTED)
    stay(Keeper(Path(words[0]), found="--found" in words, aside="--aside" in words).run())


if __name__ == "__main__":
    main(sys.argv[1:])
