"""Nodes as `everup status --json` prints them, by the hosts that they run on."""

from collections.abc import Mapping, Sequence
from typing import Any

from everup.model.observed import EVERYWHERE, Ground

Json = dict[str, Any]


def by_host(nodes: Sequence[Json]) -> list[tuple[str, list[Json]]]:
    """The nodes of each host, hosts in order of their names; what runs on every host comes last."""
    hosts = sorted({node["host"] for node in nodes}, key=lambda host: (host == EVERYWHERE, host))
    return [(host, [node for node in nodes if node["host"] == host]) for host in hosts]


def mark(host: str, grounds: Mapping[str, str]) -> str:
    """How a host stands, where that is worth a word: `drained` or `lost`; "" where everything may run there.

    `grounds` are the `hosts` of `everup status --json`.
    """
    ground = grounds.get(host, Ground.SOUND)
    return "" if ground == Ground.SOUND else str(ground)
