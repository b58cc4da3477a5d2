"""The control plane as a service of the Swarm that it looks after, with a door to it on every host that votes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everup.engines.local.statefile import replace_text
from everup.engines.swarm import bootstrap
from everup.engines.swarm.docker import Docker, Store, Thing, text
from everup.engines.swarm.manifest import LABEL, manifest_in, without_manifest
from everup.engines.swarm.pair import AGENT, CERT, KEY, Pair
from everup.engines.swarm.placement import CONTROL_PORT
from everup.engines.swarm.services import ENVIRONMENT
from everup.model.errors import EngineError, Refused

CONTROL, DOOR = "everup-control", "everup-door"
"""The names of the services: one replica, and a copy on every host that votes."""

SEALING_KEY, TLS_KEY = "everup-sealing-key", "everup-tls-key"
"""Secrets: the key of the store's secrets and of what the Swarm keeps, and that which signs the API's certificate."""

TLS_CERT = "everup-tls-cert"
"""The config that holds the certificate which clients keep: what the API shows is signed by its key."""

SHOWN_CERT, SHOWN_KEY = "shown-cert.pem", "shown-key.pem"
"""In the home of the control plane: what the API shows."""

SECRETS, CONFIGS = Path("/run/secrets"), Path("/etc/everup")
"""Where a container finds them."""

HOME = "/run/everup"
KEPT = "EVERUP_KEPT"
"""Set to `swarm`, a control plane keeps what it knows in the Swarm, and has no disk of its own."""

_FILE = "everup.control-file"
"""Label of those secrets and of the config: the name of the file."""

_SPEC = "everup.control-spec"
_SECOND_NS = 1_000_000_000
_HOME_BYTES = 512 << 20
_SOCKET = {"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/var/run/docker.sock"}
_VOTERS = "node.role==manager"  # Docker's word


@dataclass(frozen=True)
class Credentials:
    """What the control plane is given, PEM and base64; all of it is kept by the Swarm as secrets.

    Attributes:
        sealing_key: 32 bytes in base64.
        tls_key, tls_cert: what signs the certificate that the API shows.
        pair: by which agents know it.
    """

    sealing_key: str
    tls_key: str
    tls_cert: str
    pair: Pair

    @property
    def secrets(self) -> dict[str, bytes]:
        """By the name of the file in which each is found."""
        return {
            SEALING_KEY: self.sealing_key.encode(),
            TLS_KEY: self.tls_key.encode(),
            KEY: self.pair.key.read_bytes(),
            CERT: self.pair.cert.read_bytes(),
        }


def settle(home: Path, secrets: Path = SECRETS) -> None:
    """Put what the Swarm gave to this container where a control plane looks for it. Blocks.

    Raises:
        EngineError: it is not there.
    """
    places = {
        SEALING_KEY: home / "secret.key",
        KEY: home / "swarm" / f"{KEY}.pem",
        CERT: home / "swarm" / f"{CERT}.pem",
    }
    try:
        for name, place in places.items():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_text(place, (secrets / name).read_text())
            place.chmod(0o600)
    except OSError as error:
        raise EngineError(
            f"this control plane was not started by its Swarm as it must be: {error}",
            f"{KEPT} is for the service that everup swarm install makes.",
        ) from error


async def refuse_running(docker: Docker) -> None:
    """Make sure that nobody looks after nodes in the Swarm.

    Raises:
        Refused: environments run there, looked after by a control plane elsewhere.
    """
    if left := await _environments(docker):
        hint = "Move it here from where it runs (everup swarm install --move), or there: everup down --destroy"
        raise Refused(f"another control plane looks after {', '.join(left)} here", hint, code="refused.running")


async def refuse_forgotten(docker: Docker) -> None:
    """Make sure that the Swarm knows what its control plane knew: one that began with nothing would delete the rest.

    Raises:
        EngineError: it does not say so any more.
    """
    if not manifest_in((await docker.cluster.inspect())["Spec"]).pieces:
        raise EngineError(
            f"the Swarm does not say what its control plane knows: somebody has removed its label {LABEL}",
            f"Bring it back from a backup of the Swarm; the parts it lists are kept: docker config ls -f label={LABEL}",
            code="engine.forgotten",
        )


async def keep(docker: Docker, credentials: Credentials) -> None:
    """Have the Swarm keep these credentials, beside any it has.

    Raises:
        EngineError: Docker refuses.
    """
    for store, files in _files(docker, credentials):
        for full, (name, content) in files.items():
            if await store.inspect(full):  # one of the pair that the agents have already
                await store.relabel(full, {_FILE: name})
            else:
                await store.create(full, content, {_FILE: name})


async def keep_only(docker: Docker, credentials: Credentials) -> None:
    """Forget all other credentials that the Swarm keeps; agents that know others end.

    Raises:
        EngineError: Docker refuses.
    """
    agents = await docker.services.inspect(AGENT)
    if agents and bootstrap.pair_of(agents) != credentials.pair.mark:
        await docker.services.remove(AGENT)
    for store, files in _files(docker, credentials):
        for one in await store.list({"label": [_FILE]}):
            if one["Spec"]["Name"] not in files:
                await store.remove(one["ID"])


async def drop(docker: Docker, credentials: Credentials) -> None:
    """Forget these credentials, but for those that agents use: what the Swarm keeps is sealed with others."""
    for store, files in _files(docker, credentials):
        for full in files:
            with suppress(EngineError):
                await store.remove(full)


def _files(docker: Docker, credentials: Credentials) -> list[tuple[Store, dict[str, tuple[str, bytes]]]]:
    """Where each is kept, by its full name: the name of its file, and what is in it."""
    configs = {TLS_CERT: credentials.tls_cert.encode()}
    return [
        (store, {_named(name, content): (name, content) for name, content in files.items()})
        for store, files in ((docker.secrets, credentials.secrets), (docker.configs, configs))
    ]


async def runs(docker: Docker) -> bool:
    """The Swarm has a control plane's service."""
    return await docker.services.inspect(CONTROL) is not None


