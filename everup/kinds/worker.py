"""Workers: equal programs that listen nowhere, such as consumers of a queue. One is well while it runs."""

from typing import Any, Literal

from everup.kinds._process import ProcessService, instance, instance_id, read_running
from everup.kinds._rolling import leave_lost, replace_stale
from everup.model.contracts import Claim, Grant
from everup.model.desired import Blueprint, Probe, Protocol
from everup.model.spec import Service


class WorkerService(ProcessService):
    """`kind: worker` in the spec."""

    kind: Literal["worker"]


class Worker:
    """The kind `worker`."""

    name = "worker"
    prefix: str | None = None
    service: type[Service] = WorkerService
    connect: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - the protocol's attribute, never changed

    def claims(self, label: str, service: Any) -> tuple[Claim, ...]:
        """Nothing: a worker listens nowhere."""
        return ()

    def blueprint(self, service: Any, grant: Grant) -> Blueprint:
        """`scale` instances.

        Raises:
            ValueError: `run` names a variable that it is not given.
        """
        probe = Probe(Protocol.NONE, None, read_running)
        ids = [instance_id(grant.label, number) for number in range(1, service.scale + 1)]
        return Blueprint(
            label=grant.label,
            kind=self.name,
            ha=service.scale > 1,
            nodes=tuple(instance(service, grant, node_id, probe) for node_id in ids),
            needs=service.needs,
            environment=service.plain,
            rules=(leave_lost, replace_stale),
            scale=service.scale,
            limit=service.limit,
        )


KIND = Worker()
