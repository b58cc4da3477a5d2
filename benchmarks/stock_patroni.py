"""A Patroni group as people set one up by hand, from the examples in its repository: the yardstick for PostgreSQL.

Three members with its defaults (ttl 30, loop_wait 10, retry_timeout 10, asynchronous), three members of etcd, and
HAProxy with the checks of its `haproxy.cfg`. The servers are those that Everup uses.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import httpx

from everup.engines.local.privilege import footing
from everup.engines.local.programs import Programs
from tests.kinds.real import Processes
from tests.postgres.group import children

SCOPE, PASSWORD = "batman", "zalando"
HAPROXY = """\
global
    maxconn 100
defaults
    mode tcp
    retries 2
    timeout client 30m
    timeout connect 4s
    timeout server 30m
    timeout check 5s
listen batman
    bind {listen}
    option httpchk
    http-check expect status 200
    default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions
"""


class StockPatroni:
    """Members, etcd and HAProxy, supervised by nobody.

    Args:
        block: the first three bytes of the loopback addresses, such as `127.61.1`.
    """

    def __init__(self, block: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="everup-stock-"))
        self.members = [f"{block}.{n}" for n in (11, 12, 13)]
        self.voters = [f"{block}.{n}" for n in (21, 22, 23)]
        self.url = f"postgresql://postgres:{PASSWORD}@{block}.31:5000/postgres"
        self._listen = f"{block}.31:5000"
        self._processes = Processes(self.folder)
        self._programs = Programs({}, os.environ)

    def start(self) -> None:
        """Start everything at once; returns before any of it is ready."""
        for host in self.voters:
            self._processes.spawn(host, [str(self._programs.find("etcd").path), *self._etcd_words(host)])
        for host in self.members:
            home = self.folder / host
            home.mkdir()
            (home / "patroni.yml").write_text(json.dumps(self._patroni(host)))
            footing().own(home, ["patroni.yml"])
            self._run(host)
        servers = [f"    server {host} {host}:5432 maxconn 100 check port 8008\n" for host in self.members]
        home = self.folder / "haproxy"
        home.mkdir()
        (home / "haproxy.cfg").write_text(HAPROXY.format(listen=self._listen) + "".join(servers))
        self._processes.spawn("haproxy", [str(self._programs.find("haproxy").path), "-f", "haproxy.cfg"])

    def revive(self) -> None:
        """Start the members again that have ended, as the init system of their machine would."""
        for host in self.members:
            if self._processes.running[host].poll() is not None:
                self._run(host)

    def _run(self, host: str) -> None:
        self._processes.spawn(host, [*footing().words, sys.executable, "-m", "patroni", "patroni.yml"])

    def stop(self) -> None:
        """Kill all and delete what they wrote."""
        left = [pid for host in self.members for pid in self._server(host)]
        self._processes.close()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def leader(self) -> str:
        """The address of the member that leads."""
        return next(host for host, member in self._cluster().items() if member["role"] == "leader")

    def streaming(self) -> bool:
        """Whether both standbys stream."""
        return [member.get("state") for member in self._cluster().values()].count("streaming") == 2

    def patroni(self, host: str) -> int:
        """The pid of a member's Patroni."""
        return self._processes.running[host].pid

    def postmaster(self, host: str) -> int:
        """The pid of a member's postmaster."""
        return int((self.folder / host / "data" / "postmaster.pid").read_text().splitlines()[0])

    def switch_over(self) -> None:
        """Hand over by Patroni's REST interface."""
        leader = self.leader()
        url = f"http://{leader}:8008/switchover"
        httpx.post(url, json={"leader": leader}, timeout=60).raise_for_status()

    def pids(self) -> list[int]:
        """Every live process."""
        return [
            *(process.pid for process in self._processes.running.values() if process.poll() is None),
            *(pid for host in self.members for pid in self._server(host)),
        ]

    def _server(self, host: str) -> list[int]:
        with suppress(OSError, ValueError):
            postmaster = self.postmaster(host)
            return [postmaster, *children(postmaster)]
        return []

    def _cluster(self) -> dict[str, dict[str, object]]:
        """What any member that answers says of all, by name."""
        for host in self.members:
            with suppress(httpx.HTTPError, ValueError):
                listed = httpx.get(f"http://{host}:8008/cluster", timeout=2).json().get("members", [])
                return {member["name"]: member for member in listed}
        return {}

    def _etcd_words(self, host: str) -> list[str]:
        client, peer = f"http://{host}:2379", f"http://{host}:2380"
        everyone = ",".join(f"{voter}=http://{voter}:2380" for voter in self.voters)
        return [
            *("--name", host, "--data-dir", "data", "--initial-cluster", everyone),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        ]

    def _patroni(self, host: str) -> dict[str, object]:
        roles = {"superuser": "postgres", "replication": "replicator", "rewind": "rewind_user"}
        return {
            "scope": SCOPE,
            "name": host,
            "restapi": {"listen": f"{host}:8008", "connect_address": f"{host}:8008"},
            "etcd3": {"hosts": [f"{voter}:2379" for voter in self.voters]},
            "bootstrap": {
                "dcs": {
                    "ttl": 30,
                    "loop_wait": 10,
                    "retry_timeout": 10,
                    "maximum_lag_on_failover": 1048576,
                    "postgresql": {"use_pg_rewind": True},
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{host}:5432",
                "connect_address": f"{host}:5432",
                "data_dir": "data",
                "bin_dir": str(self._programs.find("postgres").path.parent),
                "pgpass": "pgpass",
                "authentication": {role: {"username": name, "password": PASSWORD} for role, name in roles.items()},
                "pg_hba": [
                    "host replication replicator 127.0.0.0/8 scram-sha-256",
                    "host all all 127.0.0.0/8 scram-sha-256",
                ],
                "parameters": {"unix_socket_directories": ""},
            },
        }
