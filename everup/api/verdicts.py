"""Check and explain as JSON, purely. The fields are a contract: more may be added, none renamed or removed."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from everup.api.views import event
from everup.core.check import Check, ServiceCheck, check
from everup.core.explain import Explanation
from everup.core.plan import summary
from everup.model.actions import Action, Hold
from everup.model.findings import Finding, Level
from everup.model.picture import Picture

Json = dict[str, Any]


def verdict(picture: Picture) -> Json:
    """An environment as `everup check --json` prints it: `verdict` is yes or no to "can any one node be lost now?".

    With several hosts in use the question is about any one host, too. `because` and `next` hold what speaks against it,
    or, where nothing does, why the answer is yes; `findings` hold everything.
    """
    found = check(picture.blueprints, picture.observed, stopped=picture.stopped)
    return {
        "environment": picture.environment.environment,
        "engine": picture.environment.engine,
        "verdict": "yes" if found.passed else "no",
        "survives": _survives(found),
        "services": [_service(one) for one in found.services],
        "findings": [_finding(one) for one in found.findings],
        "hosts": [host for host in found.hosts if host],
    }


def _survives(found: Check) -> Json:
    return {
        "node": bool(found.services) and all(one.survives_node for one in found.services),
        "host": bool(found.services) and all(one.survives_host for one in found.services),
    }


def _service(one: ServiceCheck) -> Json:
    against = [finding for finding in one.findings if finding.level in (Level.NO, Level.WARNING)]
    shown = against or [finding for finding in one.findings if finding.level == Level.OK]
    return {
        "label": one.label,
        "survives": {"node": one.survives_node, "host": one.survives_host},
        "because": [finding.because for finding in shown],
        "next": _distinct(finding.next for finding in shown),
        "findings": [_finding(finding) for finding in one.findings],
    }


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


def _finding(one: Finding) -> Json:
    return {
        "level": one.level.value,
        "topic": one.topic.value,
        "node": one.node_id,
        "because": one.because,
        "next": one.next or None,
    }


def explanation(one: Explanation) -> Json:
    """A service as `everup explain LABEL --json` prints it.

    `election` supposes that the present primary died, if it lives; None for a service without a primary.
    """
    return {
        "label": one.label,
        "kind": one.kind,
        "health": one.health,
        "because": one.because,
        "now": [_action(action) for action in one.actions],
        "primary": one.primary,
        "primary_lives": one.primary_lives,
        "election": None
        if one.election is None
        else {
            "candidates": [
                {"node": each.node_id, "fit": each.fit, "because": each.because, "facts": dict(each.facts)}
                for each in one.election.candidates
            ],
            "votes": [
                {"node": each.node_id, "counts": each.counts, "because": each.because} for each in one.election.votes
            ],
            "majority": one.election.majority,
            "obstacle": one.election.obstacle or None,
        },
        "if_lost": [{**asdict(loss), "nodes": list(loss.nodes)} for loss in one.losses],
        "incident": {"outcome": one.outcome, "events": [event(each) for each in one.incident]}
        if one.incident
        else None,
    }


def _action(action: Action) -> Json:
    verb, subject = summary(action)
    because = getattr(action, "because", "")
    return {"action": verb, "node": subject, "because": because, "waits": isinstance(action, Hold)}
