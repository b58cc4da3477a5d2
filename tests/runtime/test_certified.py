"""What became of a new certificate is said in every environment, once."""

from types import SimpleNamespace
from typing import Any

from everup.core.tally import Certified
from everup.core.words import sentence
from everup.model.events import Event
from everup.runtime.inquiry import Inquiry


def test_a_renewed_and_a_refused_certificate_are_events_and_the_first_one_is_none() -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    journal = SimpleNamespace(say=lambda name, **fields: said.append((name, fields)))
    running = SimpleNamespace(controller=SimpleNamespace(journal=journal))
    environments: Any = SimpleNamespace(
        store=None, hearers=[], names=lambda: ["depot", "shop"], get=lambda name: running
    )
    desk = Inquiry(environments)
    first, later = Certified(1.8e9), Certified(1.9e9)
    for now in (first, first, Certified(1.8e9, "key values mismatch"), later, later):
        desk.certified(now)
    refused = ("certificate.refused", {"because": "key values mismatch"})
    renewed = ("certificate.renewed", {"expires_utc": "2030-03-17T17:46:40+00:00"})
    assert said == [refused, refused, renewed, renewed]
    assert desk.telemetry.certificate == later
    told = [sentence(Event(name, "shop", "", fields=fields)) for name, fields in (refused, renewed)]
    assert told[0].endswith("the new one cannot be used: key values mismatch") and "2030-03-17" in told[1]
