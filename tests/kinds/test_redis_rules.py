"""What is done to a Redis group, and what is not, in every situation that was met or feared."""

from dataclasses import replace

import pytest

from everup.core.plan import plan
from everup.model.actions import StartNode
from everup.model.observed import Attempt, Ground, Observed
from tests.redis_words import haproxy
from tests.worlds import GENERATION, NOW_S, because, deeds, held, redis, shown, world

GROUP = redis()
SINGLE = redis(ha=False)
DATA = {"redis01-1", "redis01-2", "redis01-3"}
VOTERS = {"redis01-sentinel-1", "redis01-sentinel-2", "redis01-sentinel-3"}
EVERYTHING = {node.id for node in GROUP.nodes}
TO_FIRST = ("--replicaof", "127.77.0.11", "6379")
TO_SECOND = ("--replicaof", "127.77.0.12", "6379")
NEVER = {"primary": None, "generation": 0, "emptied": DATA}


def refused(at_s: float = NOW_S, operation: str = "failover") -> dict[str, Attempt]:
    return {operation: Attempt(at_s, False, "fewer than 2 Sentinels granted their vote")}


def test_nothing_is_done_while_all_is_well():
    assert (deeds(GROUP, world(GROUP)), held(GROUP, world(GROUP))) == ([], {})
    assert deeds(SINGLE, world(SINGLE)) == []


# -- founding


def test_the_first_node_of_a_new_group_is_recorded_before_anything_starts():
    new = world(GROUP, down=EVERYTHING, cold=EVERYTHING, **NEVER)
    assert deeds(GROUP, new)[0] == ("Accept", "redis01-1")
    assert DATA & {action.node.id for action in plan([GROUP], new) if isinstance(action, StartNode)} == set()
    assert set(held(GROUP, new)) == DATA


def test_then_only_the_recorded_primary_starts():
    founded = world(GROUP, down=DATA, cold=DATA, generation=1, marked=0, emptied=DATA)
    assert deeds(GROUP, founded) == [("StartNode", "redis01-1")]


def test_replicas_join_once_the_primary_is_ready():
    led = world(GROUP, down={"redis01-2", "redis01-3"}, generation=1, marked=0, emptied=DATA)
    joins = [("StartNode", "redis01-2", *TO_FIRST), ("StartNode", "redis01-3", *TO_FIRST)]
    assert deeds(GROUP, led) == joins


def test_a_primary_that_is_loading_is_waited_for():
    loading = world(GROUP, down={"redis01-2"}, data={"redis01-1": {"loading": True}})
    assert ("StartNode", "redis01-2", *TO_FIRST) not in deeds(GROUP, loading)
    assert "redis01-2" in held(GROUP, loading)


def test_nobody_is_recorded_before_every_member_was_looked_at():
    assert "Accept" not in {deed[0] for deed in deeds(GROUP, world(GROUP, primary=None, absent={"redis01-3"}))}


def test_a_lost_record_is_taken_from_who_leads():
    lost = world(GROUP, primary=None, roles={"redis01-2": None, "redis01-1": "redis01-2", "redis01-3": "redis01-2"})
    assert ("Accept", "redis01-2") in deeds(GROUP, lost)


def test_a_lost_record_of_a_dead_group_is_taken_from_the_newest_data():
    marks = {"redis01-1": 2, "redis01-2": 3, "redis01-3": 3}
    lost = world(GROUP, primary=None, down=EVERYTHING, cold=EVERYTHING, emptied={"redis01-3"}, marks=marks)
    assert deeds(GROUP, lost)[0] == ("Accept", "redis01-2")


# -- a dead primary


def test_a_dead_primary_is_failed_over_at_once():
    dead = world(GROUP, down={"redis01-1"})
    assert deeds(GROUP, dead) == [("Operate", "failover", "redis01-1")]
    assert because(GROUP, dead) == "redis01-1 is dead, redis01-2 was in sync, and 3 of 3 Sentinels answer"


