"""A drill as one HTML file that needs nothing else: no script, no font and no picture from anywhere."""

from importlib import resources

from jinja2 import Environment, StrictUndefined

from everup.drills.picture import draw, label_of
from everup.model.drill import Drill, Verdict

TEMPLATE = (resources.files("everup.drills") / "report.html.j2").read_text(encoding="utf-8")

WORDS = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.INCONCLUSIVE: "proves nothing",
}


def page(drill: Drill) -> str:
    """The report of a drill: figures against targets, every run with its pictures, and what they depend on."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["span"] = _span
    environment.filters["moment"] = label_of
    runs = []
    for run in drill.runs:
        pictures = [(run.closeup, "around the fault"), (run.overview, "the whole run")]
        runs.append((run, [draw(run, writes, title) for writes, title in pictures if writes is not None]))
    return environment.from_string(TEMPLATE).render(drill=drill, runs=runs, words=WORDS)


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
