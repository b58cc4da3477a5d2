"""Words for the shell to complete, from the environment that runs; silent whatever goes wrong."""

from typing import Any

from everup.cli.session import Session
from everup.model.errors import EverupError


def labels(incomplete: str) -> list[tuple[str, str]]:
    """Labels that begin so, each with its kind and health."""
    return [
        (one["label"], f"{one['kind']}, {one['health']}") for one in _services() if one["label"].startswith(incomplete)
    ]


def nodes_and_labels(incomplete: str) -> list[tuple[str, str]]:
    """Labels and node ids that begin so."""
    nodes = [(node["id"], node["role"] or "") for one in _services() for node in one["nodes"]]
    return labels(incomplete) + [(node, role) for node, role in nodes if node.startswith(incomplete)]


def _services() -> list[dict[str, Any]]:
    from everup.cli.daemon import answering

    session = Session()
    try:
        client = session.place.client() if session.place else answering(session.home)
        if client is None:
            return []
        services: list[dict[str, Any]] = client.get(f"environments/{session.name(client)}")["services"]
        return services
    except (EverupError, OSError):
        return []
