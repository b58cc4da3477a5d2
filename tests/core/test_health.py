"""From answers and silence to a verdict."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everup.core.health import TABLE, Answer, Patience, judge, service_health, witness
from everup.core.plan import view_of
from everup.core.rules import tell_full_disks
from everup.model.desired import Part
from everup.model.observed import Confirmed, Health, NodeState, NodeStatus, Reading
from tests.worlds import plain, redis, web, world

RUNS = NodeState(running=True, service="web", pid=1)
ENDED = NodeState(running=False, service="web", dead=Confirmed("web-1", 9.0, 1))
GOOD = Reading(ready=True)
BAD = Reading(ready=False, because="it is loading")
PATIENCE = Patience(hang_s=3.0, misses=2)

BEFORE = {
    Health.UNKNOWN: NodeStatus(),
    Health.STARTING: NodeStatus(Health.STARTING, RUNS),
    Health.READY: NodeStatus(Health.READY, RUNS, GOOD, good_s=9.0),
    Health.SUSPECT: NodeStatus(Health.SUSPECT, RUNS, BAD, good_s=9.0),
    Health.HUNG: NodeStatus(Health.HUNG, RUNS, GOOD, good_s=1.0, misses=4, silent_since_s=2.0),
    Health.DOWN: NodeStatus(Health.DOWN, ENDED, good_s=9.0),
}


def learn(before: NodeStatus, answer: Answer) -> NodeStatus:
    """Let the node, at second 10, give that answer in the way it comes about."""
    match answer:
        case Answer.FOUND | Answer.STARTED:
            return witness(before, replace(RUNS, pid=2), 10.0)
        case Answer.GONE:
            return witness(before, ENDED, 10.0)
        case Answer.GOOD:
            return judge(before, GOOD, 10.0, 9.9, PATIENCE)
        case Answer.BAD:
            return judge(before, BAD, 10.0, 9.9, PATIENCE)
        case Answer.SILENT:
            return judge(replace(before, misses=0, silent_since_s=None), None, 10.0, 9.0, PATIENCE)
        case Answer.MUTE:
            return judge(replace(before, misses=3, silent_since_s=6.5), None, 10.0, 9.0, PATIENCE)


@pytest.mark.parametrize(("before", "answer"), TABLE, ids=lambda word: word.value)
def test_every_row_of_the_table_comes_about(before, answer):
    health, because = TABLE[before, answer]
    after = learn(BEFORE[before], answer)
    assert after.health == health
    if (before, answer) != (Health.DOWN, Answer.GONE):  # where the first reason stays
        assert after.because == (BAD.because if answer == Answer.BAD else because)


@pytest.mark.parametrize("health", Health, ids=lambda health: health.value)
def test_every_health_can_be_reached_and_left(health):
    assert health == Health.UNKNOWN or any(after == health != before for (before, _), (after, _) in TABLE.items())
    assert any(before == health != after for (before, _), (after, _) in TABLE.items())


@pytest.mark.parametrize("reading", [GOOD, BAD, None])
def test_a_dead_node_has_nothing_to_say(reading):
    assert judge(BEFORE[Health.DOWN], reading, 10.0, 9.9, PATIENCE) == BEFORE[Health.DOWN]


def test_a_node_is_hung_only_after_its_time_and_two_misses():
    status = BEFORE[Health.READY]
    status = judge(status, None, 10.0, 9.0, PATIENCE)
    assert (status.health, status.misses, status.silent_since_s) == (Health.SUSPECT, 1, 9.0)
    status = judge(status, None, 11.9, 10.9, PATIENCE)
    assert status.health == Health.SUSPECT
    status = judge(status, None, 12.0, 11.0, PATIENCE)
    assert status.health == Health.HUNG


def test_one_miss_is_not_enough_however_long_it_took():
    once = judge(BEFORE[Health.READY], None, 60.0, 10.0, PATIENCE)
    assert once.health == Health.SUSPECT
    assert judge(once, None, 61.0, 60.5, PATIENCE).health == Health.HUNG


def test_an_answer_ends_a_silence():
    status = judge(judge(BEFORE[Health.READY], None, 10.0, 9.0, PATIENCE), GOOD, 11.0, 10.9, PATIENCE)
    assert (status.health, status.misses, status.silent_since_s) == (Health.READY, 0, None)
    assert judge(status, None, 14.0, 13.9, PATIENCE).health == Health.SUSPECT


def test_a_bad_answer_is_an_answer():
    status = BEFORE[Health.READY]
    for second in range(10, 20):
        status = judge(status, BAD, float(second), second - 0.1, PATIENCE)
    assert (status.health, status.since_s, status.good_s) == (Health.SUSPECT, 10.0, 9.0)


def test_a_starting_node_may_be_silent_for_as_long_as_it_takes():
    status = BEFORE[Health.STARTING]
    for second in range(10, 100):
        status = judge(status, None, float(second), second - 1.0, PATIENCE)
    assert status.health == Health.STARTING


def test_what_was_read_counts_from_when_it_was_asked():
    assert judge(BEFORE[Health.READY], GOOD, 10.0, 9.4, PATIENCE).read_s == 9.4


def test_silence_keeps_what_was_read():
    status = judge(BEFORE[Health.READY], None, 10.0, 9.0, PATIENCE)
    assert (status.reading, status.good_s) == (GOOD, 9.0)


def test_a_new_process_forgets_what_the_old_one_said():
    status = witness(BEFORE[Health.HUNG], replace(RUNS, pid=2), 10.0)
    assert (status.reading, status.good_s, status.misses, status.silent_since_s) == (None, 0.0, 0, None)
    assert (status.health, status.since_s) == (Health.STARTING, 10.0)


def test_a_process_that_was_found_running_is_doubted_until_it_answers():
    found = witness(NodeStatus(), RUNS, 10.0)
    assert found.health == Health.SUSPECT
    assert judge(found, GOOD, 10.1, 10.0, PATIENCE).health == Health.READY
    silent = judge(judge(found, None, 11.0, 10.0, PATIENCE), None, 13.0, 12.0, PATIENCE)
    assert silent.health == Health.HUNG


def test_the_same_process_changes_nothing():
    assert witness(BEFORE[Health.READY], RUNS, 10.0) == BEFORE[Health.READY]
    newer = replace(RUNS, restarts=1, generation=4)
    assert witness(BEFORE[Health.READY], newer, 10.0) == replace(BEFORE[Health.READY], state=newer)


def test_a_dead_node_is_remembered_as_it_was_when_it_was_well():
    status = witness(BEFORE[Health.READY], ENDED, 10.0)
    assert (status.health, status.since_s, status.good_s) == (Health.DOWN, 10.0, 9.0)
    assert status.role is None


def test_a_process_that_was_confirmed_dead_is_not_revived_by_an_older_look():
    told = replace(RUNS, running=False, dead=Confirmed("web-1", 9.9, -9))
    dead = witness(BEFORE[Health.READY], told, 10.0)
    assert witness(dead, RUNS, 10.1) == dead
    assert witness(dead, replace(RUNS, pid=2), 10.2).health == Health.STARTING


answers = st.lists(st.sampled_from([GOOD, BAD, None, "started", "gone"]), max_size=30)


@settings(deadline=None)
@given(answers)
def test_whatever_comes_the_verdict_fits_the_process(comes):
    status, pid = NodeStatus(), 1
    for number, one in enumerate(comes):
        now_s = float(number)
        if one == "started":
            pid += 1
            status = witness(status, replace(RUNS, pid=pid), now_s)
            assert status.health in (Health.STARTING, Health.SUSPECT)
        elif one == "gone":
            status = witness(status, ENDED, now_s)
            assert status.health == Health.DOWN
        else:
            status = judge(status, one, now_s, now_s - 0.1, PATIENCE)
        assert status.state.running == (status.health not in (Health.DOWN, Health.UNKNOWN))
        assert status.ready <= (status.reading == GOOD)


# -- a service


def health(blueprint, **differences) -> tuple[str, str]:
    return service_health(blueprint, view_of(blueprint, world(blueprint, **differences)))


GROUP, WEB = redis(), web(2)


def test_a_service_is_healthy_when_every_node_is_ready():
    assert health(GROUP) == ("healthy", "every node is ready")
    assert health(WEB) == ("healthy", "every node is ready")


def test_it_is_degraded_while_it_works_with_less():
    assert health(GROUP, down={"redis01-2"})[0] == "degraded"
    assert health(GROUP, down={"redis01-sentinel-1"})[0] == "degraded"
    assert health(WEB, down={"web-1"})[0] == "degraded"


def test_it_is_down_without_its_primary_its_endpoint_or_its_last_instance():
    assert health(GROUP, down={"redis01-1"})[0] == "down"
    assert health(GROUP, hung={"redis01-1"})[0] == "down"
    assert health(GROUP, down={"redis01-endpoint"})[0] == "down"
    assert health(WEB, down={"web-1", "web-2"})[0] == "down"


def test_it_says_which_nodes_are_lacking():
    because = health(GROUP, down={"redis01-2", "redis01-3", "redis01-sentinel-1", "redis01-sentinel-2"})[1]
    assert because.startswith("redis01-2 is down: ")
    assert because.endswith("; and 1 more")


def test_it_is_starting_while_nothing_has_failed():
    everything = {node.id for node in GROUP.nodes}
    assert health(GROUP, cold=everything)[0] == "starting"
    assert health(GROUP, absent=everything)[0] == "starting"


def test_a_primary_that_is_not_on_record_is_none():
    assert health(GROUP, roles={"redis01-1": "redis01-2", "redis01-2": None}) == (
        "degraded",
        "it has no confirmed primary yet",
    )


def test_it_is_degraded_while_a_node_is_still_being_removed():
    assert health(WEB, stray={"web-3": "web"}) == ("degraded", "web-3 is still being removed")


def test_a_data_node_whose_disk_is_full_degrades_its_service_and_is_told():
    group = redis()
    observed = world(group)
    status = observed.nodes["redis01-1"]
    full = replace(status, state=replace(status.state, free_bytes=5 << 20))
    view = view_of(group, replace(observed, nodes={**observed.nodes, "redis01-1": full}))
    health, because = service_health(group, view)
    assert health == "degraded"
    assert "the disk of redis01-1 is full (5 MB left)" in because
    assert [action.node_id for action in tell_full_disks(group, view)] == ["redis01-1"]


def test_a_disk_with_room_and_one_that_nobody_can_ask_are_no_trouble():
    group = redis()
    observed = world(group)
    roomy = {
        node_id: replace(status, state=replace(status.state, free_bytes=1 << 30))
        for node_id, status in observed.nodes.items()
    }
    for nodes in (observed.nodes, roomy):
        assert list(tell_full_disks(group, view_of(group, replace(observed, nodes=nodes)))) == []


def test_who_is_replaced_is_not_missed_while_somebody_stands_in():
    covered = replace(WEB, stand_ins=(plain("web-surge", "web", Part.INSTANCE),))
    standing_in = {"stray": {"web-surge": "web"}}
    assert health(covered, down={"web-1"}, **standing_in) == ("healthy", "web-surge stands in for web-1")
    assert health(covered, down={"web-1", "web-2"}, **standing_in)[0] == "degraded"
    assert health(covered, **standing_in) == ("healthy", "every node is ready")
    assert health(covered, down={"web-endpoint"}, **standing_in)[0] == "down"
    assert health(covered, down={"web-1", "web-2"})[0] == "down"


def test_an_app_of_no_instances_works():
    assert health(web(0))[0] == "healthy"