def test_the_replica_that_is_furthest_is_named_in_the_reason():
    ahead = world(GROUP, down={"redis01-1"}, data={"redis01-3": {"offset": 9000}})
    assert "redis01-3 was in sync" in because(GROUP, ahead)


def test_a_majority_of_sentinels_is_enough():
    dead = world(GROUP, down={"redis01-1", "redis01-sentinel-3"})
    assert ("Operate", "failover", "redis01-1") in deeds(GROUP, dead)
    assert "2 of 3 Sentinels" in because(GROUP, dead)


def test_without_a_majority_the_primary_is_restarted_in_place():
    dead = world(GROUP, down={"redis01-1", "redis01-sentinel-2", "redis01-sentinel-3"})
    assert ("StartNode", "redis01-1") in deeds(GROUP, dead)
    assert "its data is there" in because(GROUP, dead)
    assert ("Operate", "failover", "redis01-1") not in deeds(GROUP, dead)


def test_a_suspect_primary_is_not_a_dead_one():
    assert deeds(GROUP, world(GROUP, suspect={"redis01-1"})) == []


def test_a_hung_primary_is_fenced_first():
    hung = world(GROUP, hung={"redis01-1"})
    assert deeds(GROUP, hung) == [("Fence", "redis01-1")]
    assert because(GROUP, hung) == "it runs, but has not answered for 3.4 s"


def test_a_single_node_is_restarted_with_its_data():
    assert deeds(SINGLE, world(SINGLE, down={"redis01-1"})) == [("StartNode", "redis01-1")]
    assert "the only node" in because(SINGLE, world(SINGLE, down={"redis01-1"}))


@pytest.mark.parametrize("blueprint", [GROUP, SINGLE])
@pytest.mark.parametrize("sentinels_down", [set(), VOTERS])
def test_an_emptied_primary_never_starts_while_its_data_is_marked_somewhere(blueprint, sentinels_down):
    down = {node.id for node in blueprint.nodes if node.part == "data"} | sentinels_down
    emptied = world(blueprint, down=down, emptied=down)
    assert not [deed for deed in deeds(blueprint, emptied) if deed[1] in DATA]
    assert "it is not started empty" in held(blueprint, emptied)["redis01-1"]


def test_a_primary_with_older_data_never_starts():
    older = world(GROUP, down=DATA, marks={"redis01-1": 2, "redis01-2": 2, "redis01-3": None})
    assert not [deed for deed in deeds(GROUP, older) if deed[1] in DATA]


def test_the_node_that_still_has_the_newest_data_is_recorded_instead_of_an_emptied_one():
    emptied = world(GROUP, down=DATA, emptied={"redis01-1"}, marks={"redis01-2": 2})
    assert deeds(GROUP, emptied) == [("Accept", "redis01-3")]


@pytest.mark.parametrize(
    "unfit",
    [{"marks": {"redis01-2": 2}}, *({"data": {"redis01-2": {what: True}}} for what in ("syncing", "loading"))],
    ids=["older", "copying", "loading"],
)
def test_an_unfit_replica_is_no_reason_to_fail_over(unfit):
    dead = world(GROUP, down={"redis01-1", "redis01-3"}, **unfit)
    assert ("StartNode", "redis01-1") in deeds(GROUP, dead)
    assert "no replica was in sync" in because(GROUP, dead)


def test_a_replica_that_was_cut_off_long_before_the_death_is_unfit():
    cut = world(GROUP, down={"redis01-1", "redis01-3"}, good_s={"redis01-2": NOW_S - 6})
    assert deeds(GROUP, cut)[0] == ("StartNode", "redis01-1")


