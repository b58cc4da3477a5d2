"""One service as geometry: its endpoint, whoever it leads to, who follows, who votes. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everup.core.words import size_of

Json = dict[str, Any]

WIDTH = 372.0
PAD = 16.0
INNER = WIDTH - 2 * PAD
HEAD = 62.0
PILL = 36.0
BOX = 48.0
CHIP = 28.0
DROP = 28.0
"""The length of an arrow from one tier to the next."""

GUTTER = 10.0
PER_ROW = 3

LETTER = 8.1
"""Width of a letter of a node's name in a wide typeface; of one in small print it is less."""

SMALL_LETTER = 6.6

NOTABLE_BYTES = 100_000
"""A replica that is less behind than this is not called behind: what is on its way is always some bytes."""


@dataclass(frozen=True)
class Arrow:
    """One line: `kind` is leads, follows, cut or needs; `words` say it for those who cannot see it."""

    path: str
    kind: str
    words: str


@dataclass(frozen=True)
class NodeBox:
    """A node: its shape and colour come from `state`; `small` ones have no second line."""

    id: str
    name: str
    remark: str
    state: str
    x: float
    y: float
    width: float
    height: float
    primary: bool = False
    small: bool = False

    @property
    def words(self) -> str:
        """The node in words."""
        return f"{self.id}: {self.remark}" if self.remark else self.id


@dataclass(frozen=True)
class Panel:
    """A service: at `door_y` the arrows of those who need it end; `address` is that of its endpoint, "" without one."""

    label: str
    title: str
    kind: str
    remark: str
    state: str
    address: str
    height: float
    door_y: float
    nodes: tuple[NodeBox, ...]
    arrows: tuple[Arrow, ...]
    voters_y: float | None = None
    voters: str = ""
    gap_y: float | None = None
    x: float = 0.0
    y: float = 0.0
    width: float = WIDTH

    def at(self, x: float, y: float) -> "Panel":
        """The same panel with its corner at (x, y)."""
        return replace(self, x=x, y=y)


def lay_out(service: Json) -> Panel:
    """Place the nodes of a service, given as in `everup status --json`, in tiers."""
    nodes = [one for one in service["nodes"] if one["role"] not in ("endpoint", "front")]
    voters = [one for one in nodes if one["part"] == "voter"]
    leaders = [one for one in nodes if one["id"] == service["primary"]]
    others = [one for one in nodes if one not in voters and one not in leaders]
    y, boxes, arrows = HEAD, [], []
    top: list[tuple[float, float]] = []
    if service["endpoint"]:
        top, y = [(WIDTH / 2, y + PILL)], y + PILL + DROP
    door_y = HEAD + PILL / 2 if service["endpoint"] else HEAD / 2
    gap_y: float | None = None
    stateful = any(one["part"] == "data" for one in nodes)
    if stateful:
        leader = list(_row(leaders, y, 1, 190.0))
        gap_y = None if leaders else y
        words = f"the endpoint of {service['label']} leads to {service['primary'] or 'nobody now'}"
        arrows += [_down(point, (WIDTH / 2, y), "leads" if leaders else "cut", words) for point in top]
        boxes += leader
        top, y = [(WIDTH / 2, y + BOX)], y + BOX + (DROP if others else 0)
    rows = [others[start : start + PER_ROW] for start in range(0, len(others), PER_ROW)]
    for number, row in enumerate(rows):
        placed = list(_row(row, y, len(rows[0])))
        boxes += placed
        if number == 0:
            arrows += [
                _down(point, (box.x + box.width / 2, y), *_relation(box, service)) for point in top for box in placed
            ]
        y += BOX + (GUTTER if number + 1 < len(rows) else 0)
    voters_y = y + (24 if boxes else 12) if voters else None
    if voters_y is not None:
        chips = list(_chips(voters, voters_y + 10, service["label"]))
        boxes, y = [*boxes, *chips], chips[-1].y + CHIP
    title = _cut(service["label"], INNER - 130, 8.6)
    return Panel(
        label=service["label"],
        title=title,
        kind=_kind(service),
        remark=_cut(_remark(service), INNER, SMALL_LETTER),
        state=service["health"],
        address=_address(service),
        height=y + PAD,
        door_y=door_y,
        nodes=tuple(boxes),
        arrows=tuple(arrows),
        voters_y=voters_y,
        voters="who votes on the primary" if stateful else "members",
        gap_y=gap_y,
    )