async def _environments(docker: Docker) -> list[str]:
    """The environments that have nodes in the Swarm."""
    found = await docker.services.list({"label": [ENVIRONMENT]})
    return sorted({str(one["Spec"]["Labels"][ENVIRONMENT]) for one in found})


def _named(name: str, content: bytes) -> str:
    return f"{name}.{hashlib.sha256(content).hexdigest()[:12]}"


async def certificate(docker: Docker) -> str | None:
    """By which clients know the API, PEM; None where no control plane was ever installed."""
    found = _newest(await docker.configs.list({"label": [f"{_FILE}={TLS_CERT}"]}))
    return text(found[0]).decode() if found else None


async def install(docker: Docker, image: str) -> bool:
    """Make both services as they must be, with the credentials that are kept; say whether that changed anything.

    Args:
        docker: of a host that votes.
        image: Everup's own, by ID or digest.

    Raises:
        EngineError: Docker refuses.
    """
    labelled = {"label": [_FILE]}
    secrets = [_given(one, "Secret", SECRETS) for one in _newest(await docker.secrets.list(labelled))]
    configs = [_given(one, "Config", CONFIGS) for one in _newest(await docker.configs.list(labelled))]
    changed = await _make(docker, control_spec(image, secrets, configs))
    return await _make(docker, door_spec(image)) or changed


def _newest(found: Sequence[Thing]) -> list[Thing]:
    """Of each file the one that was kept last: an installation that broke off may have left others."""
    by_file = {one["Spec"]["Labels"][_FILE]: one for one in sorted(found, key=lambda one: str(one["CreatedAt"]))}
    return list(by_file.values())


def _given(found: Thing, kind: str, folder: Path) -> Thing:
    """A secret or a config, as a container is given it."""
    spec = found["Spec"]
    target = {"Name": str(folder / spec["Labels"][_FILE]), "UID": "0", "GID": "0", "Mode": 0o400}
    return {f"{kind}ID": found["ID"], f"{kind}Name": spec["Name"], "File": target}


