"""The control plane inside of a Docker Swarm: installing it there, and taking it away."""

import asyncio
import os
import platform
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everup import __version__
from everup.cli.contexts import Contexts
from everup.cli.session import session_of
from everup.model.errors import EverupError, NotPermitted, Refused
from everup.runtime.home import Home

if TYPE_CHECKING:
    from everup.cli.client import Client
    from everup.engines.swarm.docker import Docker

ANSWER_S = 120.0
"""How long a control plane may take to answer once it was installed: an image may have to be fetched first."""


@dataclass(frozen=True)
class Installed:
    """What an installation came to: the URLs, by what clients know the API, and a token where this was the first one.

    `former`: where the files are of the control plane that was moved.
    """

    changed: bool
    urls: tuple[str, ...]
    certificate: str
    token: str | None = None
    former: Path | None = None


def install_in_swarm(
    context: typer.Context,
    image: Annotated[
        str, typer.Option(help="Everup's own, which every host must have or be able to fetch.", envvar="EVERUP_IMAGE")
    ] = f"everup:{__version__}",
    name: Annotated[str, typer.Option("--context", help="What commands call it from now on.")] = "swarm",
    move: Annotated[
        bool, typer.Option("--move", help="Carry over what the control plane of this machine looks after there.")
    ] = False,
) -> None:
    """Run Everup's control plane in the Docker Swarm that this machine votes in; a second call changes nothing.

    Swarm starts it on another such machine when its own is lost, with all it knew. It answers at port 8484 of each.

    Examples:

      everup swarm install

      everup swarm install --image registry.example.net/everup:0.1.0

      everup swarm install --move
    """
    session = session_of(context)
    from everup.cli import render

    if move:
        session.here("--move", "it carries over what is kept there")
    done = asyncio.run(_install(image, name, session.home if move else None))
    file = _certificate_file(name, done.certificate)
    current = _keep_context(name, done)
    if done.token:
        _await_answer(done.urls[0], done.token, done.certificate)
    if session.as_json:
        render.show_json({"changed": done.changed, "urls": done.urls, "certificate": str(file), "current": current})
        return
    print("the control plane runs in the Swarm" if done.changed else "nothing to change: it runs in the Swarm already")
    if done.former:
        print(f"what the control plane of this machine knew is there now; its former files are in {done.former}")
    print(f"it answers at {' '.join(done.urls)}, with the certificate {file}")
    if done.token:
        print(f"the context {name} holds a token for it; commands are about {current} now")
    elif name not in Contexts.read(os.environ).places:
        print(f"to use it from here: everup context add {name} --server {done.urls[0]} --ca {file} < TOKEN")


def _may_move(client: "Client") -> None:
    """Make sure that a control plane looks after nothing but the Swarm.

    Raises:
        Refused: environments run on its own machine.
    """
    names = client.get("control")["environments"]
    engines = {name: client.get(f"environments/{name}")["engine"] for name in names}
    if left := [name for name, engine in engines.items() if engine != "swarm"]:
        raise Refused(
            f"{', '.join(left)} runs on this machine, and cannot be moved into the Swarm",
            "\n".join(f"everup -e {name} down --destroy" for name in left),
            code="refused.running",
        )


def uninstall_from_swarm(
    context: typer.Context,
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Forget all that it knows too; refused while there are environments.")
    ] = False,
) -> None:
    """Take the control plane out of the Swarm. What it looks after goes on running, and what it knows stays there.

    Examples:

      everup swarm uninstall

      everup swarm uninstall --destroy
    """
    session = session_of(context)
    from everup.cli import render

    found = asyncio.run(_uninstall(destroy))
    if session.as_json:
        render.show_json({"uninstalled": found, "destroyed": destroy})
    elif destroy:
        from everup.engines.swarm.volume import AGENT_VOLUME

        print("the control plane is gone, with all that it knew")
        print(f"each host keeps a volume of some bytes, which nobody else needs: docker volume rm {AGENT_VOLUME}")
    elif found:
        print("the control plane is gone; what ran goes on running, and everup swarm install brings it back")
    else:
        print("nothing to do: no control plane runs in this Swarm")


async def _uninstall(destroy: bool) -> bool:
    from everup.engines.swarm import control
    from everup.engines.swarm.docker import Docker

    docker = Docker()
    try:
        return await control.uninstall(docker, destroy=destroy)
    finally:
        await docker.close()


async def _install(image: str, name: str, move: Home | None) -> Installed:
    from everup.engines.swarm import control, images
    from everup.engines.swarm.docker import Docker
    from everup.engines.swarm.manifest import manifest_in

    docker = Docker()
    try:
        swarm = await docker.cluster.inspect()
        found = await images.everups(docker, image)
        if manifest_in(swarm["Spec"]).pieces:
            if move and move.store.exists():
                raise Refused(
                    "this Swarm has a control plane of its own already, which knows other things",
                    "Where it is this one, and the command broke off before: everup swarm install. "
                    "Where it is to be forgotten: everup swarm uninstall --destroy",
                    code="refused.kept_already",
                )
            begun = None if await control.runs(docker) else Contexts.read(os.environ).places.get(name, {}).get("token")
            return replace(await _provide(docker, found), token=begun)
        if move is None:
            await control.refuse_running(docker)
            with tempfile.TemporaryDirectory(prefix="everup-") as folder:
                token = await _begin(docker, Home(Path(folder)), name)
            return replace(await _provide(docker, found), token=token)
        return await _move(docker, found, name, move)
    finally:
        await docker.close()


