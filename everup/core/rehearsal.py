"""May a drill begin, and what would it break? From a snapshot of one service, purely."""

from collections.abc import Collection, Mapping

from everup.core.health import primary_of, service_health
from everup.model.contracts import Outage
from everup.model.desired import Blueprint, NodeId, Part
from everup.model.drill import AppScene, DrillFault, Scene, Targets, Wish
from everup.model.errors import NotFound, NotPermitted, Refused
from everup.model.observed import View
from everup.model.spec import Environment, Service, WriteRequest

LOST_S = 5.0
"""How long a node that a drill takes away stays away, where nothing else was asked for."""

CUT_S = 30.0
"""How long a host that a drill cuts off stays away, where nothing else was asked for."""

LONGEST_S = 600.0
"""How long a drill may keep anything away."""

OF_HOSTS = frozenset({DrillFault.PARTITION, DrillFault.HOST_LOSS})
"""Faults of a whole host: the one of the node that is drilled."""

LASTING = OF_HOSTS | {DrillFault.NODE_LOSS}
"""Faults that last as long as was asked for."""

OF_NO_NODE = frozenset({DrillFault.CONTROL_PLANE})
"""Faults of Everup itself, which every service must survive, redundant or not."""

IMPOSSIBLE: Mapping[DrillFault, str] = {
    DrillFault.PARTITION: "its nodes are processes of one machine, and what they send over loopback has the same "
    "sender for all, so that not even root's packet filter could cut off one alone",
    DrillFault.HOST_LOSS: "its nodes are processes of one machine, and would be lost with Everup and these clients",
    DrillFault.DISK_FULL: "its nodes share one disk with all else on this machine, which would fill up with them",
}
"""Why an engine that runs all on one machine cannot cause a fault."""

ELSE = "the engine cannot cause it"

ADVICE: Mapping[DrillFault, str] = {
    DrillFault.PARTITION: "A hung node is the nearest fault that can be caused here: --fault hang",
    DrillFault.HOST_LOSS: "A lost node is the nearest fault that can be caused here: --fault node-loss",
    DrillFault.DISK_FULL: "everup status says when a disk runs full.",
}


def stage(
    blueprint: Blueprint,
    view: View,
    service: Service | None,
    fault: DrillFault,
    wish: Wish,
    possible: Collection[str],
) -> Scene:
    """The scene of one run.

    Args:
        service: as declared, for its targets; None for a service of Everup's own.
        wish: the path that clients take, and the number of the run, which chooses among equal instances.
        possible: the faults of nodes that the engine can cause.

    Raises:
        Refused: the service would not survive, cannot be written to, or the engine cannot cause the fault.
        NotFound: there is no such path.
    """
    via = _path(blueprint, wish.via)
    if fault not in OF_NO_NODE | {DrillFault.SWITCHOVER} and fault.value not in possible:
        one_machine = not any(status.state.host for status in view.nodes.values())
        because = IMPOSSIBLE.get(fault, ELSE) if one_machine else ELSE
        raise Refused(f"{fault.value} cannot be caused here: {because}", ADVICE.get(fault, ""), code="refused.fault")
    lost_for_s = _duration(fault, wish.for_s)
    _refuse_unwell(blueprint, view, "it might not survive another fault")
    client = blueprint.clients[via]
    subject = _subject(blueprint, view, fault, wish)
    alone = fault == DrillFault.PARTITION and subject in {node.id for node in blueprint.of(Part.DATA)}
    return Scene(
        service=blueprint.label,
        kind=blueprint.kind,
        fault=fault,
        subject=subject,
        via=via,
        client=client.program,
        settings={**blueprint.bindings, **client.settings},
        targets=targets_of(service),
        lost_for_s=lost_for_s,
        alone_s=min(blueprint.alone_s, lost_for_s) if alone else None,
    )


def admit(outage: Outage, label: str, *, confirmed: bool) -> None:
    """Let the host of a node of `label` be cut off, or lost, if the others can do without it, and the drill itself too.

    Raises:
        Refused: they cannot; or other environments would lose it too, and nobody confirmed that.
    """
    host = outage.host

    def refused(because: str, hint: str) -> Refused:
        return Refused(f"{host} is not cut off: {because}", hint, code="refused.outage", label=label, host=host)

    if outage.here:
        hint = (
            f"Where {label} has a primary, let another host lead first: everup switchover {label}; or run the control"
            " plane on another host."
        )
        raise refused("the control plane works from there, and with it the clients that measure", hint)
    if outage.unwell:
        hint = "See docker node ls, and wait until every other host is ready."
        raise refused(f"the others may not do without it: {'; '.join(outage.unwell)}", hint)
    if 2 * outage.left <= outage.voters:
        hint = "Make more hosts managers: docker node promote HOST. Three can do without one."
        raise refused(f"{outage.left} of {outage.voters} managers of the cluster would be left, no majority", hint)
    if outage.beside and not confirmed:
        hint = "Confirm that with --yes."
        raise refused(f"{', '.join(outage.beside)} would lose what runs there too", hint)