def test_a_crash_loop_is_waited_for():
    observed = world(SINGLE, down={"redis01-1"})
    status = observed.nodes["redis01-1"]
    state = replace(status.state, retry_at_s=NOW_S + 2.5, failure="it ended with exit code 1")
    looping = replace(observed, nodes={**observed.nodes, "redis01-1": replace(status, state=state)})
    assert deeds(SINGLE, looping) == []
    assert held(SINGLE, looping) == {"redis01-1": "it ended with exit code 1; next start in 2.5 s"}


# -- a primary that dies before the generation that began with it was marked


def test_a_new_primary_that_dies_before_it_was_marked_starts_with_its_data():
    marks = {"redis01-1": 3, "redis01-2": 3, "redis01-3": 3}
    young = world(GROUP, primary="redis01-2", generation=4, marked=3, marks=marks, down=DATA)
    assert deeds(GROUP, young) == [("StartNode", "redis01-2")]


def test_a_new_primary_that_dies_before_it_was_marked_is_failed_over():
    marks = {"redis01-1": 3, "redis01-2": 3, "redis01-3": 3}
    young = world(GROUP, primary="redis01-2", generation=4, marked=3, marks=marks, down={"redis01-1", "redis01-2"})
    assert deeds(GROUP, young) == [("Operate", "failover", "redis01-2")]


def test_once_it_was_marked_the_others_are_older():
    marks = {"redis01-1": 3, "redis01-2": 4, "redis01-3": 3}
    marked = world(GROUP, primary="redis01-2", generation=4, marks=marks, down=DATA, emptied={"redis01-2"})
    assert deeds(GROUP, marked) == []


# -- failover that was refused


def test_after_a_refused_failover_the_primary_is_restarted_in_place():
    asked_again = dict.fromkeys(EVERYTHING, NOW_S - 0.001)
    dead = world(GROUP, down={"redis01-1"}, dead_s=NOW_S - 1, attempts=refused(NOW_S - 0.5), read_s=asked_again)
    assert deeds(GROUP, dead) == [("StartNode", "redis01-1")]
    assert "fewer than 2 Sentinels granted their vote" in because(GROUP, dead)


def test_it_does_not_start_before_everybody_was_asked_again():
    stale = world(GROUP, down={"redis01-1"}, dead_s=NOW_S - 1, attempts=refused())
    assert deeds(GROUP, stale) == []
    assert "asked again" in held(GROUP, stale)["redis01-1"]


def test_a_refusal_before_this_death_does_not_count():
    assert ("Operate", "failover", "redis01-1") in deeds(
        GROUP, world(GROUP, down={"redis01-1"}, attempts=refused(NOW_S - 60))
    )


def test_a_refused_failover_is_tried_again_where_nothing_else_can_help():
    emptied = {"down": {"redis01-1"}, "emptied": {"redis01-1"}, "dead_s": NOW_S - 60}
    assert deeds(GROUP, world(GROUP, attempts=refused(NOW_S - 0.5), **emptied)) == []
    assert deeds(GROUP, world(GROUP, attempts=refused(NOW_S - 20), **emptied)) == [("Operate", "failover", "redis01-1")]


# -- an Everup that was away


def test_nothing_leads_before_the_sentinels_said_who_led_last():
    back = world(GROUP, down=EVERYTHING, cold=EVERYTHING)
    assert DATA & {deed[1] for deed in deeds(GROUP, back)} == set()
    assert "before the Sentinels say" in held(GROUP, back)["redis01-1"]
    assert {deed[1] for deed in deeds(GROUP, back)} >= VOTERS


def test_when_they_name_the_recorded_primary_it_starts():
    assert ("StartNode", "redis01-1") in deeds(GROUP, world(GROUP, down=DATA, cold=DATA))


def test_whom_they_chose_meanwhile_is_recorded_and_then_started():
    chosen = world(GROUP, down=DATA, cold=DATA, named="redis01-3")
    assert deeds(GROUP, chosen)[0] == ("Accept", "redis01-3")
    accepted = world(
        GROUP, primary="redis01-3", generation=4, marked=3, marks=dict.fromkeys(DATA, 3), down=DATA, cold=DATA
    )
    assert deeds(GROUP, accepted) == [("StartNode", "redis01-3")]