async def _move(docker: "Docker", image: str, name: str, home: Home) -> Installed:
    """Have the Swarm run what runs in `home` until now; from the moment on that the Swarm knows all, only there."""
    from everup.cli.daemon import leave
    from everup.runtime.moving import retire

    lock = await asyncio.to_thread(leave, home, _may_move)
    try:
        token = await _begin(docker, home, name)
        former = retire(home)
        return replace(await _provide(docker, image), token=token, former=former)
    finally:
        os.close(lock)


async def _provide(docker: "Docker", image: str) -> Installed:
    """Have the Swarm run it; returns at once."""
    from everup.engines.swarm import control

    changed = await control.install(docker, image)
    certificate = await control.certificate(docker)
    assert certificate is not None
    return Installed(changed, await _urls(docker), certificate)


async def _urls(docker: "Docker") -> tuple[str, ...]:
    """Where the doors are, that of this host first."""
    from everup.engines.swarm.fleet import view_of
    from everup.engines.swarm.placement import DOOR_PORT

    addresses = sorted(one.address for one in map(view_of, await docker.cluster.nodes()) if one.votes)
    here = str((await docker.itself())["Swarm"]["NodeAddr"])
    return tuple(f"https://{one}:{DOOR_PORT}" for one in sorted(addresses, key=lambda one: (one != here, one)))


async def _begin(docker: "Docker", home: Home, name: str) -> str:
    """Give the Swarm what is known in `home` and the keys to it; an operator's token, which is shown to nobody else.

    The token is in the context `name` before anybody knows it, so it is not lost, whenever this breaks off.
    """
    from everup.engines.swarm import control
    from everup.engines.swarm.certificates import self_signed
    from everup.engines.swarm.docker import Docker
    from everup.engines.swarm.keeping import Keeping
    from everup.engines.swarm.pair import pair_in
    from everup.engines.swarm.state import SwarmShelf
    from everup.runtime.cipher import Cipher
    from everup.runtime.moving import carry
    from everup.runtime.safekeeping import KEY
    from everup.runtime.tokens import new_secret

    cipher = Cipher(home.path / KEY)
    cipher.make_key()
    pair = await asyncio.to_thread(pair_in, home.path / "swarm")
    credentials = control.Credentials(cipher.key(), *self_signed("everup"), pair)
    contexts, token, url = Contexts.read(os.environ), new_secret(), (await _urls(docker))[0]
    former = contexts.places.get(name)
    await control.keep(docker, credentials)
    _note(contexts, name, _place(contexts, name, url, token))
    try:
        shelf = SwarmShelf(Docker(), Keeping(_interrupted))
        await carry(home, shelf, platform.node() or "install", token)
    except Refused:  # somebody was quicker
        _note(contexts, name, former)
        await control.drop(docker, credentials)
        raise
    await control.keep_only(docker, credentials)
    return token


def _place(contexts: Contexts, name: str, url: str, token: str) -> dict[str, str | None]:
    return {"server": url, "token": token, "ca": str(contexts.file.with_name(f"{name}.pem"))}


def _note(contexts: Contexts, name: str, place: dict[str, str | None] | None) -> None:
    """Keep a context, or forget it."""
    if place is None:
        contexts.places.pop(name, None)
    else:
        contexts.places[name] = place
    contexts.write()


def _interrupted(error: EverupError) -> None:
    """Somebody else installs at the same moment: the error itself says so."""


def _await_answer(url: str, token: str, certificate: str) -> None:
    """Wait until it answers to the first operator's token, which is kept by then: nobody else knows it.

    Raises:
        EverupError: it does not; Swarm goes on trying to run it. Or it does not know the token, which was another's.
    """
    from everup.cli.client import Gone
    from everup.cli.remote import Place

    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(certificate)
        file.flush()
        client = Place(url, token, file.name).client()
        end_s = time.monotonic() + ANSWER_S
        try:
            while True:
                try:
                    client.get("control")
                    return
                except NotPermitted as error:
                    hint = "An operator of it can make another: everup token create NAME. Then: everup context add"
                    raise EverupError(f"it runs, and does not know the token: {error.message}", hint) from error
                except Gone as error:
                    if time.monotonic() > end_s:
                        hint = (
                            "Swarm goes on trying, and everup status will find it once it runs. What keeps it: "
                            "docker service ps --no-trunc everup-control, and docker service logs everup-control."
                        )
                        raise EverupError(f"it does not answer: {error.message}", hint, code="start_failed") from error
                time.sleep(0.2)
        finally:
            client.close()


def _certificate_file(name: str, certificate: str) -> Path:
    file = Contexts.read(os.environ).file.with_name(f"{name}.pem")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text(certificate)
    return file


def _keep_context(name: str, done: Installed) -> str:
    """Note how to reach it where there is a token to do so; which context is in use then."""
    contexts = Contexts.read(os.environ)
    if done.token:
        contexts.current = name
        _note(contexts, name, _place(contexts, name, done.urls[0], done.token))
    return contexts.current
