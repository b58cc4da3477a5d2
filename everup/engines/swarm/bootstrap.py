"""What a Swarm needs before it can run nodes: agents, and the pair that they and Everup know each other by."""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from everup.engines.swarm.complaints import Conflict
from everup.engines.swarm.docker import Docker, Thing
from everup.engines.swarm.pair import AGENT, CERT, KEY, Pair
from everup.engines.swarm.placement import HostView
from everup.engines.swarm.services import TICKET
from everup.engines.swarm.volume import AGENT_FOLDER, AGENT_VOLUME
from everup.model.errors import Unavailable

SETTLE_S = 60.0
"""How long all agents may take to answer after they were started."""

_SPEC, _PAIR = "everup.agent-spec", "everup.agent-pair"
_LOOK_EVERY_S = 0.2
_SECOND_NS = 1_000_000_000


async def bring_up(docker: Docker, image: str, pair: Pair) -> bool:
    """Make the agents' service as it must be; say whether that changed anything. A second call changes nothing.

    Args:
        docker: a manager of the Swarm.
        image: Everup's own, by ID or digest; every host must have it or be able to get it.
        pair: what the agents and this control plane know each other by.

    Raises:
        Unavailable: the agents there know another control plane (code `engine.other_keeper`).
        EngineError: Docker refuses.
    """
    found = await docker.services.inspect(AGENT)
    if found and pair_of(found) != pair.mark:
        raise Unavailable(
            "this Swarm is looked after by another control plane: its agents know another key",
            f"Work with that one. Where it is lost for ever: docker service rm {AGENT}",
            code="engine.other_keeper",
        )
    secrets = {
        KEY: await _kept(docker, f"{KEY}.{pair.mark}", pair.key.read_bytes()),
        CERT: await _kept(docker, f"{CERT}.{pair.mark}", pair.cert.read_bytes()),
    }
    root = str((await docker.itself())["DockerRootDir"])
    wanted = agent_spec(image, pair.mark, secrets, root)
    if found is None:
        try:
            await docker.services.create(wanted)
        except Conflict:  # somebody was quicker: see who
            return await bring_up(docker, image, pair)
        return True
    if (found["Spec"].get("Labels") or {}).get(_SPEC) == wanted["Labels"][_SPEC]:
        return False
    await docker.services.change(AGENT, lambda spec: wanted)
    return True


def pair_of(agents: Mapping[str, Any]) -> str | None:
    """The mark of the pair that the agents know, by their service."""
    labels: Mapping[str, str] = agents["Spec"].get("Labels") or {}
    return labels.get(_PAIR)


async def _kept(docker: Docker, name: str, content: bytes) -> str:
    """The id of the secret of that name, made where it is missing."""
    found = await docker.secrets.inspect(name)
    if found is None:
        return await docker.secrets.create(name, content, {})
    return str(found["ID"])


def agent_spec(image: str, mark: str, secrets: Mapping[str, str], root: str) -> Thing:
    """The agents' service, as Docker's API wants it. Pure.

    Args:
        image: Everup's own.
        mark: of the pair.
        secrets: name of the file -> id of the secret.
        root: where the hosts' Docker keeps its things (`DockerRootDir`).
    """
    sockets = {"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/var/run/docker.sock"}
    volumes = {"Type": "bind", "Source": f"{root}/volumes", "Target": f"{root}/volumes"}
    processes = {"Type": "bind", "Source": "/proc", "Target": "/host/proc", "ReadOnly": True}
    notes = {"Type": "volume", "Source": AGENT_VOLUME, "Target": AGENT_FOLDER}
    container = {
        "Image": image,
        "Command": ["python3", "-m", "everup.engines.swarm.agent"],
        "User": "0:0",
        "Init": True,
        "CapabilityAdd": ["CAP_NET_ADMIN"],  # for drills that cut a host off
        "Mounts": [sockets, volumes, processes, notes],
        "Secrets": [
            {
                "SecretID": secret_id,
                "SecretName": f"{name}.{mark}",
                "File": {"Name": name, "UID": "0", "GID": "0", "Mode": 0o400},
            }
            for name, secret_id in secrets.items()
        ],
        "Healthcheck": {"Test": ["NONE"]},
    }
    template = {
        "ContainerSpec": container,
        "RestartPolicy": {"Condition": "any", "Delay": _SECOND_NS},
        "Networks": [{"Target": "host"}],
        "LogDriver": {"Name": "json-file", "Options": {"max-size": "10m", "max-file": "3"}},
    }
    wanted: Thing = {
        "Name": AGENT,
        "TaskTemplate": template,
        "Mode": {"Global": {}},
        "UpdateConfig": {"Parallelism": 1, "FailureAction": "continue", "Monitor": _SECOND_NS, "Order": "stop-first"},
        "EndpointSpec": {"Mode": "dnsrr"},
    }
    number = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
    return {**wanted, "Labels": {_SPEC: number, _PAIR: mark}}


async def all_answer(
    docker: Docker,
    hosts: Collection[HostView],
    answers: Callable[[HostView], Awaitable[bool]],
    within_s: float = SETTLE_S,
) -> None:
    """Wait until the agent on each of `hosts` answers.

    Raises:
        Unavailable: one does not after `within_s` seconds; says which, and what Swarm says of it.
    """
    end_s = time.monotonic() + within_s
    silent = list(hosts)
    while True:
        told = await asyncio.gather(*map(answers, silent))
        silent = [host for host, answered in zip(silent, told, strict=True) if not answered]
        if not silent:
            return
        if time.monotonic() > end_s:
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    reasons = await troubles(docker, AGENT)
    said = "; ".join(f"{host.name}: {reasons.get(host.id, ('', 'it does not answer'))[1]}" for host in silent)
    raise Unavailable(
        f"Everup's agent does not answer on {len(silent)} of {len(hosts)} hosts after {within_s:.0f} s: {said}",
        f"See docker service ps {AGENT}, and let the hosts reach each other on port 8485.",
        code="engine.no_agent",
    )


async def troubles(docker: Docker, service: str, ticket: int = 0) -> dict[str, tuple[str, str]]:
    """Host id -> the state of the newest task of a service that does not run there, and why, in Swarm's words.

    With `ticket`, only tasks of that start count. "" stands for the host of a task that has none.
    """
    tasks = await docker.cluster.tasks({"service": [service]})
    newest = {
        str(task.get("NodeID", "")): task
        for task in sorted(tasks, key=lambda task: str(task["CreatedAt"]))
        if not ticket or (task["Spec"]["ContainerSpec"].get("Labels") or {}).get(TICKET) == str(ticket)
    }
    return {host_id: _trouble(task) for host_id, task in newest.items() if task["Status"]["State"] != "running"}


def _trouble(task: Mapping[str, Any]) -> tuple[str, str]:
    status: Mapping[str, Any] = task["Status"]
    state = str(status["State"])
    return state, str(status.get("Err") or status.get("Message") or state)