def test_whom_they_chose_meanwhile_is_recorded_when_it_leads():
    roles = {"redis01-1": "redis01-2", "redis01-2": None, "redis01-3": "redis01-2"}
    assert deeds(GROUP, world(GROUP, roles=roles, named="redis01-2"))[0] == ("Accept", "redis01-2")


def test_an_everup_that_died_after_the_vote_starts_a_failover_anew():
    dead = world(GROUP, down={"redis01-1"}, cold={"redis01-1"})
    assert deeds(GROUP, dead) == [("Operate", "failover", "redis01-1")]


def test_an_everup_that_died_after_the_promotion_finishes_it():
    promoted = world(GROUP, down={"redis01-1"}, cold={"redis01-1"}, roles={"redis01-3": None})
    assert deeds(GROUP, promoted)[0] == ("Operate", "failover", "redis01-1")
    assert "redis01-3 was already promoted" in because(GROUP, promoted)


def test_an_everup_that_died_after_the_publication_only_records_it():
    published = world(GROUP, down={"redis01-1"}, cold={"redis01-1"}, roles={"redis01-3": None}, named="redis01-3")
    assert deeds(GROUP, published)[0] == ("Accept", "redis01-3")


# -- replicas


def test_a_dead_replica_is_restarted_and_nothing_else_is_touched():
    dead = world(GROUP, down={"redis01-2"})
    assert deeds(GROUP, dead) == [("StartNode", "redis01-2", *TO_FIRST)]


def test_an_old_primary_returns_as_a_replica():
    over = world(GROUP, primary="redis01-2", down={"redis01-1"}, marks={"redis01-1": 2})
    assert deeds(GROUP, over) == [("StartNode", "redis01-1", *TO_SECOND)]


def test_a_replica_waits_while_there_is_no_primary():
    headless = world(GROUP, hung={"redis01-1"}, down={"redis01-2"})
    assert "redis01-2" in held(GROUP, headless)
    assert ("StartNode", "redis01-2", *TO_FIRST) not in deeds(GROUP, headless)


def test_a_replica_that_follows_somebody_else_is_repointed():
    astray = world(GROUP, roles={"redis01-3": "redis01-2"})
    assert deeds(GROUP, astray) == [("Operate", "follow", "redis01-3")]


def test_a_replica_is_not_pulled_away_from_whom_the_sentinels_chose():
    roles = {"redis01-2": None, "redis01-3": "redis01-2"}
    assert deeds(GROUP, world(GROUP, roles=roles, named="redis01-2")) == [("Accept", "redis01-2")]


# -- two primaries, or none


def test_a_second_primary_steps_down_once_the_sentinels_name_the_first():
    assert deeds(GROUP, world(GROUP, roles={"redis01-3": None})) == [("Operate", "follow", "redis01-3")]


def test_a_second_primary_is_left_alone_until_the_sentinels_have_spoken():
    unsaid = world(GROUP, roles={"redis01-3": None}, opinions={v: {"known": False} for v in VOTERS})
    assert ("Operate", "follow", "redis01-3") not in deeds(GROUP, unsaid)
    assert "redis01-3 leads too" in held(GROUP, unsaid)["redis01-3"]


def test_the_newest_view_of_a_sentinel_counts():
    opinions = {"redis01-sentinel-2": {"named": "redis01-3", "epoch": 7}}
    assert deeds(GROUP, world(GROUP, roles={"redis01-3": None}, opinions=opinions))[0] == ("Accept", "redis01-3")


def test_a_group_without_a_primary_gets_one_after_a_while():
    leaderless = world(GROUP, roles={"redis01-1": "redis01-2"})
    assert deeds(GROUP, leaderless) == [("Operate", "failover")]
    justnow = replace(leaderless, now_s=NOW_S - 98)
    assert deeds(GROUP, justnow) == []


