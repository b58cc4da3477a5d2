"""A little model of a Redis group, its Sentinels and its endpoint: answers commands in Valkey's words, and lives in
steps of one second.

It copies what matters to decisions: replicas copy everything when they cannot go on from where they were, Sentinels
spread the newest view, vote once per epoch, and after `DOWN_AFTER_S` replace a primary that a majority misses; a failed
or granted vote keeps them from the next attempt for `HOLD_OFF_S`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from everup.kinds._redis_scene import KNOBS, SETTINGS, port_of
from everup.model.desired import Ask, Blueprint, Node, NodeId, Part, Protocol, ReplyError, Silence
from everup.model.observed import Confirmed, NodeState
from tests.kinds.small_users import NOAUTH, Doors
from tests.redis_words import NO_GROUP, Data, haproxy, info, run_id

DOWN_AFTER_S, HOLD_OFF_S, DEMOTE_S = 5, 10, 8


@dataclass
class Process:
    """Any node: whether it runs, and since when."""

    node: Node
    running: bool = False
    hung: bool = False
    digest: str = ""
    pid: int = 0
    dead: Confirmed | None = None
    doors: Doors = field(default_factory=Doors)

    @property
    def answers(self) -> bool:
        return self.running and not self.hung


@dataclass
class Server(Process):
    """A data node. `writes` is how many acknowledged writes its data holds, `history` which line of data it is of."""

    follows: str | None = None
    written: bool = False
    mark: int | None = None
    writes: int = 0
    syncing: bool = False
    rewriting: bool = False
    link_up: bool = False
    astray_s: int = 0


@dataclass
class Voter(Process):
    """A Sentinel. `seen` are the addresses it remembers, `missed_s` how long it has missed the primary it names."""

    named: str = ""
    epoch: int = 0
    leader: tuple[str, int] = ("*", 0)
    seen: set[str] = field(default_factory=set)
    settings: dict[str, str] = field(default_factory=dict)
    knobs: dict[str, str] = field(default_factory=dict)
    missed_s: int = 0
    hold_off_s: int = 0

    @property
    def votes(self) -> bool:
        return self.answers and bool(self.named)


class SmallGroup:
    """Everything of one service that is outside of Everup."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint
        self.now_s = 1000.0
        self.pids = 100
        self.points_to: tuple[str, bool] = (str(blueprint.of(Part.DATA)[0].ports["redis"]), False)
        made = {Part.DATA: Server, Part.VOTER: Voter}
        nodes = (*blueprint.nodes, *blueprint.retiring)
        self.processes: dict[NodeId, Process] = {node.id: made.get(node.part, Process)(node) for node in nodes}

    @property
    def servers(self) -> list[Server]:
        return [one for one in self.processes.values() if isinstance(one, Server)]

    @property
    def voters(self) -> list[Voter]:
        return [one for one in self.processes.values() if isinstance(one, Voter)]

    @property
    def leaders(self) -> list[Server]:
        return [one for one in self.servers if one.running and one.follows is None]

    def at(self, address: str) -> Server | None:
        return next((one for one in self.servers if address_of(one) == address), None)

    # -- what an engine does

    def start(self, node: Node, extra_args: tuple[str, ...]) -> None:
        one = self.processes[node.id]
        if one.running and one.digest == node.digest:
            return
        self.pids += 1
        one.doors.furnish(node)
        one.running, one.hung, one.digest, one.pid, one.dead = True, False, node.digest, self.pids, None
        if isinstance(one, Server):
            one.follows = f"{extra_args[1]}:{extra_args[2]}" if extra_args else None
            one.link_up = one.syncing = one.rewriting = False
            one.astray_s = 0
            if not one.written:
                one.writes, one.mark, one.written = 0, None, one.follows is None
        if isinstance(one, Voter):
            one.knobs, one.missed_s = {}, 0
        if node.part == Part.ENDPOINT:
            self.points_to = (self.points_to[0], False)

    def kill(self, node_id: NodeId) -> None:
        one = self.processes[node_id]
        if one.running:
            one.running, one.hung, one.dead = False, False, Confirmed(node_id, self.now_s, -9)

    def empty(self, node_id: NodeId) -> None:
        """Let a dead node lose its disk."""
        one = self.processes[node_id]
        if isinstance(one, Server) and not one.running:
            one.written, one.mark, one.writes = False, None, 0

    def observe(self) -> dict[NodeId, NodeState]:
        return {node_id: self._state(one) for node_id, one in self.processes.items() if one.pid}

    def _state(self, one: Process) -> NodeState:
        written = one.written if isinstance(one, Server) else True
        return NodeState(
            running=one.running,
            service=one.node.service,
            digest=one.digest,
            files_digest=one.node.files_digest,
            pid=one.pid if one.running else None,
            dead=one.dead,
            has_data=written,
            generation=one.mark if isinstance(one, Server) and written else None,
        )

    # -- what passes by itself

    def second(self) -> None:
        """One second passes."""
        self.now_s += 1.0
        end = self.at(self.points_to[0])
        if self.points_to[1] and end and end.answers and end.follows is None:
            end.writes += 1
        for one in self.servers:
            self._replicate(one)
        for voter in self.voters:
            self._gossip(voter)
        self._elect()
        self._correct()

    def pause(self, seconds: float) -> None:
        """A moment within a second: nothing happens in it."""

    def _replicate(self, one: Server) -> None:
        source = self.at(one.follows) if one.follows else None
        if not one.answers or one.follows is None:
            return
        if source is None or not source.answers or source.follows is not None:
            one.link_up = one.syncing = False
            return
        if one.rewriting:
            one.rewriting = False
            one.written = True
        elif one.syncing:
            one.syncing, one.link_up, one.rewriting = False, True, True
        elif not one.link_up and (not one.written or one.writes > source.writes):
            one.syncing, one.written, one.mark = True, one.written, one.mark
        else:
            one.link_up = True
        if one.link_up:
            one.writes = source.writes

    def _gossip(self, voter: Voter) -> None:
        if not voter.votes:
            return
        for other in self.voters:
            if other.votes and other.epoch > voter.epoch:
                voter.seen.add(voter.named)
                voter.named, voter.epoch, voter.missed_s = other.named, other.epoch, 0
        lead = self.at(voter.named)
        voter.hold_off_s = max(0, voter.hold_off_s - 1)
        if lead and lead.answers and lead.follows is None:
            voter.missed_s = 0
            voter.seen |= {address_of(one) for one in self.servers if one.answers and one.follows == voter.named}
            voter.seen |= {address_of(one) for one in self.voters if one.votes and one.named == voter.named}
            voter.seen -= {address_of(voter), voter.named}
        else:
            voter.missed_s += 1

    def _elect(self) -> None:
        voting = [one for one in self.voters if one.votes]
        missing = [one for one in voting if one.missed_s >= DOWN_AFTER_S and not one.hold_off_s]
        if not missing or len(missing) <= len(self.voters) // 2:
            return
        epoch = max(max(one.epoch, one.leader[1]) for one in voting) + 1
        for one in voting:
            one.leader, one.hold_off_s = ("a sentinel", epoch), HOLD_OFF_S
        fit = [one for one in self.servers if one.answers and one.follows == missing[0].named and one.written]
        if fit:
            best = max(fit, key=lambda one: one.writes)
            best.follows = None
            self._adopt(missing[0], address_of(best), epoch)
            for one in fit:
                if one is not best:
                    one.follows, one.link_up = address_of(best), False

    def _adopt(self, voter: Voter, named: str, epoch: int) -> None:
        if epoch > voter.epoch:
            voter.seen = (voter.seen | {voter.named}) - {named}
            voter.named, voter.epoch, voter.missed_s = named, epoch, 0

    def _correct(self) -> None:
        """Sentinels make whoever does not follow their primary do so, after a while."""
        voting = [one for one in self.voters if one.votes]
        newest = max(voting, key=lambda one: one.epoch, default=None)
        lead = self.at(newest.named) if newest else None
        for one in self.servers:
            wrong = lead and one is not lead and lead.answers and lead.follows is None and one.follows != newest.named
            one.astray_s = one.astray_s + 1 if wrong and one.answers and address_of(one) in newest.seen else 0
            if one.astray_s >= DEMOTE_S:
                one.follows, one.link_up, one.astray_s = newest.named, False, 0

    # -- what it answers

    def answer(self, question: Ask) -> tuple[Any, ...] | Silence:
        """What `question` would be answered, and what it does."""
        if question.protocol == Protocol.HAPROXY:
            end = self.processes[self.blueprint.endpoint.node]
            return tuple(self._proxy(words[0]) for words in question.commands) if end.answers else Silence("refused")
        one = next((one for one in self.processes.values() if address_of(one) == str(question.to)), None)
        if one is None or not one.answers:
            return Silence("refused")
        if question.protocol != Protocol.RESP:
            return ()
        if not one.doors.enters(question):
            return (NOAUTH,) * len(question.commands)
        reply = self._redis if isinstance(one, Server) else self._sentinel
        said = ((one.doors.answer(words), words) for words in question.commands)
        return tuple(reply(one, words) if answer is NotImplemented else answer for answer, words in said)

    def _proxy(self, command: str) -> str:
        words = command.split()
        if words[:2] == ["set", "server"] and words[3] == "addr":
            self.points_to = (f"{words[4]}:{words[6]}", self.points_to[1])
        elif words[:2] == ["set", "server"] and words[3] == "state":
            self.points_to = (self.points_to[0], words[4] == "ready")
        elif words[:2] == ["show", "servers"]:
            lead = self.at(self.points_to[0])
            up = bool(lead and lead.answers and lead.follows is None)
            return haproxy(self.points_to[0], up=up and self.points_to[1], admin=0 if self.points_to[1] else 1)[0]
        return "\n"

    def _redis(self, one: Server, words: tuple[str, ...]) -> Any:
        match words:
            case ("INFO", section):
                source = self.at(one.follows) if one.follows else None
                said = Data(source and source.node, one.link_up, one.writes, one.syncing, rewriting=one.rewriting)
                return info(replace(said, link_up=one.link_up and bool(source and source.answers)))[
                    section == "persistence"
                ]
            case ("REPLICAOF", "NO", "ONE"):
                one.follows, one.link_up, one.syncing = None, False, False
            case ("REPLICAOF", host, port):
                if one.follows != f"{host}:{port}":
                    one.follows, one.link_up, one.syncing = f"{host}:{port}", False, False
            case ("CONFIG" | "CLIENT" | "MULTI" | "EXEC", *_):
                pass
            case _:
                return ReplyError(f"ERR unknown command {words}")
        return "OK"

    def _sentinel(self, one: Voter, words: tuple[str, ...]) -> Any:
        match words:
            case ("SENTINEL", "MYID"):
                return run_id(one.node)
            case ("SENTINEL", "DEBUG", *knobs):
                one.knobs |= dict(zip(knobs[::2], knobs[1::2], strict=True))
                return [word for name in KNOBS for word in (name.upper(), one.knobs.get(name, "0"))]
            case ("SENTINEL", "MONITOR", _, host, port, quorum):
                one.named, one.epoch, one.missed_s, one.seen = f"{host}:{port}", 0, 0, set()
                one.settings = {**dict.fromkeys(SETTINGS, "0"), "quorum": quorum}
                return "OK"
            case ("PUBLISH", "__sentinel__:hello", text):
                parts = text.split(",")
                sender = next((other for other in self.voters if run_id(other.node) == parts[2]), None)
                if sender and sender is not one:
                    one.seen.add(f"{parts[0]}:{parts[1]}")
                    self._adopt(one, f"{parts[5]}:{parts[6]}", int(parts[7]))
                return 1
        return self._about_group(one, words) if one.named else NO_GROUP

    def _about_group(self, one: Voter, words: tuple[str, ...]) -> Any:
        match words:
            case ("SENTINEL", "MASTER", name):
                host, port = one.named.split(":")
                fields = {"name": name, "ip": host, "port": port, "flags": "master", "config-epoch": str(one.epoch)}
                return [word for pair in {**fields, **one.settings}.items() for word in pair]
            case ("SENTINEL", "REPLICAS", _):
                return [_row(address) for address in sorted(one.seen) if self.at(address)]
            case ("SENTINEL", "SENTINELS", _):
                peers = [other for other in self.voters if address_of(other) in one.seen]
                return [_row(address_of(other), run_id(other.node)) for other in peers]
            case ("SENTINEL", "SET", _, *pairs):
                one.settings |= dict(zip(pairs[::2], pairs[1::2], strict=True))
            case ("SENTINEL", "RESET", _):
                one.seen = set()
                return 1
            case ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", host, port, epoch, candidate):
                if one.named == f"{host}:{port}" and int(epoch) > max(one.leader[1], 0):
                    one.leader, one.hold_off_s = (candidate, int(epoch)), HOLD_OFF_S
                return [0, *one.leader]
        return "OK"


def _row(address: str, known_as: str = "") -> list[str]:
    host, port = address.split(":")
    return ["name", known_as or address, "ip", host, "port", port, "runid", known_as, "flags", "slave"]


def address_of(one: Process) -> str:
    """Where a node listens; of an endpoint, the clients' address."""
    if one.node.part in (Part.DATA, Part.VOTER):
        return str(port_of(one.node))
    return str(next(iter(one.node.ports.values())))
