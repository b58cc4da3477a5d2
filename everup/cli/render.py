"""What people see: calm, aligned, with a shape beside every colour."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from everup.core.hosts import by_host, mark
from everup.core.words import size_of

Json = dict[str, Any]

SIGNS = {
    "healthy": ("●", "green"),
    "ready": ("●", "green"),
    "degraded": ("◐", "yellow"),
    "suspect": ("◐", "yellow"),
    "starting": ("◌", "cyan"),
    "stopping": ("◌", "yellow"),
    "stopped": ("○", "dim"),
    "down": ("○", "red"),
    "hung": ("◒", "red"),
    "unknown": ("·", "dim"),
}
"""Health of a service or node, or what is being done to it -> shape and colour."""

CHANGE_SIGNS = {"start": ("+", "green"), "stop": ("-", "red"), "replace": ("~", "yellow"), "reload": ("~", "cyan")}

BAD = frozenset(
    {"node.exited", "node.hung", "node.failed", "service.down", "lost.kept", "lost.unkept", "internal.error"}
)
"""Events that stand out."""

GAP = 3
"""Blanks between two columns."""

NOT_A_TERMINAL = 10_000
"""Columns where nobody looks at a window: nothing is cut."""


def console(*, stderr: bool = False) -> Console:
    """Where text for people goes; cut to the window only where there is one."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = NOT_A_TERMINAL
    return made


def show(*parts: RenderableType) -> None:
    """Print to stdout."""
    console().print(*parts)


def show_json(value: Any) -> None:
    """Print one JSON value to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def status(body: Json, *, labels: Sequence[str] = (), nodes: bool = False) -> Group:
    """The status of an environment: a heading, a line per service, its nodes if asked, the last incident.

    Args:
        body: as `everup status --json` prints it.
        labels: only these services; all when empty.
        nodes: with one line per node.
    """
    services = [one for one in body["services"] if not labels or one["label"] in labels]
    parts: list[RenderableType] = [heading(body), Text()]
    grounds = body.get("hosts", {})
    if nodes:
        for service in services:
            parts += [grid([service_row(service)]), grid(node_rows(service["nodes"], grounds), indent=4), Text()]
            if labels and service["revision"]:
                parts += [grid(revision_rows(service["revision"])), Text()]
    else:
        parts += [grid([service_row(one) for one in services]), Text()] if services else []
    if unsound := [f"{name} is {stands}" for name in grounds if (stands := mark(name, grounds))]:
        parts += [Text.assemble("  hosts  ", (", ".join(unsound), "yellow")), Text()]
    if body["leaving"]:
        parts += [Text(f"  leaving  {', '.join(one['id'] for one in body['leaving'])}", "yellow"), Text()]
    for service in services:
        if service["lost"]["entries"]:
            told = f"{service['label']}: {lost_in_words(service['lost'])}, kept · everup lost {service['label']}"
            parts += [Text.assemble("  lost writes  ", (told, "yellow")), Text()]
    incident = body.get("incident")
    if incident and (not labels or incident["service"] in labels):
        parts += [Text.assemble("  last incident  ", (clock(incident["at"]), "bold"), "  ", incident["text"]), Text()]
    return Group(*parts[:-1])


def heading(body: Json) -> Text:
    """`shop · local · healthy`, and in words what is not."""
    word = "stopped" if body["stopped"] else body["health"]
    colour = "dim" if body["stopped"] else SIGNS[body["health"]][1]
    text = Text.assemble((body["environment"], "bold"), " · ", body["engine"], " · ", (word, colour))
    troubled = [one["label"] for one in body["services"] if one["health"] != "healthy"]
    if body["stopped"]:
        text.append(" · its data is kept; everup up starts it again")
    elif troubled and len(troubled) < len(body["services"]):
        text.append(f" · {', '.join(troubled)}")
    elif body["health"] == "healthy" and body["pending"]:
        text.append(" · changes are on their way")
    return text


def service_row(service: Json) -> list[Text]:
    """Label, kind, health, endpoint, remark."""
    kind = service["kind"] + (" HA" if service["ha"] and service["limit"] is None else "")
    if service["limit"] is not None:
        kind += f" ×{service['scale']}"
    return [
        Text(service["label"], "bold"),
        Text(kind),
        health_of(service["health"]),
        Text(service["endpoint"] or "", "cyan"),
        Text(_remark(service), "" if service["health"] == "healthy" else "yellow"),
    ]


def _remark(service: Json) -> str:
    if service["health"] != "healthy":
        return str(service["because"])
    if service["limit"] is not None:
        return f"{service['scale']} of {service['limit']} allowed"
    if service["primary"] and service["primary_since"]:
        return f"primary {service['primary']} since {clock(service['primary_since'])}"
    return f"primary {service['primary']}" if service["primary"] and service["ha"] else ""


def what_runs(revision: Json) -> str:
    """The command line of a revision, and the image that it runs from, where that is the user's."""
    image = revision.get("image")
    return f"{revision['run']}{f'  (image {image})' if image else ''}"