def test_a_single_node_that_runs_as_a_replica_is_promoted():
    alone = redis(ha=False, was=True)
    assert deeds(alone, world(alone, roles={"redis01-1": "redis01-2"}, down={"redis01-2"})) == [("Operate", "promote")]


# -- stale readings


def test_what_was_read_before_the_last_change_of_roles_decides_nothing():
    changed = {"failover": Attempt(NOW_S, True, "redis01-1 took over")}
    for before in (
        {"roles": {"redis01-3": None}},
        {"roles": {"redis01-3": "redis01-2"}},
        {"roles": {"redis01-3": None}, "named": "redis01-3"},
        {"leads_to": "redis01-2"},
        {"marks": {"redis01-1": 2, "redis01-2": 2}},
    ):
        assert deeds(GROUP, world(GROUP, attempts=changed, **before)) == [], before


def test_a_new_reading_decides():
    changed = {"failover": Attempt(NOW_S - 0.1, True, "redis01-1 took over")}
    again = {"redis01-1": NOW_S - 0.05, "redis01-3": NOW_S - 0.05, "redis01-sentinel-1": NOW_S - 0.05}
    seen = world(GROUP, attempts=changed, read_s=again, roles={"redis01-3": None})
    assert deeds(GROUP, seen) == [("Operate", "follow", "redis01-3")]


# -- the endpoint


def test_the_endpoint_is_pointed_at_the_primary():
    astray = world(GROUP, leads_to="redis01-2")
    assert deeds(GROUP, astray) == [("Operate", "lead")]
    assert because(GROUP, astray) == "the endpoint leads to 127.77.0.12:6379, up; the primary is redis01-1"


def test_an_endpoint_that_leads_nowhere_yet_is_pointed():
    observed = world(SINGLE)
    end = observed.nodes["redis01-endpoint"]
    for words in (haproxy("127.77.0.11:6379", up=False), haproxy("127.77.0.11:6379", admin=1)):
        reading = SINGLE.nodes[-1].probe.read(words)
        nodes = {**observed.nodes, end.state.service + "-endpoint": replace(end, reading=reading)}
        assert deeds(SINGLE, replace(observed, nodes=nodes)) == [("Operate", "lead")]


def test_the_endpoint_is_not_pointed_at_a_primary_that_is_unwell():
    assert deeds(GROUP, world(GROUP, leads_to="redis01-2", suspect={"redis01-1"})) == []


def test_the_endpoint_is_asked_again_before_it_is_pointed_again():
    tried = {"lead": Attempt(NOW_S - 0.1, True, "the endpoint leads to redis01-1")}
    assert deeds(GROUP, world(GROUP, leads_to="redis01-2", attempts=tried)) == []


# -- Sentinels


def test_a_sentinel_that_watches_nothing_is_told_what_to_watch():
    new = world(GROUP, opinions={"redis01-sentinel-2": {"known": False}})
    assert deeds(GROUP, new) == [("Operate", "enlist", "redis01-sentinel-2")]


@pytest.mark.parametrize(
    "lacks",
    [{"settings": {"quorum": "3"}}, {"settings": {"parallel-syncs": "1"}}, {"knobs": {"publish-period": "2000"}}],
)
def test_a_sentinel_with_other_settings_gets_the_right_ones(lacks):
    assert deeds(GROUP, world(GROUP, opinions={"redis01-sentinel-3": lacks})) == [
        ("Operate", "enlist", "redis01-sentinel-3")
    ]


def test_sentinels_are_told_one_at_a_time():
    assert deeds(GROUP, world(GROUP, opinions={v: {"known": False} for v in VOTERS})) == [
        ("Operate", "enlist", "redis01-sentinel-1")
    ]


