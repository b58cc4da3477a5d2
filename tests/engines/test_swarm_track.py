"""What is known of a node between two looks: its ends, its copies, and what silence leaves of it."""

from dataclasses import replace
from typing import Any

from everup.engines.swarm.services import Deployed
from everup.engines.swarm.sight import Sight
from everup.engines.swarm.track import Seen, Track
from everup.model.observed import EVERYWHERE, NodeState
from tests.engines.worlds import a_node

DEPLOYED = Deployed("svc", "shop", "web-1", "web", "d1", "f1", ticket=7, host_id="h1", wanted=True)
COPIED = replace(DEPLOYED, host_id="")
HOSTS = {"h1", "h2", "h3"}


def seen(**changes: Any) -> Seen:
    return Seen(
        "node1",
        Sight(**{"running": True, "service": "web", "digest": "d1", "files_digest": "f1", "start": 7, **changes}),
    )


def ended(**changes: Any) -> Seen:
    return seen(**{"running": False, "exit_code": 1, "ended_age_s": 2.0, **changes})


def started(now_s: float = 100.0) -> Track:
    track = Track("web-1", ticket=7)
    track.pace.started(now_s)
    track.take("h1", seen(), now_s)
    return track


def state(track: Track, silent: str = "", now_s: float = 101.0) -> NodeState:
    found = track.state(DEPLOYED, silent, now_s)
    assert found is not None
    return found


def test_an_end_is_news_once_whoever_tells_of_it_first() -> None:
    track = started()
    proof = track.take("h1", ended(), 110.0)
    assert proof is not None
    assert (proof.exit_code, proof.at_s) == (1, 108.0)
    assert track.ended(7, 1, 108.0) is None
    assert track.take("h1", ended(), 111.0) is None
    assert state(track).dead is proof


def test_an_end_that_was_asked_for_is_no_news_and_no_crash() -> None:
    track = started()
    track.asked = 7
    assert track.take("h1", ended(), 101.0) is None
    assert state(track).dead is not None
    assert (state(track).failure, state(track).retry_at_s) == ("", 0.0)


def test_what_had_ended_before_anybody_looked_is_no_news() -> None:
    track = Track("web-1")
    assert track.take("h1", ended(), 100.0) is None
    assert state(track).dead is not None


def test_an_end_by_a_drill_is_news_and_no_crash() -> None:
    track = started()
    track.staged = 7
    assert track.take("h1", ended(exit_code=-9), 101.0) is not None
    assert state(track).retry_at_s == 0.0


def test_a_crash_is_put_into_words_and_delays_the_next_start() -> None:
    track = started()
    track.take("h1", ended(last_line="no such table", ended_age_s=0.0), 100.5)
    assert state(track).failure == "exited with code 1 after 0.5 s: no such table"
    assert state(track).retry_at_s > 100.0


def test_an_end_for_memory_is_told_as_that() -> None:
    track = started()
    proof = track.take("h1", ended(exit_code=-9, killed_at_bytes=64 << 20, ended_age_s=0.0), 100.5)
    assert proof is not None
    assert proof.killed_at_bytes == 64 << 20
    assert state(track).failure == "was killed for memory: it was at its limit of 64 MiB after 0.5 s"


def test_a_late_word_of_a_former_start_says_nothing_of_the_newer_one() -> None:
    track = started()
    track.take("h1", ended(), 101.0)
    track.ticket = 8
    track.take("h1", seen(start=8), 102.0)
    assert track.ended(7, 1, 101.0) is None
    assert track.runs()
    assert track.take("h1", ended(start=8), 103.0) is not None


def test_an_answer_that_was_overtaken_by_an_end_does_not_revive() -> None:
    track = started()
    track.ended(7, -9, 101.0)
    track.take("h1", seen(), 101.1)
    assert not track.runs()
    assert not state(track).running


def test_a_failed_start_is_no_end() -> None:
    track = Track("web-1", ticket=7)
    assert track.take("h1", ended(failure="web-1: no such program"), 100.0) is None
    assert track.dead is None


def test_silence_leaves_a_node_as_it_was_seen_last() -> None:
    track = started()
    assert (state(track, "node1 does not answer").running, state(track, "node1 does not answer").failure) == (
        True,
        "node1 does not answer",
    )
    assert state(track, "node1 does not answer").dead is None


def test_silence_from_the_beginning_leaves_a_node_as_it_was_declared() -> None:
    unseen = state(Track("web-1"), "node1 does not answer")
    assert (unseen.running, unseen.digest, unseen.has_data, unseen.dead) == (True, "d1", True, None)
    stopped = Track("web-1").state(replace(DEPLOYED, wanted=False), "node1 does not answer", 1.0)
    assert stopped is not None
    assert not stopped.running


