"""Drills on the command line: break a service on purpose, and say what its clients saw."""

import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everup.cli.apply import seconds
from everup.cli.complete import labels
from everup.cli.exits import UNHEALTHY, Usage
from everup.cli.session import Session, session_of
from everup.model.drill import Drill, DrillFault, Run, Scene, Verdict
from everup.model.spec import Method

if TYPE_CHECKING:
    from everup.cli.client import Json
    from everup.drills.load import Pace
    from everup.drills.run import Wanted

HISTORY = "history"

DRILLED_HERE = "its writers go to loopback addresses, and it may have to kill the control plane"

Label = Annotated[str, typer.Argument(metavar="LABEL", help="The service, or: history.", autocompletion=labels)]
Of = Annotated[str | None, typer.Argument(metavar="[LABEL]", help="After history: of this service only.")]
Request = Annotated[
    str, typer.Option(metavar="'METHOD PATH [BODY]'", help="What makes it write; default: drill: of it in the spec.")
]
FAULT_HELP = (
    "What is broken. On a Docker Swarm also: partition, which cuts the host of the primary, or of an instance, off from"
    " all others, and host-loss, which kills what the environment runs there besides."
)
LASTING_HELP = "How long a lost node (5s) or a host (30s) stays away."
Fault = Annotated[DrillFault | None, typer.Option(help=FAULT_HELP, show_default=False)]


def drill(
    context: typer.Context,
    label: Label = "",
    of: Of = None,
    fault: Fault = None,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="How many times.")] = 1,
    lasting: Annotated[str, typer.Option("--for", metavar="DURATION", help=LASTING_HELP)] = "",
    via: Annotated[str, typer.Option(metavar="PATH", help="How clients connect: sentinel or endpoint.")] = "",
    writers: Annotated[int, typer.Option(min=1, max=16, help="How many clients write at the same time.")] = 1,
    rate: Annotated[float, typer.Option(min=1, max=100_000, help="Writes per second of each.")] = 200.0,
    patience: Annotated[str, typer.Option(metavar="DURATION", help="How long it may take to be well again.")] = "2m",
    app: Annotated[str, typer.Option(metavar="LABEL", help="An app whose own writes are watched too.")] = "",
    app_request: Request = "",
    campaign: Annotated[bool, typer.Option("--campaign", help="Faults all over the environment, by a seed.")] = False,
    seed: Annotated[int, typer.Option(help="Of a campaign: decides which fault hits what.")] = 1,
    minutes: Annotated[float, typer.Option(min=0.1, max=1440, help="Of a campaign: for how long.")] = 20.0,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a report with a timeline.")] = None,
) -> None:
    """Break a service on purpose, under steady load, and measure what its clients see.

    Writers send unique numbers along the path that clients take; then comes the fault; then all is read back. Reported
    are the longest time without an acknowledged write, acknowledged writes lost, errors, latencies, and the time to
    full redundancy, judged by rto: and rpo: of the spec. With --app, each instance of that app is made to write
    meanwhile, and one that stays on the old primary is named. What the writers wrote is taken away again.

    It needs drills: allowed in the spec, or --yes, and never starts while the service could not survive the fault. Exit
    code 3: a target was missed, or the drill proves nothing.

    Examples:

      everup drill redis01 --fault crash --runs 10 --yes

      everup drill db01 --fault switchover --app web --report drills/db01.html

      everup drill history db01

      everup drill --campaign --seed 7 --minutes 20
    """
    session = session_of(context)
    wanted = _wanted(runs, writers, rate, seconds(patience))
    if campaign:
        _campaign(session, seed, minutes, (wanted.pace, wanted.patience_s))
    elif fault is None and label == HISTORY:
        _show_history(session, of)
    elif fault is None or of is not None or not label:
        raise Usage("a drill needs a LABEL and --fault", f"Faults: {', '.join(one.value for one in DrillFault)}.")
    else:
        staging = {"fault": fault.value, "via": via, "for_s": seconds(lasting) if lasting else None}
        _one(session, label, {**staging, **_watched(app, app_request)}, wanted, report)