GHOSTS = {voter: {"ghosts": ("127.77.0.14:6379",)} for voter in VOTERS}


def test_ghosts_are_forgotten_by_one_sentinel_at_a_time():
    assert deeds(GROUP, world(GROUP, opinions=GHOSTS)) == [("Operate", "forget", "redis01-sentinel-1")]


def test_the_next_one_forgets_once_the_first_knows_everybody_again():
    learning = {**GHOSTS, "redis01-sentinel-1": {"missing": ("127.77.0.12:6379",)}}
    assert deeds(GROUP, world(GROUP, opinions=learning)) == []
    learnt = {**GHOSTS, "redis01-sentinel-1": {}}
    assert deeds(GROUP, world(GROUP, opinions=learnt)) == [("Operate", "forget", "redis01-sentinel-2")]


@pytest.mark.parametrize("unwell", [{"suspect": {"redis01-1"}}, {"hung": {"redis01-1"}}, {"down": {"redis01-1"}}])
def test_nobody_forgets_while_the_primary_is_unwell(unwell):
    assert not [deed for deed in deeds(GROUP, world(GROUP, opinions=GHOSTS, **unwell)) if "forget" in deed]


@pytest.mark.parametrize("how", ["down", "hung", "suspect"])
def test_nobody_forgets_or_restarts_while_another_sentinel_is_missing(how):
    for memory in ({"ghosts": ("127.77.0.14:6379",)}, {"flagged": ("redis01-sentinel-1",)}):
        unwell = world(
            GROUP,
            opinions={"redis01-sentinel-1": memory, "redis01-sentinel-2": memory},
            **{how: {"redis01-sentinel-3"}},
        )
        assert not [deed for deed in deeds(GROUP, unwell) if "redis01-sentinel-3" not in deed and deed[0] != "Hold"], (
            memory
        )


def test_a_sentinel_that_still_notes_the_primary_as_down_is_restarted_alone():
    flags = {voter: {"flagged": tuple(VOTERS)} for voter in VOTERS}
    assert deeds(GROUP, world(GROUP, opinions=flags)) == [("StopNode", "redis01-sentinel-1")]


def test_it_is_not_restarted_before_the_primary_was_well_for_a_while():
    flags = {voter: {"flagged": tuple(VOTERS)} for voter in VOTERS}
    recently = {"failover": Attempt(NOW_S - 9, True, "redis01-1 took over")}
    assert deeds(GROUP, world(GROUP, opinions=flags, attempts=recently)) == []


# -- generation marks


def test_the_primary_and_replicas_in_sync_are_marked():
    unmarked = world(GROUP, marks={"redis01-1": 2, "redis01-2": None})
    marks = [("Mark", "redis01-1", str(GENERATION)), ("Mark", "redis01-2", str(GENERATION))]
    assert deeds(GROUP, unmarked) == marks


@pytest.mark.parametrize(
    ("word", "value"), [("link_up", False), ("syncing", True), ("loading", True), ("rewriting", True)]
)
def test_a_replica_is_not_marked_before_its_data_is_there_and_saved(word, value):
    assert deeds(GROUP, world(GROUP, marks={"redis01-2": 2}, data={"redis01-2": {word: value}})) == []


def test_a_mark_that_was_not_recorded_is_made_again():
    assert deeds(SINGLE, world(SINGLE, marked=2)) == [("Mark", "redis01-1", str(GENERATION))]


def test_a_replica_of_somebody_else_is_not_marked():
    astray = world(GROUP, marks={"redis01-3": 2}, roles={"redis01-3": "redis01-2"})
    assert "Mark" not in {deed[0] for deed in deeds(GROUP, astray)}


def test_a_node_without_data_is_not_marked():
    assert deeds(GROUP, world(GROUP, emptied={"redis01-2"})) == []


# -- rolling replacement


