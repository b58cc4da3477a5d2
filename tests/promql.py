"""The expressions of the dashboard and of the alerts, and the metrics that they ask for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

MONITORING = Path(__file__).parents[1] / "deploy" / "monitoring"

WORDS = set(
    re.findall(
        r"\w+",
        """sum by rate increase delta max min avg count histogram_quantile without on and or unless time bool offset
        group_left changes absent le topk ignoring label_values""",
    )
)
"""What is PromQL's own in an expression."""


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression, with the title of where it stands."""
    board = json.loads((MONITORING / "grafana.json").read_text())
    yield from ((panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"])
    yield from ((one["name"], one["query"]) for one in board["templating"]["list"] if one["type"] == "query")
    rules = YAML(typ="safe").load((MONITORING / "alerts.yaml").read_text())
    yield from ((rule["alert"], rule["expr"]) for group in rules["groups"] for rule in group["rules"])


def names_in(expression: str) -> set[str]:
    """The metrics that an expression asks for: its words, without labels, texts, durations and PromQL's own."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on|without|ignoring|group_left)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"label_values\(([^,]*),[^)]*\)", r"\1", bare)
    return set(re.findall(r"\b[a-z_][a-z0-9_]*\b", bare)) - WORDS
