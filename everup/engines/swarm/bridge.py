"""A Docker Engine on another machine, through ssh: what Docker's own client does, `docker system dial-stdio` there."""

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from everup.engines.swarm.passing import pass_on

_MOST_SAID_BYTES = 65_536
_END_S = 2.0
_LONGEST_COMPLAINT = 300


class Bridge:
    """A Unix socket on this machine each of whose connections is one to the Docker of `address` (`ssh://user@host`).

    ssh finds keys, ports and jump hosts in the user's own configuration, and never asks for a password.
    `complaint` is what ssh said last on a connection that failed, or "".
    """

    def __init__(self, address: str) -> None:
        self.complaint = ""
        self._words = words(address)
        self._folder: Path | None = None
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        """Begin to listen; the path of the socket."""
        self._folder = Path(tempfile.mkdtemp(prefix="everup-ssh-"))
        self._server = await asyncio.start_unix_server(self._begin, self._folder / "docker.sock")
        return str(self._folder / "docker.sock")

    async def close(self) -> None:
        """End every connection and remove the socket."""
        if self._server:
            self._server.close()
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.create_task(self._carry(reader, writer))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = asyncio.subprocess.PIPE
        ssh = None
        try:
            ssh = await asyncio.create_subprocess_exec(*self._words, stdin=pipe, stdout=pipe, stderr=pipe)
            assert ssh.stdin and ssh.stdout and ssh.stderr
            there = asyncio.create_task(pass_on(reader, ssh.stdin))
            said = asyncio.create_task(ssh.stderr.read(_MOST_SAID_BYTES))
            try:
                await pass_on(ssh.stdout, writer)
                self.complaint = (await said).decode(errors="replace").strip()[:_LONGEST_COMPLAINT]
            finally:
                there.cancel()
                said.cancel()
        except OSError as error:
            self.complaint = f"ssh cannot be started: {error.strerror}"
        finally:
            writer.close()
            if ssh and ssh.returncode is None:
                with suppress(ProcessLookupError):
                    ssh.terminate()
                with suppress(TimeoutError):
                    await asyncio.wait_for(ssh.wait(), _END_S)


def words(address: str) -> tuple[str, ...]:
    """The command that connects to the Docker of `ssh://user@host:port`; options must not hide in a host's name."""
    parts = urlsplit(address)
    port = ("-p", str(parts.port)) if parts.port else ()
    user = ("-l", parts.username) if parts.username else ()
    options = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5")
    return ("ssh", *options, *port, *user, "--", str(parts.hostname), "docker", "system", "dial-stdio")