def test_replicas_are_replaced_first_and_one_at_a_time():
    due = world(GROUP, changed=DATA)
    assert deeds(GROUP, due) == [("StartNode", "redis01-2", *TO_FIRST)]
    assert set(held(GROUP, due)) == {"redis01-1", "redis01-3"}


def test_the_next_waits_until_the_one_before_is_back_in_sync():
    back = world(GROUP, changed={"redis01-1", "redis01-3"}, data={"redis01-2": {"link_up": False}})
    assert deeds(GROUP, back) == []
    assert "waits for redis01-2" in held(GROUP, back)["redis01-3"]


def test_a_replica_that_is_unwell_because_of_how_it_was_declared_is_replaced():
    broken = world(GROUP, changed={"redis01-1", "redis01-2"}, data={"redis01-2": {"link_up": False}})
    assert deeds(GROUP, broken) == [("StartNode", "redis01-2", *TO_FIRST)]


def test_the_primary_hands_over_before_it_is_replaced():
    last = world(GROUP, changed={"redis01-1"})
    assert deeds(GROUP, last) == [("Operate", "switchover")]
    assert "redis01-1" in held(GROUP, last)
    over = world(GROUP, changed={"redis01-1"}, primary="redis01-2")
    assert deeds(GROUP, over) == [("StartNode", "redis01-1", *TO_SECOND)]


def test_a_primary_of_a_group_waits_for_an_heir():
    no_heir = world(GROUP, changed={"redis01-1"}, marks={"redis01-2": 2, "redis01-3": 2})
    assert [deed for deed in deeds(GROUP, no_heir) if deed[0] != "Mark"] == []
    assert "redis01-1" in held(GROUP, no_heir)


def test_a_single_node_is_replaced_in_place():
    due = world(SINGLE, changed={"redis01-1"})
    assert deeds(SINGLE, due) == [("StartNode", "redis01-1")]
    assert "writes wait until it is back" in because(SINGLE, due)


def test_sentinels_are_replaced_one_at_a_time_while_all_others_are_ready():
    assert deeds(GROUP, world(GROUP, changed=VOTERS)) == [("StartNode", "redis01-sentinel-1")]
    unwell = world(GROUP, changed=VOTERS, suspect={"redis01-3"})
    assert deeds(GROUP, unwell) == []


def test_a_changed_replica_never_starts_as_a_primary_whatever_the_record():
    lost = world(GROUP, changed=DATA, primary=None)
    assert [deed for deed in deeds(GROUP, lost) if deed[0] == "StartNode"] == []


# -- more nodes, and fewer


def test_ha_leaves_the_first_node_as_it_is():
    alone, first = SINGLE.nodes[0], GROUP.nodes[0]
    assert (alone.id, alone.digest, alone.ports) == (first.id, first.digest, first.ports)
    assert SINGLE.endpoint == GROUP.endpoint
    assert SINGLE.bindings["URL"] == GROUP.bindings["URL"]


def test_ha_only_adds_nodes():
    new = EVERYTHING - {"redis01-1", "redis01-endpoint"}
    grown = world(GROUP, down=new, cold=new)
    assert {deed[0] for deed in deeds(GROUP, grown)} == {"StartNode"}
    assert {deed[1] for deed in deeds(GROUP, grown)} == EVERYTHING - {"redis01-1", "redis01-endpoint"}
    assert ("StartNode", "redis01-2", *TO_FIRST) in deeds(GROUP, grown)


SHRUNK = redis(ha=False, was=True)
LEFT = dict.fromkeys(VOTERS | {"redis01-3"}, "redis01")


def test_without_ha_the_other_nodes_are_stopped_and_their_data_is_kept():
    after = world(SHRUNK, stray={**LEFT, "redis01-2": "redis01"})
    assert {deed[1] for deed in deeds(SHRUNK, after)} == {*LEFT, "redis01-2"}
    assert all(action.keep_data for action in plan([SHRUNK], after))


