"""The catalogue of events: every name, what it means, and the fields it carries. Events are the log."""

from collections.abc import Mapping
from dataclasses import dataclass, field

CATALOGUE: Mapping[str, str] = {
    "spec.applied": "A new spec took effect. fields: services",
    "control.started": "A control plane started. fields: pid, adopted (running nodes it found)",
    "certificate.renewed": "The API shows the certificate that is in its files now. fields: expires_utc",
    "certificate.refused": "The certificate's files changed and cannot be used; the former goes on. fields: because",
    "control.restored": "What the control plane knows was restored from a backup. fields: backup_utc, forgotten",
    "node.started": "A node's process was started. fields: because",
    "node.ready": "A node answered its probe for the first time since it started. fields: after_s",
    "node.exited": "A node's process ended without being asked. fields: exit_code, noticed_ms, stand_in,"
    " killed_at_bytes (killed for memory, at that limit; 0 where its host had none left)",
    "node.stopped": "A node was stopped on purpose. fields: because",
    "node.suspect": "A node that was ready gave no good answer. fields: because",
    "node.recovered": "A suspect node answers again. fields: after_s",
    "node.hung": "A running node was silent for too long. fields: silent_s",
    "node.fenced": "A hung node was killed, and the kernel confirmed it. fields: because",
    "node.failed": "A node could not be started. fields: because",
    "host.silent": "A host does not answer any more; what runs there is taken to run on. fields: host, because",
    "host.heard": "A host that was silent answers again. fields: host, after_s",
    "operation.started": "An operation began. fields: operation, because, subject",
    "operation.ended": "An operation ended. fields: operation, done, because, took_ms",
    "failover.voted": "A majority of Sentinels granted an epoch. fields: epoch, votes",
    "failover.released": "The claim of a dead primary was removed, so that a standby may lead. fields: primary",
    "failover.promoted": "A replica was made primary. fields: primary, offset",
    "failover.published": "The Sentinels were told of the new primary. fields: primary, epoch",
    "failover.pointed": "The endpoint leads to the new primary. fields: primary",
    "primary.changed": "Everup recorded another primary. fields: primary, generation, because",
    "lost.none": "A former primary held nothing that its successor lacks. fields: successor",
    "lost.kept": "What only a former primary held was kept. fields: successor, writes, bytes, exact, folder, because",
    "lost.unkept": "What only a former primary held, if anything, was not kept. fields: successor, because, writes",
    "service.healthy": "Every node of a service is ready. fields: after_s",
    "service.degraded": "A service works with less than it should have. fields: because",
    "service.down": "A service does not work. fields: because",
    "service.held": "Everup waits on purpose. fields: because",
    "scale.changed": "The number of instances changed. fields: before, after",
    "ha.changed": "High availability was switched on or off. fields: ha",
    "pause.measured": "How long writers waited for a change, measured. fields: pause_s, usual_s, predicted_s, writes",
    "limit.changed": "The limit changed. fields: before, after",
    "restart.requested": "Somebody asked for a rolling restart.",
    "password.renewed": "Clients get another password; the former one still works. fields: user, former",
    "password.ended": "A former password works no more. fields: user, sessions, cut",
    "revision.declared": "An app or a worker is to run another revision. fields: number, because",
    "revision.good": "Every instance runs a revision, and is ready. fields: number, took_s",
    "revision.failed": "A revision did not work; the former one comes back. fields: number, because, back_to",
    "drill.started": "A drill is about to break something on purpose. fields: fault, subject, run",
    "drill.ended": "A drill is over. fields: fault, verdict, because, runs_rto_s (of each run)",
    "notice.failed": "A notification was not delivered. fields: destination, title, because",
    "host.lost": "A host is held for down, and does not answer; what holds nothing is started elsewhere. fields: host",
    "node.rebuilt": "A member of a group has waited for a lost host long enough; another has it. fields: former, host",
    "node.kept": "What a rebuilt member had on its former host was set aside there. fields: host, volume",
    "host.returned": "A lost host is back. fields: host",
    "host.drained": "Somebody drained a host: primaries hand over, what holds nothing leaves. fields: host",
    "host.undrained": "A drained host may be used again. fields: host",
    "environment.stopped": "All nodes were stopped on request.",
    "environment.held": "Some of it cannot be deleted yet; that is tried again. fields: because, hint",
    "internal.error": "A broken assumption inside Everup; the loop went on. fields: error",
}


@dataclass(frozen=True)
class Event:
    """Something that happened, in UTC (ISO 8601). `seq` grows by one per stored event; 0 before it is stored."""

    name: str
    environment: str
    at_utc: str
    service: str | None = None
    node: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    seq: int = 0
