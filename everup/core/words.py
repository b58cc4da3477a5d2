"""Events in a person's words: one sentence per event, and the newest incident as one line."""

import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from everup.model.events import Event
from everup.model.resources import killed_for_memory

SENTENCES: Mapping[str, str] = {
    "spec.applied": "a new spec took effect",
    "control.started": "a control plane started (pid {pid})[; it found {adopted} running nodes]",
    "control.restored": "what the control plane knows was restored from a backup of {backup_utc}",
    "node.started": "{node} was started[: {because}]",
    "node.ready": "{node} is ready[ after {after_s}]",
    "node.exited": "{node} {ending}[, noticed in {noticed_ms}]",
    "node.stopped": "{node} was stopped[: {because}]",
    "node.suspect": "{node} gives no good answer[: {because}]",
    "node.recovered": "{node} answers again[ after {after_s}]",
    "node.hung": "{node} has been silent for {silent_s}",
    "node.fenced": "{node} was ended by force[: {because}]",
    "node.failed": "{node} could not be started[: {because}]",
    "host.silent": "the host {host} does not answer; what runs there is taken to run on[: {because}]",
    "host.heard": "the host {host} answers again[ after {after_s}]",
    "operation.started": "{service}: {operation}[ of {subject}] began[: {because}]",
    "operation.ended": "{service}: {operation} {outcome}[ in {took_ms}][: {because}]",
    "failover.voted": "the Sentinels of {service} voted for a failover [ (epoch {epoch}, {votes} votes)]",
    "failover.released": "{primary} no longer claims to lead {service}",
    "failover.promoted": "{primary} was made primary",
    "failover.published": "the Sentinels of {service} know the new primary {primary}",
    "failover.pointed": "the endpoint of {service} leads to {primary}",
    "primary.changed": "{primary} is the primary of {service} (generation {generation})[: {because}]",
    "lost.none": "{node} held nothing that {successor} lacks",
    "lost.kept": "{node} held {writes} that {successor} lacks; they are kept[: {because}]",
    "lost.unkept": "what {node} held alone could not be kept[ ({writes})][: {because}]",
    "service.healthy": "{service} is healthy[ after {after_s}]",
    "service.degraded": "{service} is degraded[: {because}]",
    "service.down": "{service} is down[: {because}]",
    "service.held": "{service} waits[: {because}]",
    "scale.changed": "{service} runs {after} instances instead of {before}",
    "ha.changed": "{service} is to be {ha}",
    "pause.measured": "writers of {service} waited {pause_s} at most[ (predicted: {predicted_s}; usual: {usual_s})]",
    "limit.changed": "{service} may run {after} instances instead of {before}",
    "restart.requested": "somebody asked to restart {service}",
    "password.renewed": "clients of {service} log in as {user} from now on; {former} still can",
    "password.ended": "{user} can log in to {service} no more[; sessions that may have begun with it: {sessions}]",
    "revision.declared": "{service} is to run revision {number}[: {because}]",
    "revision.good": "{service} runs revision {number}[, rolled out in {took_s}]",
    "revision.failed": "revision {number} of {service} failed, revision {back_to} comes back[: {because}]",
    "drill.started": "a drill of {service}: {fault}[ of {subject}]",
    "drill.ended": "the drill of {service} is over ({fault}): {verdict}[, {because}]",
    "notice.failed": "{destination} was not told: {title}[: {because}]",
    "certificate.renewed": "the API shows a new certificate[, which expires at {expires_utc}]",
    "certificate.refused": "the API goes on with its former certificate: the new one cannot be used: {because}",
    "host.lost": "the host {host} is lost: what holds nothing there is started elsewhere",
    "node.rebuilt": "{node} is rebuilt on {host}: {former} was waited for long enough",
    "node.kept": "what {node} had on {host} before it was rebuilt is kept there, in the volume {volume}",
    "host.returned": "the host {host} is back",
    "host.drained": "the host {host} is drained: its primaries hand over, and what holds nothing leaves",
    "host.undrained": "the host {host} may be used again",
    "environment.stopped": "all nodes were stopped on request",
    "environment.held": "not all of it is deleted yet: {because}",
    "internal.error": "something broke inside Everup, and it went on: {error}",
}
"""Event name -> sentence.

A placeholder is a field of the event, its node or its service; what stands in brackets is left out when the event does
not carry it.
"""