ELSEWHERE = {"primary": "redis01-2", "roles": {"redis01-2": None, "redis01-1": "redis01-2"}}


def test_without_ha_a_primary_elsewhere_waits_until_no_sentinel_can_object():
    after = world(SHRUNK, stray=LEFT, **ELSEWHERE)
    assert {deed[1] for deed in deeds(SHRUNK, after)} == set(LEFT)
    assert "redis01-2" in held(SHRUNK, after)


def test_without_ha_a_primary_elsewhere_hands_over_before_it_is_stopped():
    after = world(SHRUNK, **ELSEWHERE)
    assert deeds(SHRUNK, after) == [("Operate", "switchover", "redis01-1")]
    over = world(SHRUNK, roles={"redis01-2": "redis01-1"})
    assert deeds(SHRUNK, over) == [("StopNode", "redis01-2")]


def test_without_ha_a_dead_primary_elsewhere_starts_where_it_was():
    assert deeds(SHRUNK, world(SHRUNK, down={"redis01-2"}, **ELSEWHERE)) == [("StartNode", "redis01-2")]


def test_without_ha_the_first_node_leads_when_the_primary_elsewhere_lost_its_data():
    lost = world(SHRUNK, down={"redis01-2"}, emptied={"redis01-2"}, **ELSEWHERE)
    assert deeds(SHRUNK, lost) == [("Accept", "redis01-1")]


# -- the same input, the same output


def test_a_plan_is_repeatable():
    observed = world(GROUP, down={"redis01-1"}, opinions=GHOSTS, changed=VOTERS)
    assert shown(plan([GROUP], observed)) == shown(plan([GROUP], observed))


def test_no_data_node_is_started_before_it_was_looked_at():
    unseen = world(GROUP, absent={"redis01-1"})
    assert "redis01-1" not in unseen.nodes
    assert not [deed for deed in deeds(GROUP, unseen) if deed[1] == "redis01-1"]


# -- leaving a host


def on_host(observed: Observed, node_id: str, ground: Ground = Ground.DRAINED) -> Observed:
    before = observed.nodes[node_id]
    state = replace(before.state, host="node1", address="10.0.0.1", ground=ground)
    return replace(observed, nodes={**observed.nodes, node_id: replace(before, state=state)})


def test_a_primary_on_a_drained_host_hands_over_to_a_replica_that_is_not():
    drained = on_host(world(GROUP), "redis01-1")
    assert deeds(GROUP, drained) == [("Operate", "switchover", "redis01-2")]
    assert because(GROUP, drained) == "its host node1 is drained, and redis01-1 leads there"
    both = on_host(drained, "redis01-2")
    assert deeds(GROUP, both) == [("Operate", "switchover", "redis01-3")]


def test_it_stays_where_it_is_while_nobody_else_is_fit():
    alone = on_host(on_host(on_host(world(GROUP), "redis01-1"), "redis01-2"), "redis01-3")
    assert deeds(GROUP, alone) == []
    assert "it hands over" in held(GROUP, alone)["redis01-1"]


def test_replicas_and_sentinels_on_a_drained_host_stay_there():
    assert deeds(GROUP, on_host(on_host(world(GROUP), "redis01-2"), "redis01-sentinel-1")) == []


def test_a_dead_replica_on_a_drained_host_is_started_again_there():
    down = on_host(world(GROUP, down={"redis01-2"}), "redis01-2")
    assert deeds(GROUP, down) == [("StartNode", "redis01-2", *TO_FIRST)]


def test_a_single_server_stays_on_a_drained_host():
    assert deeds(SINGLE, on_host(world(SINGLE), "redis01-1")) == []


def test_of_equal_replicas_one_whose_host_stays_takes_over():
    dead = on_host(world(GROUP, down={"redis01-1"}), "redis01-2")
    assert because(GROUP, dead).startswith("redis01-1 is dead, redis01-3 was in sync")
