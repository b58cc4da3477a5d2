"""A control plane that is frozen when it has asked whether it may act, and not acted yet; then says how that ended.

`python -m tests.swarm.frozen ACT SOCKET IMAGE FOLDER NUMBER`: a Docker, Everup's image, the folder of the environment
in the home of a control plane, and the number of its turn.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from everup.engines.swarm.docker import Docker
from everup.engines.swarm.engine import SwarmEngine
from everup.engines.swarm.fleet import Fleet
from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.place import Place
from everup.engines.swarm.wire import Wire
from everup.model.errors import EverupError
from tests.engines.worlds import a_node

SECRET = {"TOKEN": "token"}


def freeze(name: str = "") -> str:
    """Stop here until somebody lets this process go on."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return name


async def act(wanted: str, engine: SwarmEngine) -> None:
    """`fence` web-1, `change` web-2 which runs, or `start` web-3 which does not exist."""
    await engine.observe()
    await engine.confirm()
    if wanted == "fence":
        freeze()
        await engine.fence("web-1")
    else:  # the ticket is chosen by then, and nothing ordered yet: the secrets are asked for in between
        await engine.ensure(a_node({"change": "web-2", "start": "web-3"}[wanted], secrets=SECRET))


async def main(wanted: str, socket: str, image: str, folder: Path, number: int) -> None:
    """Do it, and say what came of it."""
    keeping = Keeping(lambda error: None)
    keeping.number = number
    fleet = Fleet(Docker(Wire(Place(f"unix://{socket}"))), image, folder.parent / "swarm", keeping)
    engine = SwarmEngine(folder.name, fleet, folder, freeze)
    try:
        await act(wanted, engine)
        print("done")
    except EverupError as error:
        print(error.code)
    await engine.close()
    await fleet.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], Path(sys.argv[4]), int(sys.argv[5])))
