"""Several pretended hosts for a person to play with: `make swarm-lab`. Type `help` there."""

import cmd
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.swarm.host import Host
from tests.swarm.image import TAG, everup_image
from tests.swarm.rig import Rig, missing

HOSTS = 3
WELCOME = """
{hosts} hosts, one Docker Swarm; Everup's image is on each of them: {image}

{listing}

Try, here:          status, then cut node1, status again, heal node1
From another shell: docker -H unix://{socket} node ls
On a host:          shell node2   (docker and everup speak to that host's engine)
All commands:       help          Everything goes with Ctrl-C or quit.
"""


class Lab(cmd.Cmd):
    """The commands of the lab; each says what it does in its first line."""

    prompt = "lab> "

    def __init__(self, rig: Rig, image: str) -> None:
        super().__init__()
        self.rig, self.image = rig, image
        self.named = {host.name: host for host in rig.hosts}
        listing = "\n".join(f"  {host.name}  {host.address}  unix://{host.socket}" for host in rig.hosts)
        self.intro = WELCOME.format(hosts=HOSTS, image=image, listing=listing, socket=rig.hosts[0].socket)

    def onecmd(self, line: str) -> bool:
        """Say what went wrong, and go on."""
        try:
            return bool(super().onecmd(line))
        except (OSError, TimeoutError, httpx.HTTPError) as error:
            print(f"error: {error}")
            return False

    def emptyline(self) -> bool:
        """Nothing typed: nothing done."""
        return False

    def default(self, line: str) -> None:
        """Say that there is no such command."""
        print(f"there is no command {line.split()[0]}; help lists them")

    def do_help(self, _: str) -> None:
        """help: this list."""
        for name in sorted(set(self.get_names()) - {"do_EOF", "do_exit"}):
            if name.startswith("do_"):
                print(f"  {getattr(self, name).__doc__}")

    def _each(self, line: str, act: Callable[[Host], object]) -> None:
        unknown = [name for name in line.split() if name not in self.named]
        if unknown or not line.split():
            print(f"name hosts: {' '.join(self.named)}")
            return
        for name in line.split():
            act(self.named[name])

    def _both(self, line: str, act: Callable[[Host, Host], None]) -> None:
        pair = [self.named[name] for name in line.split() if name in self.named]
        if len(pair) != 2 or len(line.split()) != 2:
            print(f"name two hosts of {' '.join(self.named)}")
        else:
            act(*pair)

    def do_status(self, _: str) -> None:
        """status: what each host says of the Swarm's nodes."""
        for host in self.rig.hosts:
            print(f"{host.name}: {self._view(host)}")

    def _view(self, host: Host) -> str:
        if not host.running:
            return "off"
        try:
            nodes = self.rig.nodes(host, timeout_s=3)
        except httpx.HTTPError:
            return "does not answer (a manager that sees no majority cannot)"
        words = []
        for name in sorted(nodes):
            manager = nodes[name]["ManagerStatus"]
            leads = " and leads" if manager.get("Leader") else ""
            words.append(f"{name} is {nodes[name]['Status']['State']}, {manager['Reachability']}{leads}")
        return "; ".join(words) or "sees no majority of the managers"

    def do_cut(self, line: str) -> None:
        """cut HOST...: pull its cable."""
        self._each(line, Host.cut)

    def do_heal(self, line: str) -> None:
        """heal HOST...: put the cable back."""
        self._each(line, Host.heal)

    def do_apart(self, line: str) -> None:
        """apart HOST HOST: these two do not hear each other; others hear both."""
        self._both(line, self.rig.cut_between)

    def do_together(self, line: str) -> None:
        """together HOST HOST: they hear each other again."""
        self._both(line, self.rig.heal_between)

    def do_kill(self, line: str) -> None:
        """kill HOST...: lose it with all that runs on it; its disk stays."""
        self._each(line, Host.kill)

    def do_start(self, line: str) -> None:
        """start HOST...: switch it on again."""
        self._each(line, Host.start)

    def do_power(self, line: str) -> None:
        """power off | power on: all hosts at once."""
        acts = {"off": self.rig.power_cut, "on": self.rig.power_on}
        acts.get(line.strip(), lambda: print("power off or power on"))()

    def do_shell(self, line: str) -> None:
        """shell HOST [COMMAND...]: a shell, or a command, on that host."""
        name, _, command = line.strip().partition(" ")
        if name not in self.named:
            print(f"name a host: {' '.join(self.named)}")
            return
        words = ["sh", "-c", command] if command else [os.environ.get("SHELL", "/bin/sh")]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(
            self.named[name].command(words), env={**os.environ, "PATH": path, "PS1": f"{name}# "}, check=False
        )

    def do_quit(self, _: str) -> bool:
        """quit: end every host and remove everything."""
        return True

    do_exit = do_quit
    do_EOF = do_quit

    def completedefault(self, text: str, *_: object) -> list[str]:
        """The hosts that a typed beginning may mean."""
        return [name for name in self.named if name.startswith(text)]


def main() -> int:
    """Bring up the lab and keep it until it is left; returns the exit code."""
    reason = missing()
    if reason:
        print(f"error: {reason}", file=sys.stderr)
        return 1
    try:
        print("Everup's image (the first time takes a minute or two) ...", flush=True)
        image = everup_image()
        print(f"{HOSTS} hosts ...", flush=True)
        with Rig(hosts=HOSTS, zones=("a", "b", "c")) as rig:
            try:
                Lab(rig, rig.load(image, TAG)).cmdloop()
            except KeyboardInterrupt:
                print()
            print("cleaning up ...", flush=True)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