async def uninstall(docker: Docker, *, destroy: bool) -> bool:
    """Remove both services; False: there were none. What is looked after goes on running, and what is known stays.

    With `destroy` that is forgotten too, with the agents on the hosts.

    Raises:
        Refused: it is to be forgotten, and environments are still there.
        EngineError: Docker refuses.
    """
    left = await _environments(docker)
    if destroy and left:
        names = ", ".join(left)
        hint = "\n".join(f"everup -e {name} down --destroy" for name in left)
        raise Refused(f"the nodes of {names} would have nobody to look after them", hint, code="refused.running")
    found = await docker.services.inspect(CONTROL)
    for name in (CONTROL, DOOR, *((AGENT,) if destroy else ())):
        await docker.services.remove(name)
    if destroy:
        await docker.cluster.change(without_manifest)
        for store in (docker.secrets, docker.configs):
            for one in await store.list():
                labels = one["Spec"].get("Labels") or {}
                if _FILE in labels or LABEL in labels or one["Spec"]["Name"].startswith(f"{AGENT}-"):
                    await store.remove(one["ID"])
    return found is not None


async def _make(docker: Docker, wanted: Thing) -> bool:
    found = await docker.services.inspect(wanted["Name"])
    if found is None:
        await docker.services.create(wanted)
        return True
    if (found["Spec"].get("Labels") or {}).get(_SPEC) == wanted["Labels"][_SPEC]:
        return False
    await docker.services.change(wanted["Name"], lambda spec: wanted)
    return True


def control_spec(image: str, secrets: Sequence[Thing], configs: Sequence[Thing]) -> Thing:
    """The control plane's service, as Docker's API wants it. Pure."""
    words = [f"0.0.0.0:{CONTROL_PORT}", f"{HOME}/{SHOWN_CERT}", f"{HOME}/{SHOWN_KEY}"]
    container = {
        "Command": ["python3", "-P", "-m", "everup.serve", *words],
        "Env": [f"EVERUP_HOME={HOME}", f"EVERUP_IMAGE={image}", f"{KEPT}=swarm"],
        "Mounts": [
            _SOCKET,
            {"Type": "tmpfs", "Target": HOME, "TmpfsOptions": {"Mode": 0o700, "SizeBytes": _HOME_BYTES}},
        ],
        "Secrets": sorted(secrets, key=lambda one: str(one["SecretName"])),
        "Configs": list(configs),
        "StopGracePeriod": 15 * _SECOND_NS,
    }
    return _spec(CONTROL, image, container, {"Replicated": {"Replicas": 1}})


def door_spec(image: str) -> Thing:
    """The doors' service, as Docker's API wants it. Pure."""
    container = {"Command": ["python3", "-P", "-m", "everup.engines.swarm.door"], "Mounts": [_SOCKET]}
    return _spec(DOOR, image, container, {"Global": {}})


def _spec(name: str, image: str, container: Mapping[str, Any], mode: Mapping[str, Any]) -> Thing:
    common = {"Image": image, "User": "0:0", "Init": True, "Healthcheck": {"Test": ["NONE"]}}
    wanted: Thing = {
        "Name": name,
        "TaskTemplate": {
            "ContainerSpec": {**common, **container},
            "RestartPolicy": {"Condition": "any", "Delay": _SECOND_NS},
            "Placement": {"Constraints": [_VOTERS]},
            "Networks": [{"Target": "host"}],
            "LogDriver": {"Name": "json-file", "Options": {"max-size": "10m", "max-file": "3"}},
        },
        "Mode": mode,
        "UpdateConfig": {"Parallelism": 1, "FailureAction": "continue", "Monitor": _SECOND_NS, "Order": "stop-first"},
        "EndpointSpec": {"Mode": "dnsrr"},
    }
    number = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
    return {**wanted, "Labels": {_SPEC: number}}
