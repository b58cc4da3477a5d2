"""PostgreSQL as a group: the same servers under Patroni, an endpoint for reading, and what Everup does to them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from everup.kinds import _haproxy
from everup.kinds._postgres_leaving import Detach, HandOver
from everup.kinds._postgres_patroni import (
    LAG_LIMIT,
    QUESTION,
    Access,
    patroni_json,
    read_patroni,
    shared_settings,
)
from everup.kinds._postgres_recipes import Failover, Switchover, Tune, set_aside
from everup.kinds._postgres_rules import GROUP_RULES, ShareSettings
from everup.kinds._postgres_server import Secrets
from everup.kinds._postgres_single import lead
from everup.kinds.etcd import LABEL as ETCD
from everup.kinds.etcd import EtcdService
from everup.model.desired import Node, NodeId, Protocol, Recipe, Rule, Tcp
from everup.model.spec import Service

PATRONI_BACK_S = 15.0
"""How long a killed Patroni may take until it answers again; postgres runs on meanwhile. Less than the lease."""

STANDS_ON: Mapping[str, Service] = {ETCD: EtcdService()}
"""What a group stands on: one etcd, shared by all groups of the environment."""


@dataclass(frozen=True)
class Group:
    """What all members of one group have in common."""

    access: Access
    secrets: Secrets
    own: str
    settings: Mapping[str, str]
    synchronous: bool

    @property
    def shared(self) -> Mapping[str, object]:
        """The settings that members share through etcd."""
        return shared_settings(self.settings, synchronous=self.synchronous)

    def member(self, alone: Node, patroni_source: str) -> Node:
        """A server as a member: told to run Patroni, and asked through it. Its digest is that of the server alone."""
        told = json.loads(alone.files["keeper.json"])
        told |= {"mode": "group", "patroni": ["-I", "patroni_start.py", "patroni.json"]}
        files = {
            **alone.files,
            "keeper.json": json.dumps(told, indent=1) + "\n",
            "patroni_start.py": patroni_source,
            "patroni.json": patroni_json(alone, self.access, self.shared, self.secrets, self.own),
        }
        probe = replace(
            alone.probe,
            protocol=Protocol.HTTP,
            to=alone.ports["patroni"],
            read=read_patroni,
            commands=QUESTION,
            absent_s=PATRONI_BACK_S,
            password=self.secrets.superuser,
            user="",
        )
        return replace(alone, files=files, probe=probe, rebuilds=True)

    def operations(self) -> dict[str, Recipe]:
        """What can be done to the group, by name."""
        return {
            "lead": lead,
            "failover": Failover(self.access),
            "switchover": Switchover(self.access, self.secrets.superuser),
            "set-aside": set_aside,
            "tune": Tune(self.access, json.dumps(self.shared)),
        }

    def leaving(self) -> dict[str, Recipe]:
        """What can be done to a group that is to become one server again."""
        detach = Detach(self.access, self.secrets.superuser)
        return {"detach": detach, "hand-over": HandOver(detach)}

    def rules(self) -> tuple[Rule, ...]:
        """When to do it, most urgent first."""
        return (*GROUP_RULES, ShareSettings(json.dumps(self.shared)))


def readers(label: str, listen: Tcp, members: Sequence[Node]) -> Node:
    """Where clients read: connections are spread over the standbys that are not too far behind."""
    return _haproxy.readers_node(label, listen, asked_by_http(members), f"/replica?lag={LAG_LIMIT}")


def asked_by_http(servers: Sequence[Node]) -> dict[NodeId, tuple[Tcp, Tcp]]:
    """Where each server serves, and where its Patroni answers."""
    return {node.id: (node.ports["postgres"], node.ports["patroni"]) for node in servers}
