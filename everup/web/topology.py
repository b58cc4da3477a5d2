"""The picture of an environment as geometry: panels for services, boxes for nodes, arrows between them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everup.web.panel import Arrow, Panel, lay_out

Json = dict[str, Any]

GAP = 88.0
"""Between two columns: room for the arrows of what needs what."""

SPACE = 20.0
"""Between two panels of a column."""

MOST_COLUMNS = 3
"""Where no service needs another, the panels share so many columns."""


@dataclass(frozen=True)
class Drawing:
    """Everything that is drawn, in the units of the picture."""

    width: float
    height: float
    panels: tuple[Panel, ...]
    arrows: tuple[Arrow, ...]


def draw(services: Sequence[Json], *, narrow: bool = False) -> Drawing:
    """Lay out all services: who needs others left of them; `narrow` puts all in one column, without those arrows."""
    flat = [lay_out(one) for one in services]
    if not flat:
        return Drawing(0, 0, (), ())
    columns = [_by_depth(flat, depths(services))] if narrow else _columns(flat, services)
    if narrow:
        columns = [[panel for column in columns for panel in column]]
    heights = [sum(panel.height + SPACE for panel in column) - SPACE for column in columns]
    placed: list[Panel] = []
    gap = GAP if _related(services) else SPACE
    for number, (column, height) in enumerate(zip(columns, heights, strict=True)):
        y = (max(heights) - height) / 2 if gap == GAP else 0.0
        for panel in column:
            placed.append(panel.at(number * (panel.width + gap), y))
            y += panel.height + SPACE
    width = len(columns) * (placed[0].width + gap) - gap
    arrows = () if narrow else tuple(_needs(placed, services))
    return Drawing(width, max(heights), tuple(placed), arrows)


def depths(services: Sequence[Json]) -> Mapping[str, int]:
    """How far to the right each service stands: one further than whoever needs it; what others imply stands last."""
    labels = [one["label"] for one in services]
    found = dict.fromkeys(labels, 0)
    for _ in labels:  # as many rounds as the longest chain can have links
        for one in services:
            for needed in one["needs"]:
                if needed in found:
                    found[needed] = max(found[needed], min(found[one["label"]] + 1, len(labels)))
    last = max(found.values(), default=0)
    return found | {one["label"]: last for one in services if one["platform"]}


def _related(services: Sequence[Json]) -> bool:
    labels = {one["label"] for one in services}
    return any(needed in labels for one in services for needed in one["needs"])


def _by_depth(panels: Sequence[Panel], depth: Mapping[str, int]) -> list[Panel]:
    return sorted(panels, key=lambda panel: depth[panel.label])


def _columns(panels: Sequence[Panel], services: Sequence[Json]) -> list[list[Panel]]:
    depth = depths(services)
    if _related(services):
        levels = sorted(set(depth.values()))
        return [[panel for panel in panels if depth[panel.label] == level] for level in levels]
    columns: list[list[Panel]] = [[] for _ in range(min(MOST_COLUMNS, len(panels)))]
    for number, panel in enumerate(panels):
        columns[number % len(columns)].append(panel)
    return columns


def _needs(placed: Sequence[Panel], services: Sequence[Json]) -> list[Arrow]:
    by_label = {panel.label: panel for panel in placed}
    arrows = []
    for one in services:
        source = by_label[one["label"]]
        targets = sorted((by_label[name] for name in one["needs"] if name in by_label), key=lambda panel: panel.y)
        for number, target in enumerate(targets):
            begin_y = source.y + source.door_y + (number - (len(targets) - 1) / 2) * 10
            end_x, end_y = target.x - 3, target.y + target.door_y
            begin_x = source.x + source.width
            bend = (end_x - begin_x) / 2
            path = (
                f"M{begin_x:.1f} {begin_y:.1f}C{begin_x + bend:.1f} {begin_y:.1f} "
                f"{end_x - bend:.1f} {end_y:.1f} {end_x:.1f} {end_y:.1f}"
            )
            arrows.append(Arrow(path, "needs", f"{source.label} needs {target.label}"))
    return arrows
