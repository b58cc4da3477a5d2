"""Campaigns on the command line: one drill after the other over an environment, in an order that a seed decides."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from everup.cli import render
from everup.cli.client import Client, Json
from everup.cli.drill_control import ApiControl
from everup.cli.drill_screen import SIGNS, Screen, run_line
from everup.cli.session import Session
from everup.core.campaign import Standing, Step, Target, breaches, steps
from everup.core.rehearsal import OF_HOSTS
from everup.drills.lock import alone
from everup.drills.run import Wanted, conduct
from everup.model.drill import DrillFault, Run, Verdict
from everup.model.errors import Inconclusive, Refused

if TYPE_CHECKING:
    from everup.drills.load import Pace

WITHOUT_PRIMARY = frozenset(DrillFault) - OF_HOSTS - {DrillFault.SWITCHOVER, DrillFault.DISK_FULL}


def targets_in(body: Json) -> list[Target]:
    """The services of a status that take part: those that clients write to and that can lose a node."""
    found = []
    for service in body["services"]:
        parts = [node["part"] for node in service["nodes"]]
        if not service["clients"] or max(parts.count("data"), parts.count("instance")) < 2:
            continue
        faults = WITHOUT_PRIMARY | ({DrillFault.SWITCHOVER} if "data" in parts else set())
        found.append(Target(service["label"], tuple(service["clients"]), frozenset(faults)))
    return found


def standing_of(body: Json) -> Standing:
    """What invariants need to know of a status."""
    services = [one for one in body["services"] if any(node["part"] == "data" for node in one["nodes"])]
    nodes = [node for one in body["services"] for node in one["nodes"]]
    primaries = {one["label"]: [node["id"] for node in one["nodes"] if node["role"] == "primary"] for one in services}
    strays = [node["id"] for node in [*nodes, *body["leaving"]] if not node.get("declared", False)]
    pending = [f"{one['action']} {one['node']}, {one['because']}" for one in body["pending"]]
    unwell = [f"{one['label']} is {one['health']}: {one['because']}" for one in body["services"] if not _well(one)]
    lineages = {one["label"]: {node["lineage"] for node in one["nodes"] if node["lineage"]} for one in services}
    return Standing(primaries, strays, pending, unwell, lineages)


def _well(service: Json) -> bool:
    return bool(service["health"] == "healthy")


def campaign(session: Session, seed: int, minutes: float, wanted: "tuple[Pace, float]") -> Json:
    """Drill one service after the other for so long; returns what came of it, for people and programs.

    Raises:
        Refused: no service here could take part.
    """
    from everup.cli.daemon import control

    with control(session) as client:
        name = session.name(client)
        targets = targets_in(client.get(f"environments/{name}"))
    if not targets:
        hint = "Declare a service with ha: true, or an app with a scale of 2."
        raise Refused(f"no service of {name} could lose a node and go on", hint, code="refused.drill")
    told: list[dict[str, Any]] = []
    broken: list[str] = []
    end_s = time.monotonic() + minutes * 60
    with alone(session.home.path), Screen(f"campaign {seed}", 1, quiet=session.as_json) as screen:
        for number, step in enumerate(steps(seed, targets), 1):
            if time.monotonic() >= end_s or (broken and told[-1]["run"]["redundant_after_s"] is None):
                break
            for run, body in _one(session, name, step, Wanted(1, *wanted, first=number), screen):
                flaws = breaches(step, run, standing_of(body))
                told.append({**asdict(step), "run": asdict(run), "breaches": flaws})
                broken += [f"step {number}: {flaw}" for flaw in flaws]
                screen.print(run_line(f"{number} {step.label} {step.fault.value}", run), *flaws)
    doubtful = sum(one["run"]["verdict"] == Verdict.INCONCLUSIVE for one in told)
    verdict = Verdict.FAIL if broken else Verdict.PASS if len(told) > doubtful else Verdict.INCONCLUSIVE
    return {"seed": seed, "minutes": minutes, "verdict": verdict.value, "breaches": broken, "steps": told}


def _one(session: Session, name: str, step: Step, wanted: Wanted, screen: Screen) -> Iterator[tuple[Run, Json]]:
    """One drill, and the status once it is over; none when the service cannot be written to at all."""
    staging = {"fault": step.fault.value, "via": step.via, "confirmed": session.yes}
    api = ApiControl(session.home, name, step.label, staging)
    try:
        _settle(api.client, name, wanted.patience_s)
        for _, run in conduct(api, wanted, screen.tell):
            yield run, _settle(api.client, name, wanted.patience_s)
    except Inconclusive as error:
        screen.tell(error.message)
    finally:
        api.close()


def _settle(client: Client, name: str, patience_s: float) -> Json:
    """Wait until the whole environment is well, in vain at times; its status then."""
    give_up_s = time.monotonic() + patience_s
    while True:
        body = client.get(f"environments/{name}")
        if body["settled"] or time.monotonic() >= give_up_s:
            return body
        time.sleep(0.1)


def show(result: Json) -> None:
    """Tell people what came of a campaign."""
    from rich.text import Text

    sign, colour = SIGNS[Verdict(result["verdict"])]
    labels = sorted({one["label"] for one in result["steps"]})
    words = f"  campaign {result['seed']}: {len(result['steps'])} faults over {', '.join(labels)}"
    render.show(Text.assemble((f"{sign} {result['verdict']}", f"bold {colour}"), words))
    for breach in result["breaches"]:
        render.show(Text(f"  {breach}", "red"))
