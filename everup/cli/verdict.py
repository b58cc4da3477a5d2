"""What people see of check and explain: the answer first, then why, then what to do."""

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from everup.cli.render import GAP, console, event_line, health_of

Json = dict[str, Any]

LEVELS = {
    "ok": ("●", "green"),
    "note": ("·", "dim"),
    "warning": ("◐", "yellow"),
    "no": ("○", "red"),
}
"""Level of a finding -> shape and colour."""

PATHS = {"goes on": "green", "failover": "green", "restart": "yellow", "stuck": "red"}


def narrowed(body: Json, service: Json) -> Json:
    """The verdict on one service alone."""
    bad = any(one["level"] == "no" for one in (*body["findings"], *service["findings"]))
    return {
        **body,
        "verdict": "no" if bad else "yes",
        "survives": service["survives"],
        "services": [service],
    }


def check(body: Json) -> Group:
    """A verdict: the answer, a paragraph per service, what concerns all, and notes last."""
    rows: list[tuple[Text, Text, Text]] = []
    notes: list[tuple[str, Json]] = [("", one) for one in body["findings"] if one["level"] == "note"]
    for service in body["services"]:
        told = [one for one in service["findings"] if one["level"] != "note"]
        told = [one for one in told if one["level"] != "ok"] or told
        rows += _paragraph(service["label"], told)
        notes += [(service["label"], one) for one in service["findings"] if one["level"] == "note"]
    rows += _paragraph("", [one for one in body["findings"] if one["level"] != "note"])
    parts: list[RenderableType] = [_answer(body), Text(), _columns(rows)]
    if notes:
        parts += [Text(), _columns([row for label, one in notes for row in _note(label, one)])]
    return Group(*parts)


def _answer(body: Json) -> Text:
    text = Text.assemble((body["environment"], "bold"), " · ", body["engine"], " · ")
    if blind := [one["because"] for one in body["findings"] if one["level"] == "no"]:
        return text.append("no", "red").append(f" · {blind[0]}")
    weak = [one["label"] for one in body["services"] if not one["survives"]["node"]]
    if weak:
        return text.append("no", "red").append(f" · {', '.join(weak)} could not lose any one node")
    if body["verdict"] != "yes":
        return text.append("no", "red").append(" · any one node can be lost, but not any one host")
    if body["survives"]["host"]:
        return text.append("yes", "green").append(" · any one node can be lost, and any one host")
    return text.append("yes", "green").append(" · any one node can be lost, no host can (there is only one)")


def _paragraph(label: str, findings: Iterable[Json]) -> Iterator[tuple[Text, Text, Text]]:
    name = Text(label, "bold")
    for one in findings:
        sign, colour = LEVELS[one["level"]]
        yield name, Text(sign, colour), Text(one["because"])
        if one["next"]:
            yield Text(), Text(), Text(f"→ {one['next']}", "cyan")
        name = Text()


def _note(label: str, one: Json) -> Iterator[tuple[Text, Text, Text]]:
    words = f"{one['because']}{' → ' + one['next'] if one['next'] else ''}"
    yield Text(label, "dim"), Text(LEVELS["note"][0], "dim"), Text(words, "dim")


def _columns(rows: Iterable[tuple[Text, ...]], indent: int = 2) -> Group:
    """Rows in aligned columns; the last one is wrapped where the window is too narrow."""
    rows = list(rows)
    wide = [max(cell.cell_len for cell in column) for column in list(zip(*rows, strict=True))[:-1]]
    window = console()
    room = max(20, window.width - indent - sum(cells + GAP for cells in wide if cells))
    lines = []
    for *cells, last in rows:
        start = Text(" " * indent)
        for cell, width in zip(cells, wide, strict=True):
            if width:
                start.append_text(cell).append(" " * (width - cell.cell_len + GAP))
        for number, piece in enumerate(last.wrap(window, room)):
            line = (start if number == 0 else Text(" " * start.cell_len)).copy().append_text(piece)
            line.rstrip()
            lines.append(line)
    return Group(*lines)


def explanation(body: Json) -> Group:
    """A service explained: now, the next election, what a loss would do, the last incident."""
    head = Text.assemble((body["label"], "bold"), " · ", body["kind"], " · ", health_of(body["health"]))
    parts: list[RenderableType] = [head.append(f" · {body['because']}"), Text(), *_now(body["now"])]
    if body["election"]:
        parts += [Text(), *_election(body)]
    if body["if_lost"]:
        parts += [Text(), Text("  if one were lost now", "bold"), _losses(body["if_lost"])]
    parts += [Text(), *_incident(body["incident"])]
    return Group(*parts)


def _now(actions: list[Json]) -> Iterator[RenderableType]:
    if not actions:
        yield Text("  now").append("   nothing is to be done", "dim")
        return
    yield Text("  now", "bold")
    rows = []
    for one in actions:
        word = Text("waits", "yellow") if one["waits"] else Text(one["action"], "cyan")
        rows.append((Text(one["node"]), word, Text(one["because"])))
    yield _columns(rows, 4)


def _election(body: Json) -> Iterator[RenderableType]:
    primary, election = body["primary"], body["election"]
    yield Text(f"  if {primary} died now" if body["primary_lives"] else f"  {primary} is dead", "bold")
    rows = []
    first = True
    for one in election["candidates"]:
        word = "○ cannot lead" if not one["fit"] else "● would lead" if first else "● could lead"
        first = first and not one["fit"]
        known = [f"{name} {value}" for name, value in one["facts"].items() if value is not None]
        rows.append((one["node"], word, "green" if one["fit"] else "yellow", " · ".join([one["because"], *known])))
    for one in election["votes"]:
        word = "● votes" if one["counts"] else "○ does not vote"
        rows.append((one["node"], word, "green" if one["counts"] else "yellow", one["because"]))
    yield _columns([(Text(node), Text(word, colour), Text(because)) for node, word, colour, because in rows], 4)
    if election["majority"]:
        voting = sum(one["counts"] for one in election["votes"])
        yield Text(f"    {voting} of {len(election['votes'])} vote, {election['majority']} must agree", "dim")
    if election["obstacle"]:
        yield Text(f"    {election['obstacle']}", "red")


def _losses(found: list[Json]) -> RenderableType:
    """A line for each fate; nodes that share one share the line."""
    fates: dict[tuple[str, str], list[str]] = {}
    for one in found:
        fates.setdefault((one["path"], one["because"]), []).extend(one["nodes"])
    rows = [(Text(_few(nodes)), Text(path, PATHS[path]), Text(because)) for (path, because), nodes in fates.items()]
    return _columns(rows, 4)


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _incident(incident: Json | None) -> Iterator[RenderableType]:
    if incident is None:
        yield Text("  last incident").append("   none", "dim")
        return
    yield Text.assemble(("  last incident", "bold"), "   ", incident["outcome"])
    yield _columns([(event_line(one),) for one in incident["events"]], 4)
