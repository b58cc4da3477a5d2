"""Three pretended hosts with a Docker Swarm: what clients see when a container, a host or all hosts are lost.

Clients run on a host that survives: of Redis HA by `REDIS_URL` and by its Sentinels, of PostgreSQL HA by
`DATABASE_URL`, of an app x3 by its endpoint. The lost host leads the Swarm and has both primaries. What Swarm itself
does is noted beside. Needs root and the packages of `tests/swarm`.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.table import Results, progress, publish
from tests.journal import longest_gap_s
from tests.swarm.host import until
from tests.swarm.image import TAG, everup_image
from tests.swarm.installed import PATIENCE_S, Installed
from tests.swarm.losses import SPEC, Beside, Clients, Reaction, alone_s, reopened_s
from tests.swarm.rig import Rig, missing

WARM_S = 3.0
"""How long clients run before the fault, so that all are at full speed."""

CUT_S = 30.0
"""How long a host is cut off."""

QUIET_S = 3.0
"""How long clients go on after all of them were served again, so that what comes late is seen."""


def container(ground: Installed, image_id: str, results: Results) -> None:
    """Kill the container of the Redis primary."""
    primary = ground.everup.primary("redis01")
    where = ground.host(primary["host"])
    with Beside(ground, image_id) as beside, Clients(ground, ground.other(where)) as clients:
        time.sleep(WARM_S)
        fault_s = ground.kill(primary)
        clients.wait(fault_s + 1, PATIENCE_S)
        reaction = beside.watch(where, None, beside.kill(where))
        time.sleep(QUIET_S)
        clients.stop()
        ground.whole()
        noted("container", clients, fault_s, results)
        swarm_did("container", reaction, results)


def host(ground: Installed, image_id: str, results: Results) -> None:
    """Lose the host that leads the Swarm and has both primaries; then bring it back."""
    lost = ground.rig.leader()
    for label in ("redis01", "db01"):
        ground.lead_from(lost, label)
    ground.whole()
    kept = ground.keeper() is lost
    survivor = ground.other(lost)
    ground.use(survivor)
    with (
        Beside(ground, image_id) as beside,
        Clients(ground, survivor) as clients,
        ThreadPoolExecutor() as another,
    ):
        time.sleep(WARM_S)
        fault_s = time.monotonic()
        lost.kill()
        answered = another.submit(reopened_s, ground, fault_s)
        reaction = beside.watch(survivor, lost, fault_s)
        clients.wait(fault_s + 1, PATIENCE_S)
        time.sleep(QUIET_S)
        clients.stop()
        noted("host", clients, fault_s, results)
        swarm_did("host", reaction, results)
        where = "on the lost host" if kept else "elsewhere"
        results.add(("host", "everup status", f"control plane {where}"), answered.result(), "s")
    returned_s = time.monotonic()
    lost.start()
    ground.whole()
    results.add(("host", "redundant", "after its return"), time.monotonic() - returned_s, "s")


def partition(ground: Installed, image_id: str, results: Results) -> None:
    """Cut that host off for a while, with clients on both sides."""
    cut = ground.rig.leader()
    for label in ("redis01", "db01"):
        ground.lead_from(cut, label)
    ground.whole()
    ground.use(ground.other(cut))
    with Clients(ground, ground.other(cut)) as outside, Clients(ground, cut, "inside") as inside:
        time.sleep(WARM_S)
        fault_s = time.monotonic()
        cut.cut()
        cut_s = time.monotonic()
        outside.wait(fault_s + 1, PATIENCE_S)
        time.sleep(max(0.0, fault_s + CUT_S - time.monotonic()))
        cut.heal()
        healed_s = time.monotonic()
        ground.whole()
        results.add(("partition", "redundant", "after the heal"), time.monotonic() - healed_s, "s")
        inside.wait(time.monotonic(), PATIENCE_S)
        outside.stop()
        inside.stop()
        noted("partition", outside, fault_s, results)
        for way, gone in inside.lost().items():
            key = ("partition", "inside", way, "last write taken")
            alone, both = alone_s(inside, outside, way, cut_s, healed_s)
            results.add(key, alone * 1000)
            results.count(key, lost=gone)
            results.worst(key, ms_with_writes_on_both_sides=round(both * 1000))
        inside.forget()


def power(ground: Installed, image_id: str, results: Results) -> None:
    """Switch all hosts off at once, and on again."""
    ground.use(ground.rig.hosts[0])
    with Clients(ground, ground.rig.hosts[0]) as clients:
        time.sleep(WARM_S)
        ground.rig.power_cut()
        clients.stop()
        on_s = time.monotonic()
        ground.rig.power_on()
        results.add(("power", "everup status", "answers"), reopened_s(ground, on_s), "s")
        ground.whole()
        results.add(("power", "everything", "as it was"), time.monotonic() - on_s, "s")
        results.count(("power", "everything", "as it was"), lost=sum(clients.lost().values()))
        clients.forget()


def swarm_did(fault: str, reaction: Reaction, results: Results) -> None:
    """Wait until Swarm itself is done with it, and note how long that took."""
    until(lambda: reaction.again_s, "Swarm has started a task again", PATIENCE_S)
    did = {"its API answers": reaction.api_s, "host is down": reaction.down_s, "task runs again": reaction.again_s}
    for what, seconds in did.items():
        if seconds is not None:
            results.add((fault, "Swarm", what), seconds, "s")


def noted(fault: str, clients: Clients, fault_s: float, results: Results) -> None:
    """Note what each client saw of one fault."""
    gone = clients.lost()
    for way, writes in clients.journals().items():
        key = (fault, way)
        results.add(key, longest_gap_s(writes, fault_s) * 1000)
        results.count(key, lost=gone[way], acknowledged=sum(not one.error for one in writes))
        progress(f"{fault} · {way}: {results.rows[key].values[-1]:.0f} ms, {gone[way]} lost")
    key = (fault, "app", "longest request")
    results.add(key, clients.longest_s() * 1000)
    failed = [len(clients.failed(from_s)) for from_s in (0.0, fault_s + 1)]
    results.count(key, requests=len(clients.web.requests()), failed=failed[0], failed_after_1_s=failed[1])
    clients.forget()


FAULTS: dict[str, Callable[[Installed, str, Results], None]] = {
    "container": container,
    "host": host,
    "partition": partition,
    "power": power,
}


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks hosts", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each fault (default 5)")
    parser.add_argument("--faults", nargs="+", choices=tuple(FAULTS), default=list(FAULTS))
    choice = parser.parse_args(argv)
    if lack := missing():
        progress(f"hosts: left out, {lack}")
        return
    results = Results()
    image = everup_image()
    try:
        with Rig(hosts=3, zones=("a", "b", "c")) as rig:
            image_id = rig.load(image, TAG)
            with Installed.on(rig, image_id, SPEC) as ground:
                for fault in choice.faults:
                    for run in range(choice.runs):
                        progress(f"{fault}: run {run + 1} of {choice.runs}")
                        FAULTS[fault](ground, image_id, results)
    finally:
        publish("hosts", list(results.rows.values()))
