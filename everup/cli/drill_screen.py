"""What people see of a drill: its progress, its result, and those before."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from everup.cli import render
from everup.model.drill import AppSummary, Drill, Run, Scene, Spread, Verdict

Json = dict[str, Any]

SIGNS = {Verdict.PASS: ("✓", "green"), Verdict.FAIL: ("✗", "red"), Verdict.INCONCLUSIVE: ("?", "yellow")}


class Screen:
    """Progress over the runs: a bar on a terminal, else one line per run; with `quiet` on stderr."""

    def __init__(self, label: str, runs: int, *, quiet: bool) -> None:
        self._console = render.console(stderr=quiet)
        self._is_live = self._console.is_terminal and not quiet
        words = TextColumn("{task.description}")
        self._bar = Progress(words, BarColumn(20), MofNCompleteColumn(), console=self._console, transient=True)
        self._task = self._bar.add_task(f"drill  {label}", total=runs)
        self._label, self._runs, self._done = label, runs, 0

    def __enter__(self) -> "Screen":
        if self._is_live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_live:
            self._bar.stop()

    def tell(self, words: str) -> None:
        """What is going on now."""
        self._bar.update(self._task, description=f"drill  {self._label} · {words}")

    def print(self, *lines: str | Text) -> None:
        """Say something that stays."""
        for line in lines:
            self._console.print(line)

    def done(self, scene: Scene, run: Run) -> None:
        """A run is over."""
        self._done += 1
        self._bar.advance(self._task)
        count = f"{self._done:>{len(str(self._runs))}}/{self._runs}"
        self.print(run_line(count, run), *app_lines(" " * len(count), run))


def run_line(count: str, run: Run) -> Text:
    """One run, by its `count`: what stood still, what was lost, how it came back, and why if it is no pass."""
    sign, colour = SIGNS[run.verdict]
    parts = [
        f"{run.subject or 'control plane'}",
        "writing did not come back" if run.rto_s is None else f"writes stood still {span(run.rto_s)}",
        f"lost {_lost(run.lost, run.acknowledged)}",
        f"{run.errors} errors",
        *([f"{run.stale} stale reads"] if run.stale else []),
        run.path,
        "not redundant" if run.redundant_after_s is None else f"redundant after {span(run.redundant_after_s)}",
    ]
    words = " · ".join(parts) + ("" if run.verdict == Verdict.PASS else f" · {run.because}")
    return Text.assemble(f"  {count}  ", (sign, colour), f"  {words}")


def app_lines(margin: str, run: Run) -> list[Text]:
    """What the app that is watched, if any, made of one run, instance by instance."""
    app = run.app
    if app is None:
        return []
    sign, colour = SIGNS[app.verdict]
    parts = [
        f"{one.node} {'did not write again' if one.rto_s is None else f'without a write for {span(one.rto_s)}'}"
        f", {one.errors} errors"
        for one in app.instances
    ]
    words = " · ".join(parts) + (
        "" if app.verdict == Verdict.PASS or app.because == run.because else f" · {app.because}"
    )
    return [Text.assemble(f"  {margin}  ", (sign, colour), f"  {words}")]


def result(drill: Drill) -> Group:
    """The figures of all runs, each beside its target, and the verdict."""
    summary, count = drill.summary, len(drill.runs)
    writers = f"{drill.writers} writer{'s' if drill.writers > 1 else ''}"
    head = f"{drill.fault.value} · through the {_way(drill.via)} · {writers} · {count} run{'s' if count > 1 else ''}"
    targets = summary.targets
    goal = "target none" if targets.rto_s is None else f"target {targets.rto_s:g} s"
    rows = [
        _figure("writes stood still", summary.rto_s, goal),
        [Text("acknowledged, lost"), Text(_lost(summary.lost, summary.acknowledged)), Text(""), _goal(targets.lost)],
        [Text("errors"), Text(f"{summary.errors:,}"), Text(""), Text("")],
        _figure("redundant again", summary.redundant_after_s, ""),
    ]
    sign, colour = SIGNS[summary.verdict]
    verdict = Text.assemble("  ", (f"{sign} {summary.verdict.value}", f"bold {colour}"), f"  {summary.because}")
    title = Text.assemble("drill  ", (drill.service, "bold"), f" · {head}")
    caution = [Text(f"  {drill.caution}", "dim")] if drill.caution else []
    if drill.app:
        repeats, rows = drill.app.because == summary.because, [*rows, *_instances(drill.app)]
        return Group(title, render.grid(rows), *caution, *_of_app(drill.app, repeats), verdict)
    return Group(title, render.grid(rows), *caution, verdict)


def _instances(app: AppSummary) -> list[list[Text]]:
    """A row for each instance of the app that was watched."""
    goal = f"within {app.within_s:g} s of the service"
    return [
        _figure(f"{one.node} without a write", one.rto_s, f"{goal} · {one.errors:,} errors") for one in app.instances
    ]


def _of_app(app: AppSummary, repeats: bool) -> list[Text]:
    """The verdict on the app, whose reason follows anyway where it `repeats`, and what to do about who stayed."""
    sign, colour = SIGNS[app.verdict]
    words = app.request if repeats else f"{app.request}: {app.because}"
    verdict = Text.assemble("  ", (f"{sign} {app.label}", f"bold {colour}"), f"  {words}")
    return [verdict, Text(f"  {app.next}")] if app.next else [verdict]


def _figure(name: str, values: Spread, goal: str) -> list[Text]:
    if values.median is None or values.max is None:
        return [Text(name), Text("-"), Text(""), Text(goal, "dim")]
    return [Text(name), Text(f"median {span(values.median)}"), Text(f"max {span(values.max)}"), Text(goal, "dim")]


def _goal(lost: int | None) -> Text:
    return Text("no target" if lost is None else f"target {lost}", "dim")


def _way(via: str) -> str:
    return "Sentinels" if via == "sentinel" else via


def _lost(lost: int | None, acknowledged: int) -> str:
    if lost is None:
        return f"? of {acknowledged:,}"
    return f"{lost:,} of {acknowledged:,}"


def span(seconds: float) -> str:
    """A duration with the digits that matter: `41 ms`, `1.24 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def history(kept: Sequence[Json]) -> Group:
    """One line per drill, the newest last."""
    rows = []
    for one in kept:
        summary = one["summary"]
        sign, colour = SIGNS[Verdict(summary["verdict"])]
        rto = summary["rto_s"]
        stood = "-" if rto["median"] is None else f"median {span(rto['median'])}, max {span(rto['max'])}"
        runs = len(one["runs"])
        rows.append(
            [
                Text(render.clock(one["at_utc"]), "dim"),
                Text(one["service"], "bold"),
                Text(one["fault"]),
                Text(f"{runs} run{'s' if runs > 1 else ''}"),
                Text(stood),
                Text(f"lost {_lost(summary['lost'], summary['acknowledged'])}"),
                Text(f"{sign} {summary['verdict']}", colour),
                _kept_app(one.get("app")),
            ]
        )
    return render.grid(rows)


def _kept_app(app: Json | None) -> Text:
    """The verdict on the app that was watched, with the instances that stayed behind; empty without one."""
    if not app:
        return Text("")
    sign, colour = SIGNS[Verdict(app["verdict"])]
    stayed = [one["node"] for one in app["instances"] if one["stayed"]]
    return Text(f"{sign} {app['label']}{': ' + ', '.join(stayed) + ' stayed' if stayed else ''}", colour)
