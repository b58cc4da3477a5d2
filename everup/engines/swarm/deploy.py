"""Making Swarm run one start of a node, and waiting until it does."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from everup.engines.swarm import bootstrap, images, services
from everup.engines.swarm.complaints import Conflict, Missing
from everup.engines.swarm.docker import Docker, Edit, Thing
from everup.engines.swarm.keeping import deposed
from everup.engines.swarm.services import Deployed, Start
from everup.engines.swarm.track import Track
from everup.model.errors import EngineError, NodeFailed, Unavailable

START_S, START_MORE_S = 60.0, 10.0
"""How long Swarm may take to have a container run, and each further copy; longer while an image is being fetched."""

STILL_S = 30.0
"""How long the Swarm may take to see that nothing runs any more of a service that it is to run nothing of."""

LONGEST_ORDER = 500_000
"""Bytes that Swarm keeps in one secret."""

_LOOK_EVERY_S, _SLOWEST_S = 0.03, 0.3
_TASKS_EVERY_S = 1.0


async def deploy(docker: Docker, start: Start, before: Deployed | None) -> Deployed:
    """Have Swarm run this start, in place of any earlier one; returns once it knows, not once it runs.

    Args:
        docker: a manager.
        start: what to run, without the id of its secret.
        before: the node's service, where it has one.

    Raises:
        NodeFailed: what it is started with is too long for a secret.
        Unavailable: a newer control plane has changed that service (code `engine.deposed`).
        EngineError: Docker refuses.
    """
    if not start.node.image:
        start = replace(start, secret_id=await _keep(docker, start))
    wanted = services.spec(start)
    if before and before.everywhere != services.is_everywhere(start.node):  # Swarm changes no mode
        await undeploy(docker, before.id, start.keeping)
        before = None
    try:
        found = await _put(docker, before.id, start, wanted) if before else await _create(docker, start, wanted)
    except Missing:
        found = await _create(docker, start, wanted)
    deployed = services.read(found)
    assert deployed is not None
    return deployed


async def _keep(docker: Docker, start: Start) -> str:
    """The id of the secret that holds the order for this start."""
    node, environment = start.node, start.environment
    text = json.dumps(services.order(start)).encode()
    if len(text) > LONGEST_ORDER:
        raise NodeFailed(
            f"{node.id}: what it is started with has {len(text)} bytes, and Swarm keeps {LONGEST_ORDER} at most",
            "Shorten what the service declares.",
            node=node.id,
        )
    name = services.order_name(environment, node.id, start.ticket)
    return await docker.secrets.create(name, text, services.whose(environment, node.id))


async def change(docker: Docker, service_id: str, keeping: int, edit: Edit) -> Thing:
    """Change a node's service, as `Services.change` does, unless a newer control plane has done so.

    Docker compares versions, so what that one changes in between is seen as well.

    Raises:
        Unavailable: a newer one has (code `engine.deposed`).
        EngineError: there is no such service, or Docker refuses.
    """

    def checked(spec: Thing) -> Thing:
        mine = services.claimed(spec, keeping)
        if mine is None:
            raise deposed(f"a newer control plane has changed the service {spec.get('Name', service_id)}")
        return edit(mine)

    return await docker.services.change(service_id, checked)


async def undeploy(docker: Docker, service_id: str, keeping: int) -> None:
    """Remove a node's service, unless a newer control plane has changed it; one that is gone already is no error.

    Docker compares no version when it removes: the service is claimed first, and what is left is the time of one call.

    Raises:
        Unavailable: a newer one has changed it (code `engine.deposed`).
        EngineError: Docker refuses.
    """
    with suppress(Missing):
        await change(docker, service_id, keeping, lambda spec: spec)
        await docker.services.remove(service_id)


async def _put(docker: Docker, service_id: str, start: Start, wanted: Thing) -> Thing:
    return {"ID": service_id, "Spec": await change(docker, service_id, start.keeping, lambda spec: wanted)}


async def _create(docker: Docker, start: Start, wanted: Thing) -> Thing:
    try:
        return {"ID": await docker.services.create(wanted), "Spec": wanted}
    except Conflict:
        found = await docker.services.inspect(start.name)
        if found is None:
            raise
        return await _put(docker, str(found["ID"]), start, wanted)


async def discard_orders(docker: Docker, secrets: Collection[str]) -> None:
    """Delete orders that no service uses any more; what cannot be deleted now is found by `sweep_orders`."""
    for secret_id in secrets:
        with suppress(EngineError):
            await docker.secrets.remove(secret_id)


async def sweep_orders(docker: Docker, environment: str, deployed: Collection[Deployed]) -> None:
    """Delete the orders that a control plane left behind which died between two steps."""
    used = {secret_id for one in deployed for secret_id in one.secrets}
    found = await docker.secrets.list(services.filters(environment))
    await discard_orders(docker, [str(one["ID"]) for one in found if one["ID"] not in used])


async def stand_down(docker: Docker, one: Deployed, keeping: int) -> Deployed:
    """Have Swarm run nothing of a pinned service, and wait until its host has told it that nothing is under way.

    Raises:
        EngineError: the Swarm does not take it, or not in time.
    """
    await change(docker, one.id, keeping, services.at_rest)
    end_s = time.monotonic() + STILL_S
    while any(map(services.under_way, await docker.cluster.tasks({"service": [one.id]}))):
        if time.monotonic() > end_s:
            raise Unavailable(
                f"{one.node_id}: the Swarm still has something of it under way after {STILL_S:.0f} s",
                f"See docker service ps {services.name_of(one.environment, one.node_id)}",
                node=one.node_id,
            )
        await asyncio.sleep(_SLOWEST_S)
    return replace(one, wanted=False)


async def await_start(
    docker: Docker, start: Start, track: Track, look: Callable[[], Awaitable[None]], hosts: Mapping[str, str]
) -> None:
    """Wait until the start is seen, on each of `hosts` (id -> name).

    Raises:
        NodeFailed: it failed, was fenced, or Swarm could not run it; says why.
        EngineError: no host answers any more.
    """
    began_s, pause_s, asked_s = time.monotonic(), _LOOK_EVERY_S, time.monotonic()
    while True:
        await look()
        if _all_started(start, track, hosts):
            return
        now_s = time.monotonic()
        if now_s - asked_s > _TASKS_EVERY_S:
            asked_s = now_s
            reasons = await bootstrap.troubles(docker, start.name, start.ticket)
            refused = {host_id: reason for host_id, (state, reason) in reasons.items() if state == "rejected"}
            fetching = any(state == "preparing" for state, _ in reasons.values())
            patience_s = images.FETCH_S if fetching else START_S + START_MORE_S * len(hosts)
            if lacks := [hosts.get(host_id, "its host") for host_id, why in refused.items() if images.ABSENT in why]:
                raise images.absent(start.node, " and ".join(lacks))
            if refused or now_s - began_s > patience_s:
                raise _unstarted(start, refused.values() or [reason for _, reason in reasons.values()])
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.2, _SLOWEST_S)


def _all_started(start: Start, track: Track, hosts: Collection[str]) -> bool:
    """It is seen everywhere; raises what an agent says of why it is not."""
    if track.asked >= start.ticket:
        raise NodeFailed(f"{track.id} was fenced while it was being started", code="engine.fenced", node=track.id)
    for host_id in hosts:
        seen = track.seen.get(host_id)
        if seen is None:
            return False
        sight = seen.sight
        if sight.start == start.ticket and sight.failure:
            raise NodeFailed(sight.failure, sight.hint, code=sight.code, node=track.id)
        if sight.start < start.ticket:
            return False
    return True


def _unstarted(start: Start, reasons: Iterable[str]) -> NodeFailed:
    node_id = start.node.id
    said = "; ".join(sorted(set(reasons))) or "it says nothing of it"
    return NodeFailed(
        f"{node_id}: Swarm has not started it: {said}",
        f"See docker service ps --no-trunc {start.name}",
        code="engine.not_started",
        node=node_id,
    )