def revision_rows(revision: Json) -> list[list[Text]]:
    """The newest revisions of an app, the one that is declared now marked, and why those that failed did."""
    colours = {"good": "green", "failed": "red", "rolling": "cyan"}
    return [
        [
            Text("▸" if one["number"] == revision["number"] else " "),
            Text(f"revision {one['number']}", "bold" if one["number"] == revision["number"] else ""),
            Text(one["trial"], colours[one["trial"]]),
            Text(clock(one["at"]), "dim"),
            Text(one["because"] or what_runs(one)),
        ]
        for one in revision["known"]
    ]


def node_rows(nodes: Sequence[Json], grounds: Mapping[str, str]) -> list[list[Text]]:
    """A row for each node; where they run on several hosts grouped by these, each named once, and how it stands."""
    groups = by_host(nodes)
    if len(groups) < 2:
        return [node_row(node) for node in nodes]
    named = {host: Text.assemble((host, "bold"), (f" {mark(host, grounds)}".rstrip(), "yellow")) for host, _ in groups}
    return [
        [Text("") if number else named[host], *node_row(node)]
        for host, here in groups
        for number, node in enumerate(here)
    ]


def node_row(node: Json) -> list[Text]:
    """Id, role, health, address, pid, age, and what is worth a word."""
    address = f"{node['address']}:{node['port']}" if node["address"] else ""
    return [
        Text(node["id"]),
        Text(node["role"] or "", "magenta" if node["role"] == "primary" else ""),
        health_of(node["health"]),
        Text(address, "cyan"),
        Text(f"pid {node['pid']}" if node["pid"] else "", "dim"),
        Text(f"up {age(node['since'])}" if node["since"] else "", "dim"),
        Text(_node_remark(node), "" if node["health"] == "ready" else "yellow"),
    ]


def _node_remark(node: Json) -> str:
    words = []
    if not node["declared"]:
        words.append("no longer declared")
    if node["health"] != "ready" and node["because"]:
        words.append(node["because"])
    if node["role"] == "replica" and node["lag_bytes"] is not None:
        words.append(f"lag {size_of(node['lag_bytes'])}")
    if node["restarts"]:
        words.append(f"{node['restarts']} restart{'s' if node['restarts'] != 1 else ''}")
    return " · ".join(words)


def changes(found: Iterable[Json]) -> Group:
    """A plan as a diff."""
    rows = []
    for one in found:
        sign, colour = CHANGE_SIGNS.get(one["action"], ("~", "yellow"))
        rows.append(
            [Text(sign, f"bold {colour}"), Text(one["action"], colour), Text(one["node"]), Text(one["because"], "dim")]
        )
    return Group(grid(rows))


def lost_in_words(lost: Json) -> str:
    """What only former primaries of a service had, in figures."""
    return f"{lost['writes']:,} in {_plural(lost['entries'], 'failover')}"


def counted(writes: int) -> str:
    """So many writes."""
    return _plural(writes, "write")


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' if count != 1 else ''}"


def foresight(label: str, pause_s: float, because: str) -> str:
    """What writers of a service will notice of a change, in a sentence."""
    wait = f"about {pause_s * 1000:.0f} ms" if pause_s < 1 else f"about {pause_s:.1f} s"
    return f"writers of {label} will wait {wait if pause_s else 'for nothing'}: {because}"


def checks(found: Iterable[Json]) -> Group:
    """What `doctor` found, and what brings what is missing."""
    rows = []
    for one in found:
        sign, colour = ("●", "green") if one["ok"] else ("○", "red") if one["needed"] else ("◐", "yellow")
        rows.append([Text(sign, colour), Text(one["name"], "bold"), Text(one["found"]), Text(one["remedy"], "yellow")])
    return Group(grid(rows))


def event_line(event: Json) -> Text:
    """An event: when, and what happened."""
    bad = event["name"] in BAD
    good = event["name"] in {"service.healthy", "node.recovered", "primary.changed"}
    return Text.assemble((clock(event["at"]), "dim"), "  ", (event["text"], "red" if bad else "green" if good else ""))


def clock(iso: str) -> str:
    """A UTC moment as local time of day; with the date when it was not today."""
    moment = _moment(iso)
    if moment is None:
        return iso
    local = moment.astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def age(iso: str) -> str:
    """How long ago a UTC moment was, in one unit."""
    moment = _moment(iso)
    if moment is None:
        return "?"
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _moment(iso: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(iso)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def health_of(word: str) -> Text:
    """A health with its shape and colour."""
    sign, colour = SIGNS.get(word, ("·", "dim"))
    return Text(f"{sign} {word}", colour)


def grid(rows: Sequence[Sequence[Text]], *, indent: int = 2) -> Group:
    """Rows in aligned columns, empty ones left out; a row too long for the window is cut."""
    width = max((len(row) for row in rows), default=0)
    wide = [max(row[column].cell_len for row in rows) for column in range(width)]
    lines = []
    for row in rows:
        line = Text(" " * indent, no_wrap=True, overflow="ellipsis")
        for cell, cells in zip(row, wide, strict=True):
            if cells:
                line.append_text(cell).append(" " * (cells - cell.cell_len + GAP))
        line.rstrip()
        lines.append(line)
    return Group(*lines)


def plain_grid(rows: Iterable[Iterable[str]]) -> Group:
    """Rows of plain words in aligned columns."""
    return grid([[Text(cell) for cell in row] for row in rows])
