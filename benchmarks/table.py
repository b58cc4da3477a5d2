"""Figures with their spread, as a table on the screen and as JSON in `benchmarks/results/`."""

import json
import os
import platform
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass
class Row:
    """One measured thing: every value, what is known beside them, and the machine's load at each (1 minute average)."""

    what: str
    unit: str
    values: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)

    def add(self, value: float) -> None:
        """Take one more value, with the load at this moment."""
        self.values.append(value)
        self.load.append(os.getloadavg()[0])

    def cells(self) -> list[str]:
        """The row as text: what, n, median, min, max, load, notes."""
        notes = ", ".join(f"{name} {value}" for name, value in self.notes.items())
        if not self.values:
            return [self.what, "0", "-", "-", "-", "-", notes]
        middle, low, high = statistics.median(self.values), min(self.values), max(self.values)
        figures = [
            f"{value:,.0f} {self.unit}" if value >= 10 else f"{value:.2g} {self.unit}" for value in (middle, low, high)
        ]
        return [self.what, str(len(self.values)), *figures, f"{min(self.load):.1f}-{max(self.load):.1f}", notes]


class Results:
    """Rows by key, such as (group, fault, client), made as values come in."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, ...], Row] = {}
        self._notes: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)

    def add(self, key: tuple[str, ...], value: float, unit: str = "ms") -> None:
        """Take the value of one run."""
        self._row(key, unit).add(value)

    def count(self, key: tuple[str, ...], **counts: int) -> None:
        """Note what adds up over the runs."""
        for name, count in counts.items():
            self._note(key, name, self._notes[key].get(name, 0) + count)

    def worst(self, key: tuple[str, ...], **counts: int) -> None:
        """Note what matters most in the run where there is most of it."""
        for name, count in counts.items():
            self._note(key, name, max(self._notes[key].get(name, 0), count))

    def _note(self, key: tuple[str, ...], name: str, count: int) -> None:
        self._notes[key][name] = count
        self._row(key).notes[name.replace("_", " ")] = f"{count:,}"

    def _row(self, key: tuple[str, ...], unit: str = "ms") -> Row:
        return self.rows.setdefault(key, Row(" · ".join(key), unit))


def publish(name: str, rows: Sequence[Row]) -> Path:
    """Print the rows as a table and write them to `results/<name>-<time>.json`; returns that file."""
    table = Table(title=f"{name} · {os.cpu_count()} CPUs · Python {platform.python_version()}", title_justify="left")
    for column in ("what", "n", "median", "min", "max", "load", "notes"):
        table.add_column(column, justify="left" if column in ("what", "notes") else "right")
    for row in rows:
        table.add_row(*row.cells())
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(f"written to {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}\n", flush=True)
    return file


def progress(text: str) -> None:
    """Say on stderr what is going on."""
    print(f"  {text}", file=sys.stderr, flush=True)
