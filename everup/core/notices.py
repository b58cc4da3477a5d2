"""What is worth telling people, and when: one message an incident, none for a service that flaps. Pure.

An incident that is over within `HOLD_S` is one message; a longer one is a message when it has lasted so long, and one
when it is over. What fails again soon after a message waits longer, and is counted in the next one.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from everup.core.episodes import Episode, Episodes
from everup.model.events import Event
from everup.model.notices import Notice, Tone, Topic

Story = Callable[[Sequence[Event]], str]
"""Tells the events of an incident in one line."""

HOLD_S = 10.0
"""An incident may take so long before it is told of; most are over by then."""

FLAP_S = 60.0
"""What fails again within this time after a message is flapping: nothing is said of it unless it lasts that long."""

FLAP_LIMIT_S = 3600.0
"""A service that goes on flapping is told of ever less often, down to once in this time."""

SETTLE_S = 3.0
"""A change of the primary without an incident is told of so much later, and only who leads then."""

BARE_S = 60.0
"""How long a service may be without redundancy, and without an incident, before that is told."""

Key = tuple[str, str]


@dataclass(frozen=True)
class _Calm:
    """After a message about a service: nothing short is said until then; how long that is; what was left out."""

    until_s: float = float("-inf")
    for_s: float = FLAP_S
    unsaid: int = 0


class Announcer:
    """Turns what happens into notices. `now_s` is monotonic seconds throughout."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self._episodes = Episodes()
        self._told: set[Key] = set()
        self._calm: dict[Key, _Calm] = {}
        self._bare: dict[Key, tuple[float, str, bool]] = {}  # since when, why, whether it was told
        self._crowned: dict[Key, tuple[float, list[Event]]] = {}  # since when, who became primary
        self._ready: list[Notice] = []

    def take(self, event: Event, now_s: float) -> None:
        """Take in one event, as it is said."""
        episode = self._episodes.take(event, now_s)
        if episode is not None:
            if episode.ended_s is not None and not episode.rehearsed:
                self._ended(episode, now_s)
            return
        key = (event.environment, event.service or "")
        if event.name == "primary.changed" and _again(event) and not self._episodes.rehearsing(key, now_s):
            self._crowned.setdefault(key, (now_s, []))[1].append(event)
        if event.name == "drill.ended" and event.fields.get("verdict") == "fail":
            title = f"{key[0]}: a drill of {key[1]} failed ({event.fields.get('fault')})"
            self._say(key, {Topic.DRILL}, Tone.FAILURE, title, str(event.fields.get("because", "")))
        if event.name == "environment.stopped":
            self._told = {one for one in self._told if one[0] != event.environment}
            self._bare = {one: bare for one, bare in self._bare.items() if one[0] != event.environment}

    def bare(self, environment: str, services: Mapping[str, str], now_s: float) -> None:
        """Say which services should survive the loss of one more node and would not, each with the reason."""
        for key in [key for key in self._bare if key[0] == environment and key[1] not in services]:
            if self._bare.pop(key)[2]:
                title = f"{environment}: {key[1]} is redundant again"
                self._say(key, {Topic.REDUNDANCY}, Tone.SUCCESS, title, "Any one node of it can be lost.")
        for label, because in services.items():
            key = (environment, label)
            since_s, _, told = self._bare.get(key, (now_s, "", False))
            if key in self._episodes.open:  # that is told of already
                since_s = now_s
            self._bare[key] = (since_s, because, told)

    def retain(self, environment: str, services: Collection[str]) -> None:
        """Say nothing more of services that the environment has no longer."""
        self._episodes.retain(environment, services)
        self._told = {key for key in self._told if key in self._episodes.open}

    def due(self, now_s: float) -> list[Notice]:
        """What is to be sent now; each notice is given out once."""
        for key, episode in self._episodes.open.items():
            hold_s = FLAP_S if episode.failed_s < self._calmed(key).until_s else HOLD_S
            if not episode.rehearsed and key not in self._told and now_s - episode.failed_s >= hold_s:
                self._told.add(key)
                title = f"{key[0]}: {key[1]} has failed and is not whole again"
                self._say(key, _topics(episode), Tone.FAILURE, title, self._words(episode, now_s))
        for key in [key for key, (since_s, _) in self._crowned.items() if now_s - since_s >= SETTLE_S]:
            self._lead(key, self._crowned.pop(key)[1])
        for key, (since_s, because, told) in self._bare.items():
            if not told and now_s - since_s >= BARE_S:
                self._bare[key] = (since_s, because, True)
                title = f"{key[0]}: {key[1]} would not survive the loss of one more node"
                self._say(key, {Topic.REDUNDANCY}, Tone.WARNING, title, because)
        ready, self._ready = self._ready, []
        return ready

    def _lead(self, key: Key, changes: list[Event]) -> None:
        leader = changes[-1].node
        because = next(one.fields.get("because", "") for one in changes if one.node == leader)
        title = f"{key[0]}: {leader} is the primary of {key[1]} now"
        self._say(key, {Topic.ROLE}, Tone.INFO, title, str(because))

    def _ended(self, episode: Episode, now_s: float) -> None:
        key = (episode.environment, episode.service)
        if key in self._told:
            self._told.discard(key)
            title = f"{key[0]}: {key[1]} is whole again"
            self._say(key, _topics(episode), Tone.SUCCESS, title, self._words(episode, now_s))
        elif episode.failed_s < self._calmed(key).until_s:
            calm = self._calm[key]
            self._calm[key] = replace(calm, unsaid=calm.unsaid + 1)
            return
        else:
            title = f"{key[0]}: {key[1]} failed and is whole again"
            self._say(key, _topics(episode), Tone.SUCCESS, title, self._words(episode, now_s))
        self._calm[key] = self._calmer(key, now_s)

    def _calmed(self, key: Key) -> _Calm:
        return self._calm.get(key, _Calm())

    def _calmer(self, key: Key, now_s: float) -> _Calm:
        """Longer than last time where something was left out, and went on until now."""
        before = self._calmed(key)
        flaps = before.unsaid and now_s < before.until_s + before.for_s
        for_s = min(before.for_s * 2, FLAP_LIMIT_S) if flaps else FLAP_S
        return _Calm(now_s + for_s, for_s)

    def _words(self, episode: Episode, now_s: float) -> str:
        unsaid = self._calmed((episode.environment, episode.service)).unsaid
        parts = [self.story(episode.events)]
        if episode.ended_s is None:
            parts.append(f"It began {now_s - episode.failed_s:.0f} s ago.")
        elif episode.standstill_s is not None:
            parts.append(f"It did not work for {episode.standstill_s:.2f} s.")
        if unsaid:
            parts.append(f"The same happened {unsaid} more time{'s' if unsaid > 1 else ''} since the last message.")
        return "\n".join(parts)

    def _say(self, key: Key, topics: Iterable[Topic], tone: Tone, title: str, body: str) -> None:
        self._ready.append(Notice(*key, frozenset(topics), tone, title, body))


def _topics(episode: Episode) -> set[Topic]:
    changed = any(one.name == "primary.changed" for one in episode.events)
    return {Topic.INCIDENT, Topic.ROLE} if changed else {Topic.INCIDENT}


def _again(event: Event) -> bool:
    """Not the first primary that the service ever had."""
    generation = event.fields.get("generation")
    return isinstance(generation, int) and generation > 1
