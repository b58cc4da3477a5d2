"""Drills as the control plane sees them: it says what one would break, announces it, and keeps what came of it."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from everup.core.plan import view_of
from everup.core.rehearsal import OF_HOSTS, admit, permit, stage, stage_app
from everup.model.contracts import Hosted, Outage
from everup.model.desired import NodeId
from everup.model.drill import Drill, DrillFault, Scene, Wish
from everup.model.errors import Refused
from everup.runtime.environments import Running
from everup.runtime.inquiry import Inquiry


class Rehearsal(Inquiry):
    """The half of the desk that drills use. They are conducted elsewhere, since some of them end the control plane."""

    async def stage(self, environment: str, label: str, fault: DrillFault, wish: Wish, *, confirmed: bool) -> Scene:
        """What one run would break and how clients write; announced as an event.

        Raises:
            NotPermitted: the spec does not allow drills, and nobody confirmed this one.
            Refused: the service would not survive it, or the fault cannot be caused.
        """
        running = self._environments.get(environment)
        blueprint = self._environments.blueprint(running, label)
        permit(running.environment, confirmed=confirmed)
        if running.saved.stopped:
            raise Refused(f"{environment} is stopped", "Start it: everup up", code="refused.drill", label=label)
        view = view_of(blueprint, running.controller.observed())
        outages = await self._foresee(running, fault.value, [node.id for node in blueprint.nodes])
        wish = replace(wish, spared=frozenset(node_id for node_id, one in outages.items() if one.here))
        possible = {one.value for one in getattr(running.engine, "faults", ())}
        services = running.environment.services
        scene = stage(blueprint, view, services.get(label), fault, wish, possible)
        if outage := outages.get(scene.subject or ""):
            admit(outage, label, confirmed=confirmed)
            scene = replace(scene, host=outage.host)
        if wish.app:
            app = self._environments.blueprint(running, wish.app)
            its_view = view_of(app, running.controller.observed())
            scene = replace(scene, app=stage_app(app, its_view, services.get(wish.app), label, wish))
        journal = running.controller.journal
        journal.say("drill.started", label, fault=fault.value, subject=scene.subject, run=wish.turn + 1)
        return scene

    async def _foresee(self, running: Running, fault: str, node_ids: list[NodeId]) -> Mapping[NodeId, Outage]:
        """What each of these nodes' hosts would take with it, where the fault is one of hosts."""
        if fault not in {one.value for one in OF_HOSTS} or not isinstance(running.engine, Hosted):
            return {}
        return await running.engine.foresee(node_ids)

    async def keep_drill(self, environment: str, drill: Drill) -> None:
        """Keep the result of a drill, and say how it ended."""
        running = self._environments.get(environment)
        await self._environments.store.drills.keep(environment, drill.id, drill.service, asdict(drill))
        fields = {"verdict": drill.summary.verdict.value, "because": drill.summary.because}
        measured = [run.rto_s for run in drill.runs]
        journal = running.controller.journal
        journal.say("drill.ended", drill.service, fault=drill.fault.value, **fields, runs_rto_s=measured)

    def drills(self, environment: str) -> list[dict[str, Any]]:
        """Every drill that is kept, oldest first, each as it was reported."""
        self._environments.get(environment)
        return self._environments.store.drills.of(environment)