def _row(nodes: Sequence[Json], y: float, abreast: int, widest: float = 165.0) -> Iterator[NodeBox]:
    """Boxes side by side, from where a row of `abreast` boxes in the middle of the panel begins."""
    width = min((INNER - (abreast - 1) * GUTTER) / abreast, widest)
    x = (WIDTH - abreast * width - (abreast - 1) * GUTTER) / 2
    for node in nodes:
        remark = _cut(_node_remark(node), width - 42, SMALL_LETTER)
        name = _shortened(node["id"], width - 32)
        yield NodeBox(node["id"], name, remark, node["health"], x, y, width, BOX, node["role"] == "primary")
        x += width + GUTTER


def _chips(nodes: Sequence[Json], y: float, label: str) -> Iterator[NodeBox]:
    width = (INNER - (PER_ROW - 1) * GUTTER) / PER_ROW
    for number, node in enumerate(nodes):
        row, column = divmod(number, PER_ROW)
        name = _cut(node["id"].removeprefix(f"{label}-"), width - 34, SMALL_LETTER)
        x = PAD + column * (width + GUTTER)
        remark = node["health"]
        yield NodeBox(node["id"], name, remark, node["health"], x, y + row * (CHIP + 6), width, CHIP, small=True)


def _relation(box: NodeBox, service: Json) -> tuple[str, str]:
    if any(one["part"] == "data" for one in service["nodes"]):
        return "follows", f"{box.id} follows {service['primary'] or 'nobody now'}"
    good = box.state == "ready"
    return (
        "leads" if good else "cut",
        f"the endpoint of {service['label']} {'leads' if good else 'would lead'} to {box.id}",
    )


def _down(begin: tuple[float, float], end: tuple[float, float], kind: str, words: str) -> Arrow:
    (from_x, from_y), (to_x, to_y) = begin, (end[0], end[1] - 3)
    half = (to_y - from_y) / 2
    bend = f"{from_x:.1f} {from_y + half:.1f} {to_x:.1f} {to_y - half:.1f}"
    return Arrow(f"M{from_x:.1f} {from_y:.1f}C{bend} {to_x:.1f} {to_y:.1f}", kind, words)


def _kind(service: Json) -> str:
    if service["limit"] is not None:
        return f"{service['kind']} ×{service['scale']}"
    return f"{service['kind']}{' HA' if service['ha'] else ''}"


def _remark(service: Json) -> str:
    if service["health"] != "healthy":
        return str(service["because"])
    if service["limit"] is not None:
        return f"{service['scale']} of {service['limit']} allowed"
    return f"primary {service['primary']}" if service["primary"] else "every node is ready"


def _node_remark(node: Json) -> str:
    if node["health"] != "ready":
        return str(node["health"])
    if node["role"] == "replica" and (node["lag_bytes"] or 0) >= NOTABLE_BYTES:
        return f"{size_of(node['lag_bytes'])} behind"
    return node["role"] if node["role"] in ("primary", "replica") else "ready"


def _address(service: Json) -> str:
    """Host and port of the endpoint, without scheme, password and path."""
    rest = (service["endpoint"] or "").partition("://")[2].rpartition("@")[2]
    return _cut(rest.partition("/")[0], INNER - 110, LETTER)


def _shortened(name: str, room: float) -> str:
    """A name that fits: its end tells the nodes of a service apart, so that is kept."""
    most = int(room / LETTER)
    return name if len(name) <= most else f"{name[: most - 6]}…{name[-5:]}"


def _cut(words: str, room: float, letter: float) -> str:
    most = int(room / letter)
    return words if len(words) <= most else words[: max(1, most - 1)] + "…"