def test_a_node_that_its_host_does_not_know_does_not_run() -> None:
    unseen = state(Track("web-1"))
    assert (unseen.running, unseen.digest, unseen.has_data) == (False, "d1", False)
    assert Track("web-1").state(None, "", 1.0) is None


def test_copies_run_while_one_of_them_does() -> None:
    track = Track("web-1")
    track.seen = {"h1": ended(), "h2": seen(), "h3": ended()}
    one = track.together(COPIED, HOSTS, 1.0)
    assert one is not None
    assert (one.running, one.host, one.dead) == (True, EVERYWHERE, None)
    track.seen = {"h1": ended(), "h2": ended()}
    first, second = track.together(COPIED, HOSTS, 2.0), track.together(COPIED, HOSTS, 3.0)
    assert first and second
    assert not first.running
    assert first.dead == second.dead is not None


def test_the_copy_that_differs_speaks_for_all() -> None:
    track = Track("web-1", node=a_node(files={"a": "b"}))
    assert track.node
    newest = seen(files_digest=track.node.files_digest)
    track.seen = {"h1": newest, "h2": seen(files_digest="old"), "h3": newest}
    one = track.together(COPIED, HOSTS, 1.0)
    assert one and one.files_digest == "old"
    track.seen["h2"] = newest
    one = track.together(COPIED, HOSTS, 1.0)
    assert one and one.files_digest == track.node.files_digest


def test_tickets_only_ever_grow() -> None:
    track = started()
    track.take("h1", seen(ticket=12), 101.0)
    assert track.largest() == 12
    track.forget()
    track.ticket = max(track.ticket, 12)
    assert track.largest() == 12


def test_what_an_earlier_host_says_is_what_is_left_of_it_and_nothing_else() -> None:
    track = started()
    track.leave("h1", 7)
    assert (track.runs(), track.asked) == (False, 7)
    moved = replace(DEPLOYED, ticket=9, host_id="h2", moves=True)
    assert not track.remains("h2", seen(start=9), moved)
    track.take("h2", seen(start=9), 120.0)
    assert track.remains("h1", seen(start=7), moved)
    assert (set(track.seen), set(track.left)) == ({"h2"}, {"h1"})
    assert track.ended(7, 0, 121.0) is None  # the end of what was given up is no news
    assert track.runs()


def test_a_host_that_it_comes_back_to_has_nothing_left_of_it() -> None:
    track = started()
    assert track.remains("h1", seen(start=7), replace(DEPLOYED, ticket=9, host_id="h2", moves=True))
    assert not track.remains("h1", seen(start=11), replace(DEPLOYED, ticket=11, moves=True))
    assert track.left == {}


def test_data_are_never_taken_for_something_left_behind() -> None:
    track = started()
    assert not track.remains("h1", seen(start=7), replace(DEPLOYED, ticket=9, host_id="h2"))
    assert track.left == {}


def test_of_data_only_what_was_given_up_is_left_behind() -> None:
    track = started()
    anew = replace(DEPLOYED, ticket=12, host_id="h2", given_up=9)
    assert track.remains("h1", seen(start=7), anew)
    assert track.remains("h1", seen(start=9), anew)
    assert not track.remains("h1", seen(start=10), anew)  # a later start of it there: for a person to look at
    assert not track.remains("h2", seen(start=7), anew)
    assert track.left == {}


def test_a_copy_on_a_host_that_does_not_answer_is_not_gone_by_while_others_do() -> None:
    track = Track("web-1")
    track.seen = {"h1": seen(files_digest="older"), "h2": seen()}
    one = track.together(COPIED, {"h2"}, 1.0)
    assert one is not None
    assert one.files_digest == "f1"
    alone = track.together(COPIED, set(), 1.0)
    assert alone is not None
    assert alone.files_digest == "older"


def test_a_node_of_a_silent_host_says_so_apart_from_its_own_failures() -> None:
    track = started()
    found = state(track, "node1 does not answer")
    assert (found.silent, found.failure, found.running) == ("node1 does not answer",) * 2 + (True,)
    assert state(track).silent == ""


def test_why_a_start_came_to_nothing_is_known_to_the_next_control_plane_too() -> None:
    track = Track("web-1")
    track.take("h1", ended(failure="web-1: no such program"), 100.0)
    assert (state(track).running, state(track).failure) == (False, "web-1: no such program")