def stage_app(blueprint: Blueprint, view: View, service: Service | None, drilled: str, wish: Wish) -> AppScene:
    """The app whose own writes are watched while `drilled`, which it needs, is broken.

    Args:
        service: the app as declared, for the request that makes it write; `wish.request` overrides that.

    Raises:
        Refused: it is no app, does not need `drilled`, says of no request that it writes, or is not well.
    """
    label = blueprint.label
    instances = {
        node.id: f"http://{node.ports['http']}" for node in blueprint.of(Part.INSTANCE) if "http" in node.ports
    }
    if drilled not in blueprint.needs:
        needed = f"{label} needs {', '.join(blueprint.needs) or 'no service'}. Drill one that it writes to."
        raise Refused(f"{label} does not need {drilled}, so it cannot write there", needed, code="refused.app")
    if blueprint.of(Part.INSTANCE) and not instances:
        raise Refused(
            f"{label} is of kind {blueprint.kind}, which takes no requests", "Name one of kind app.", code="refused.app"
        )
    if not instances:
        raise Refused(f"{label} runs no instance", f"Start one: everup scale {label} 1", code="refused.app")
    _refuse_unwell(blueprint, view, "nothing could be learnt from its writes")
    declared: WriteRequest | None = getattr(service, "drill", None)
    request = wish.request or declared
    if request is None:
        hint = (
            f"Say what makes it write: drill: {{method: POST, path: /...}} under {label} in everup.yaml and everup up,"
            " or --app-request 'POST /...' for this drill alone"
        )
        raise Refused(f"{label} does not say how it can be made to write", hint, code="refused.app", label=label)
    usual = next(iter(blueprint.clients.values())).settings
    return AppScene(
        label=label,
        instances=instances,
        settings={
            **usual,
            "METHOD": request.method.value,
            "PATH": request.path,
            "BODY": request.body,
            "BELOW": "400",
        },
        within_s=(declared or request).within,
    )


def _refuse_unwell(blueprint: Blueprint, view: View, why: str) -> None:
    health, because = service_health(blueprint, view)
    if health != "healthy":
        raise Refused(
            f"{blueprint.label} is {health}, so {why}: {because}",
            f"Wait until it is healthy: everup status {blueprint.label} --watch",
            code="refused.drill",
            label=blueprint.label,
        )


def permit(environment: Environment, *, confirmed: bool) -> None:
    """Let a drill begin where the spec allows drills, or somebody confirmed this one.

    Raises:
        NotPermitted: neither; says how.
    """
    if environment.drills != "allowed" and not confirmed:
        raise NotPermitted(
            f"a drill breaks {environment.environment} on purpose, and its spec does not allow that",
            "Write drills: allowed in everup.yaml and run everup up, or confirm this one with --yes",
            code="drill.not_allowed",
            environment=environment.environment,
        )


def targets_of(service: Service | None) -> Targets:
    """What the spec promises: `rto` in seconds, and no write lost where `rpo` is 0."""
    rto_s: float | None = getattr(service, "rto", None)
    rpo: object = getattr(service, "rpo", None)
    return Targets(rto_s, 0 if rpo == 0 else None)


def _path(blueprint: Blueprint, via: str) -> str:
    label, ways = blueprint.label, list(blueprint.clients)
    if not ways:
        hint = "Drill a service that clients connect to."
        raise Refused(f"{label} is of kind {blueprint.kind}, which no client writes to", hint, code="refused.kind")
    if via and via not in ways:
        raise NotFound(f"{label} cannot be reached by {via}", f"Possible: {', '.join(ways)}.", label=label)
    return via or ways[0]


def _duration(fault: DrillFault, asked_s: float | None) -> float:
    """How long something stays away, in seconds.

    Raises:
        Refused: the fault has no duration, or that would be too long.
    """
    if asked_s is None:
        return CUT_S if fault in OF_HOSTS else LOST_S
    if fault not in LASTING:
        hint = f"It goes with {', '.join(sorted(LASTING))}."
        raise Refused(f"{fault.value} does not last for a time that can be chosen", hint, code="refused.fault")
    if not 0 < asked_s <= LONGEST_S:
        raise Refused(f"{fault.value} for {asked_s:g} s", f"At most {LONGEST_S:g} s.", code="refused.fault")
    return asked_s


def _subject(blueprint: Blueprint, view: View, fault: DrillFault, wish: Wish) -> NodeId | None:
    """The node that will be broken: the primary, or the next instance that is not spared, where there is one.

    Raises:
        Refused: there is nobody who could take over from it.
    """
    if fault in OF_NO_NODE:
        return None
    label, members, instances = blueprint.label, blueprint.of(Part.DATA), blueprint.of(Part.INSTANCE)
    if fault == DrillFault.SWITCHOVER and "switchover" not in blueprint.operations:
        raise Refused(f"{label} has no primary to hand over", "Try --fault crash", code="refused.drill", label=label)
    if len(members or instances) < 2:
        hint = f"Declare {label} with ha: true" if members else f"Run more of it: everup scale {label} 2"
        raise Refused(
            f"{label} is a single node: it would not survive {fault.value}", hint, code="refused.drill", label=label
        )
    if members:
        return primary_of(blueprint, view)
    chosen = [node.id for node in instances if node.id not in wish.spared] or [node.id for node in instances]
    return chosen[wish.turn % len(chosen)]
