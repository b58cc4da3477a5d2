"""Conducts a drill: load, fault, and what is seen until all is well again. Decides nothing: `core.drill` judges."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from everup.core.drill import FEWEST, assess, caution_of, doubt_of, is_over, summarize
from everup.core.reconnect import STREAK, again_at, summarize_app, with_app
from everup.drills.clients import CLIENTS
from everup.drills.load import APP_EVERY_S, READ_EVERY_S, Heart, Pace, Writers, client_of, ways_to
from everup.drills.writer import STRIDE
from everup.model.drill import Drill, Evidence, Happening, Run, Scene
from everup.model.errors import EverupError, Inconclusive, Refused

T = TypeVar("T")

LOOK_S = 0.05
CALM_S = 0.5
"""Redundancy counts as back when it stays for this long; the moment it came back is what counts."""

STEADY_S = 1.0
AFTER_S = 1.0
"""How long clients are watched before the fault, and after redundancy is back."""

WARM_UP_S = 90.0
TRIAL_S = 3.0
"""How long an instance of an app may refuse the first write: longer, and the request is not one that it takes."""

HOLD_S = 30.0
READ_BACK_S = 90.0


class Control(Protocol):
    """What a drill needs of the control plane, which may be away for a while."""

    def stage(self, turn: int) -> Scene:
        """Announce run number `turn` (from 0) and say what it will break; raises when that must not be."""
        ...

    def cause(self, scene: Scene) -> None:
        """Cause the fault; returns once it is caused. `EverupError`: it could not be."""
        ...

    def newest(self) -> int:
        """The number of the newest event."""
        ...

    def happenings(self, after: int) -> list[Happening]:
        """The events of the service, and of Everup itself, numbered above `after`."""
        ...

    def whole(self) -> bool:
        """Whether every node of the service is as declared and ready."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What was asked for: so many runs at that pace; `patience_s` is how long to wait until all is well again.

    `first` is the number of the first run, which chooses among equal instances.
    """

    runs: int
    pace: Pace
    patience_s: float
    first: int = 0


Tell = Callable[[str], None]
"""Takes a few words on what is going on."""


@dataclass(frozen=True)
class Load:
    """Who works during a run: the service's writers, one that reads what they wrote, and the app's own instances."""

    writers: Writers
    reader: Writers
    app: Writers

    def failed(self) -> str:
        """What one of them said that ended by itself; "" while all run."""
        return self.writers.failed() or self.reader.failed() or self.app.failed()


def conduct(control: Control, wanted: Wanted, tell: Tell) -> Iterator[tuple[Scene, Run]]:
    """Do one run after the other; ends early when the service, or the app that is watched, is not well after one.

    Raises:
        EverupError: the first run must not begin.
    """
    place = f"{datetime.now(UTC):%Y%m%d%H%M%S}_{os.getpid()}"
    for turn in range(wanted.first, wanted.first + wanted.runs):
        try:
            scene = control.stage(turn)
            _try_out(scene, f"{place}_{turn}")
        except EverupError:
            if turn == wanted.first:
                raise
            return
        with tempfile.TemporaryDirectory(prefix="everup-drill-") as folder:
            at_utc = datetime.now(UTC).isoformat(timespec="milliseconds")
            run = replace(_once(control, scene, wanted, f"{place}_{turn}", (Path(folder), tell)), at_utc=at_utc)
        yield scene, run
        if run.redundant_after_s is None:
            return


def _try_out(scene: Scene, place: str) -> None:
    """Have each instance of the app that is watched write once.

    Raises:
        Refused: one does not do it.
    """
    label, instances = (scene.app.label, scene.app.instances) if scene.app else ("", {})
    for number, (node, (program, settings)) in enumerate(zip(instances, ways_to(scene.app), strict=True)):
        client = CLIENTS[program](settings, place)
        try:
            patient(partial(client.write, number * STRIDE), client.failures, TRIAL_S)
        except Inconclusive as error:
            hint = f"Is that the request that makes it write? See drill:, or --app-request; and everup logs {label}"
            message = f"{node} does not take {settings['METHOD']} {settings['PATH']}: {error.__cause__}"
            raise Refused(message, hint, code="refused.app", node=node) from error
        finally:
            client.close()


def _once(control: Control, scene: Scene, wanted: Wanted, place: str, around: tuple[Path, Tell]) -> Run:
    folder, tell = around
    client = client_of(scene, place)
    patient(client.prepare, client.failures, WARM_UP_S)
    readable = patient(client.count, client.failures, WARM_UP_S) is not None
    ways = [(scene.client, scene.settings)] * wanted.pace.writers
    load = Load(
        Writers(ways, place, folder / "service", every_s=1 / wanted.pace.rate),
        Writers(ways[:1] if readable else [], place, folder / "reader", every_s=READ_EVERY_S, reads=True),
        Writers(ways_to(scene.app), place, folder / "app", every_s=APP_EVERY_S, after_error_s=APP_EVERY_S),
    )
    try:
        with Heart() as heart:
            seen = _watch(control, scene, load, wanted.patience_s, tell)
        tell("reading back what was acknowledged")
        seen = replace(seen, pulses=tuple(heart.pulses))
        try:
            survivors = patient(client.survivors, client.failures, READ_BACK_S)
        except Inconclusive as error:
            seen = replace(seen, unread=error.message)
        else:
            seen = replace(seen, survivors=survivors)
        return with_app(scene, seen, assess(scene, seen))
    finally:
        with suppress(Inconclusive):
            patient(client.clean_up, client.failures, READ_BACK_S)
        client.close()


def _watch(control: Control, scene: Scene, load: Load, patience_s: float, tell: Tell) -> Evidence:
    """Load, fault, and all that happens until the service is whole again and its clients have been watched a while."""
    writers, app = load.writers, load.app

    def is_steady(factor: int) -> bool:
        of_app = [sum(write.error is None for write in own) for own in app.of_each()]
        return writers.acknowledged() >= FEWEST * factor and min(of_app, default=STREAK) >= STREAK

    with writers, load.reader, app:
        tell("steady load")
        until(lambda: is_steady(2) or bool(load.failed()), WARM_UP_S)
        time.sleep(STEADY_S)
        after = control.newest()
        seen = Evidence((), None, fault_at_s=time.monotonic(), refused=load.failed())
        if not seen.refused and is_steady(1):
            tell(f"fault: {scene.fault.value}{f' of {scene.subject}' if scene.subject else ''}")
            seen = replace(seen, refused=_cause(control, scene))
        if not seen.refused:
            seen = _recovery(control, scene, load, (seen, after, patience_s), tell)
        writes = tuple(writers.stop())
        reads = tuple(load.reader.stop())
        app.stop()
    told = dict(zip(scene.app.instances if scene.app else (), app.of_each(), strict=True))
    happenings = tuple(control.happenings(after))
    busy = os.getloadavg()[0]
    return replace(seen, writes=writes, reads=reads, app_writes=told, happenings=happenings, load=busy)


def _cause(control: Control, scene: Scene) -> str:
    """Cause the fault; why it could not be, or ""."""
    try:
        control.cause(scene)
    except EverupError as error:
        return error.message
    return ""


def _recovery(
    control: Control,
    scene: Scene,
    load: Load,
    begun: tuple[Evidence, int, float],
    tell: Tell,
) -> Evidence:
    """Wait until the fault took hold, writing came back, and the service is whole; each in turn, none for ever."""
    seen, after, patience_s = begun
    writers, app = load.writers, load.app

    def took_hold() -> bool:
        return not doubt_of(scene, replace(seen, happenings=tuple(control.happenings(after))), 0.0)

    until(took_hold, HOLD_S)
    held_s = time.monotonic()
    tell("waiting for the next acknowledged write of every writer")
    is_back = until(lambda: writers.acknowledged_since(held_s), patience_s)
    back_at_s = time.monotonic()
    if not is_over(scene, control.happenings(after)):
        tell(f"waiting for {scene.host} to come back")
        until(lambda: is_over(scene, control.happenings(after)), scene.lost_for_s + patience_s)
    tell("waiting for redundancy")
    whole_at_s = _whole_since(control, patience_s)
    if scene.app and is_back:
        tell(f"waiting for {scene.app.label} to write again")
        left_s = back_at_s + scene.app.within_s + AFTER_S - time.monotonic()
        until(lambda: all(again_at(own, back_at_s) is not None for own in app.of_each()), left_s)
    tell("all is well again")
    until(lambda: False, AFTER_S)
    return replace(seen, whole_at_s=whole_at_s, back_at_s=back_at_s if is_back else None)


def _whole_since(control: Control, patience_s: float) -> float | None:
    """When the service became whole and stayed so (monotonic seconds); None when it did not in time."""
    give_up_s = time.monotonic() + patience_s
    since_s: float | None = None
    while time.monotonic() < give_up_s:
        now_s = time.monotonic()
        since_s = (since_s or now_s) if control.whole() else None
        if since_s and now_s - since_s >= CALM_S:
            return since_s
        time.sleep(LOOK_S)
    return None


def until(ask: Callable[[], bool], within_s: float) -> bool:
    """Ask again and again until the answer is yes; False when it was not within that time."""
    give_up_s = time.monotonic() + within_s
    while not ask():
        if time.monotonic() >= give_up_s:
            return False
        time.sleep(LOOK_S)
    return True


def patient(work: Callable[[], T], failures: tuple[type[Exception], ...], within_s: float) -> T:
    """Do something that may fail for a while.

    Raises:
        Inconclusive: it still fails after that time.
    """
    give_up_s = time.monotonic() + within_s
    while True:
        try:
            return work()
        except failures as error:
            if time.monotonic() >= give_up_s:
                raise Inconclusive(f"the service does not do what a drill needs: {error}") from error
            time.sleep(LOOK_S)


def conclude(scene: Scene, wanted: Wanted, runs: list[Run], origin: dict[str, object]) -> Drill:
    """Put the runs together, as they are kept and reported."""
    now = datetime.now(UTC)
    return Drill(
        id=f"{now:%Y%m%dT%H%M%SZ}-{scene.service}-{scene.fault.value}",
        at_utc=runs[0].at_utc if runs else now.isoformat(timespec="milliseconds"),
        service=scene.service,
        kind=scene.kind,
        fault=scene.fault,
        via=scene.via,
        writers=wanted.pace.writers,
        rate=wanted.pace.rate,
        runs=tuple(runs),
        summary=summarize(scene.targets, runs),
        origin=origin,
        app=summarize_app(scene.app, runs) if scene.app else None,
        caution=caution_of(scene),
    )
