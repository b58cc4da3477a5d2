"""The first process in a node's container: sees whether it may run, writes its files, and becomes its program.

`python -m everup.engines.swarm.start ORDER`, where ORDER is the file that `services.order` describes. It ends with 86
when its ticket was taken before: Swarm starts containers as it sees fit, Everup lets each start happen once; or when
its host has heard of a newer control plane than the one that ordered it. It ends with 78 when the node cannot be
started; why is in the volume, for the agent to tell.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from everup.engines.local import launch, privilege
from everup.engines.local.gate import Launch
from everup.engines.local.home import Home
from everup.engines.local.programs import Programs
from everup.engines.swarm.volume import AGENT_FOLDER, FAILED, HOMES, REFUSED, Record, Volume, heard
from everup.model.desired import Node, Part, Probe, Protocol, Stop, Tcp
from everup.model.errors import EngineError, EverupError, NodeFailed
from everup.model.observed import Reading

TASK = "EVERUP_TASK"
"""The variable in which Swarm says whose task this container is."""

PREDECESSOR_S = 10.0
"""How long a predecessor, killed already, may still hold the volume."""


def main(arguments: list[str]) -> int:
    """Start what the order says; returns only when that is not to be, with the exit code."""
    order: dict[str, Any] = json.loads(Path(arguments[0]).read_text())
    node, ticket = read_node(order), int(order["ticket"])
    volume = Volume(Path(HOMES, node.id))
    if is_late(order, Path(AGENT_FOLDER)):
        print(f"{node.id}: start {ticket} was ordered by a control plane that was replaced since", file=sys.stderr)
        return REFUSED
    try:
        if not volume.take(ticket, again=bool(order.get("copy"))):
            print(f"{node.id}: start {ticket} was superseded or fenced; this container ends", file=sys.stderr)
            return REFUSED
    except (OSError, EngineError) as error:
        print(f"{node.id}: its ticket cannot be taken: {error}", file=sys.stderr)
        return REFUSED
    try:
        become(node, order, volume)
    except (OSError, EverupError) as error:
        failure = error if isinstance(error, EverupError) else _failed(node, error)
        print(f"{failure.message} {failure.hint}".strip(), file=sys.stderr)
        record = _record(node, order, volume.record())
        with suppress(OSError):  # a full disk: its last words are in its output
            volume.save(replace(record, failure=failure.message, hint=failure.hint, code=failure.code))
        return FAILED


def become(node: Node, order: Mapping[str, Any], volume: Volume) -> NoReturn:
    """Furnish the node's home, note the start, and go on as its program.

    Raises:
        NodeFailed: something of it is missing, or somebody else listens on its ports.
        OSError: the disk is full, the program is none, or the like.
    """
    if volume.hold(PREDECESSOR_S) is None:
        raise NodeFailed(
            f"{node.id}: something of its last start still runs, {PREDECESSOR_S:g} s after its end",
            "Look for processes that are stuck in the kernel on its host.",
            code="engine.not_fenced",
            node=node.id,
        )
    programs, home = Programs({}, os.environ), Home(volume.path, node.id)
    paths = launch.paths(node, home, programs)
    home.furnish(node, launch.completing(paths))
    words = _words(node, home, programs, order)
    launch.check_ports(node)
    before = volume.record()
    volume.save(replace(_record(node, order, before), starts=before.starts + 1 if before else 1, paths=paths))
    os.chdir(words.cwd)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and its successor would too
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if node.reload_signal:  # until its program listens for it, it must not be ended by it
        signal.signal(signal.Signals[node.reload_signal], signal.SIG_IGN)
    os.execve(words.words[0], list(words.words), dict(words.env))


def is_late(order: Mapping[str, Any], folder: Path) -> bool:
    """The agent of this host, whose notes are in `folder`, has heard a newer control plane than the one that ordered.

    What Swarm itself starts again and again, such as copies of an endpoint, outlives whoever ordered it.
    """
    return not order.get("copy") and int(order.get("keeping", 0)) < heard(folder)


def read_node(order: Mapping[str, Any]) -> Node:
    """The node that an order describes: all of it that matters to its start.

    Raises:
        KeyError, TypeError, ValueError: it is no order.
    """
    fields = dict(order["node"])
    fields["ports"] = {name: Tcp(host, port) for name, (host, port) in fields["ports"].items()}
    fields["stop"] = Stop(**fields["stop"])
    fields["part"] = Part(fields["part"])
    for name in ("args", "keeps", "uses"):
        fields[name] = tuple(fields[name])
    silent = Probe(Protocol.NONE, None, lambda replies: Reading(ready=True))
    return Node(**fields, probe=silent, secrets={name: name for name in order["secrets"]})


def _words(node: Node, home: Home, programs: Programs, order: Mapping[str, Any]) -> Launch:
    extra, reveal = tuple(order["extra_args"]), order["secrets"].__getitem__
    plain = replace(node, unprivileged=False)
    words = launch.prepare(plain, home, programs, node.id, extra, reveal)
    words = replace(words, env={name: text for name, text in words.env.items() if name != TASK})
    if node.unprivileged:
        stepping = launch.step_down(node, home, lambda: privilege.dedicated(alone=True))
        words = replace(words, words=[*stepping, *words.words])
    return words


def _record(node: Node, order: Mapping[str, Any], before: Record | None) -> Record:
    return Record(
        ticket=int(order["ticket"]),
        task=os.environ.get(TASK, ""),
        service=node.service,
        digest=order["digest"],
        files_digest=order["files_digest"],
        started_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        starts=before.starts if before else 0,
        keeps=node.keeps,
        stop_signal=node.stop.signal,
        stop_grace_s=node.stop.grace_s,
        stop_repeat_s=node.stop.repeat_s,
    )


def _failed(node: Node, error: OSError) -> NodeFailed:
    because = f"{error.strerror}: {error.filename}" if error.filename else str(error)
    return NodeFailed(f"{node.id} could not be started: {because}", node=node.id)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