def _one(session: Session, label: str, staging: "Json", wanted: "Wanted", report: Path | None) -> None:
    result = _conduct(session, label, {**staging, "confirmed": session.yes}, wanted)
    _tell(session, result, report)
    _exit(result.summary.verdict)


def _wanted(runs: int, writers: int, rate: float, patience_s: float) -> "Wanted":
    from everup.drills.load import Pace
    from everup.drills.run import Wanted

    return Wanted(runs, Pace(writers, rate), patience_s)


def _watched(app: str, text: str) -> "Json":
    """The app that is watched, and its request `METHOD PATH [BODY]`, as the API takes them."""
    method, path, body = [*text.split(maxsplit=2), "", "", ""][:3]
    if text and not app:
        raise Usage("--app-request makes an app write, and none is named", "Name it: --app LABEL.")
    if text and (method not in Method.__members__ or not path.startswith("/")):
        hint = f"Write METHOD PATH, or METHOD PATH BODY, in quotes: 'POST /orders'. Methods: {', '.join(Method)}."
        raise Usage(f"--app-request is {text}", hint)
    return {"app": app, "request": {"method": method, "path": path, "body": body} if text else None}


def _campaign(session: Session, seed: int, minutes: float, wanted: "tuple[Pace, float]") -> None:
    from everup.cli import campaign, render

    session.here("drill", DRILLED_HERE)
    result = campaign.campaign(session, seed, minutes, wanted)
    if session.as_json:
        render.show_json(result)
    else:
        campaign.show(result)
    _exit(Verdict(result["verdict"]))


def _conduct(session: Session, label: str, staging: "Json", wanted: "Wanted") -> Drill:
    from dataclasses import asdict

    from everup.cli.daemon import control
    from everup.cli.drill_control import ApiControl
    from everup.cli.drill_screen import Screen
    from everup.drills.lock import alone
    from everup.drills.run import conclude, conduct

    session.here("drill", DRILLED_HERE)
    with control(session) as client:
        name = session.name(client)
    found: list[Run] = []
    scene: Scene | None = None
    with alone(session.home.path):
        api = ApiControl(session.home, name, label, staging)
        try:
            with Screen(label, wanted.runs, quiet=session.as_json) as screen:
                for scene, run in conduct(api, wanted, screen.tell):
                    found.append(run)
                    screen.done(scene, run)
            assert scene is not None
            result = conclude(scene, wanted, found, {**api.origin(), **_machine()})
            api.keep(asdict(result))
        finally:
            api.close()
    return result


def _exit(verdict: Verdict) -> None:
    if verdict != Verdict.PASS:
        raise typer.Exit(UNHEALTHY)


def _machine() -> "Json":
    """What the figures depend on."""
    return {"machine": platform.platform(), "python": platform.python_version(), "cpus": os.cpu_count()}


def _tell(session: Session, result: Drill, report: Path | None) -> None:
    from dataclasses import asdict

    from everup.cli import drill_screen, render

    if report:
        from everup.drills.report import page

        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(page(result), encoding="utf-8")
    if session.as_json:
        render.show_json({**json.loads(json.dumps(asdict(result))), "report": str(report) if report else None})
        return
    render.show(drill_screen.result(result))
    if report:
        print(f"report: {report}")


def _show_history(session: Session, label: str | None) -> None:
    from everup.cli import drill_screen, render
    from everup.cli.daemon import control

    with control(session) as client:
        name = session.name(client)
        kept = client.get(f"environments/{name}/drills")["drills"]
    kept = [one for one in kept if label in (None, one["service"])]
    if session.as_json:
        render.show_json({"drills": kept})
    elif not kept:
        print(f"{label or name} has had no drill; try: everup drill {label or 'LABEL'} --fault crash --yes")
    else:
        render.show(drill_screen.history(kept))