class _Words(dict[str, str]):
    """Fields as text; what an event does not carry reads as a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


def sentence(event: Event) -> str:
    """The event in one sentence, with units; never raises, whatever the fields hold."""
    words = _words(event)

    def optional(part: re.Match[str]) -> str:
        return part[1] if all(name in words for name in re.findall(r"{(\w+)}", part[1])) else ""

    return re.sub(r"\[([^]]*)\]", optional, SENTENCES.get(event.name, event.name)).format_map(words)


def _words(event: Event) -> _Words:
    words = _Words(service=event.service or "?", node=event.node or "?")
    words.update({name: _measure(name, value) for name, value in event.fields.items() if value not in (None, "")})
    if event.name == "node.exited":
        words["ending"] = ending(event.fields.get("exit_code"), event.fields.get("killed_at_bytes"))
    if event.name == "operation.ended":
        words["outcome"] = "was done" if event.fields.get("done") else "was not done"
    return words


def ending(exit_code: object, killed_at_bytes: object = None) -> str:
    """How a process ended, from Popen's exit code: negative is a signal, None unknown; and at which limit of memory."""
    if isinstance(killed_at_bytes, int):
        if exit_code == -signal.SIGKILL:
            return killed_for_memory(killed_at_bytes)
        return f"{ending(exit_code)} ({killed_for_memory(killed_at_bytes, wholly=False)})"
    if not isinstance(exit_code, int):
        return "ended"
    if exit_code == -signal.SIGKILL:
        return "was killed"
    if exit_code < 0:
        return f"was ended by {_signal_name(-exit_code)}"
    return f"ended with exit code {exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _measure(name: str, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name == "writes":
            return f"{value:,} write{'s' if value != 1 else ''}"
        if name.endswith("_s"):
            return duration(float(value))
        if name.endswith("_ms"):
            return duration(float(value) / 1000)
    return str(value)


def duration(seconds: float) -> str:
    """A duration as people say it: `3 ms`, `1.2 s`, `4 min`."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size_of(count: int) -> str:
    """A number of bytes, with its unit."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def incident(events: Sequence[Event]) -> dict[str, Any] | None:
    """The newest failover or restart as one line: `{at, service, text}`; None when there was none."""
    cause = next((one for one in events if one.name in ("node.exited", "node.hung", "node.fenced")), None)
    if cause is None:
        return None
    later = [one for one in events[events.index(cause) :] if one.service == cause.service]
    parts = [_cause(cause, later), *_recovery(cause, later)]
    return {"at": cause.at_utc, "service": cause.service, "node": cause.node, "text": " · ".join(parts)}


def told(events: Sequence[Event]) -> str:
    """The same line for one whose time is known to the reader; how it stands where it is not over."""
    line = incident(events)
    return line["text"] if line else sentence(events[-1])


def _cause(cause: Event, later: Sequence[Event]) -> str:
    was_primary = " (primary)" if any(one.name == "primary.changed" for one in later) else ""
    node = f"{cause.node}{was_primary}"
    fields = _words(cause)
    if cause.name == "node.hung":
        return f"{node} was silent for {fields['silent_s']}"
    if cause.name == "node.fenced":
        return f"{node} was ended by force: {fields['because']}"
    noticed = f" · noticed in {fields['noticed_ms']}" if fields["noticed_ms"] != "?" else ""
    return f"{node} {fields['ending']}{noticed}"


def _lost(found: Event) -> str:
    """What a former primary had alone, as a part of the story."""
    writes = _words(found)["writes"]
    if found.name == "lost.none":
        return "no lost writes found"
    if found.name == "lost.kept":
        return f"{'' if found.fields.get('exact') else 'about '}{writes} lost, and kept"
    return "what it had alone is gone" if writes == "?" else f"{writes} lost, and not kept"


def _recovery(cause: Event, later: Sequence[Event]) -> list[str]:
    parts = []
    if changed := next((one for one in later if one.name == "primary.changed"), None):
        promoted = _words(changed)["primary"]
        spent = next((one for one in later if one.name == "operation.ended" and one.fields.get("done")), None)
        took = f" in {_words(spent)['took_ms']}" if spent else ""
        parts.append(f"{promoted} took over{took.removesuffix(' in ?')}")
    elif ready := next((one for one in later if one.name == "node.ready" and one.node == cause.node), None):
        parts.append(f"back after {_words(ready)['after_s']}")
    parts += [_lost(one) for one in later if one.name.startswith("lost.")]
    if healthy := next((one for one in reversed(later) if one.name == "service.healthy"), None):
        parts.append(f"redundant again after {_words(healthy)['after_s']}")
    return [part for part in parts if not part.endswith(" ?")]
