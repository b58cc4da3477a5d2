"""What is planned for a whole environment, whatever runs in it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everup.core.plan import guard, plan, preview, summary, view_of, wind_down
from everup.model.actions import Accept, Fence, Hold, Mark, Operate, StartNode, StopNode
from everup.model.desired import Part
from everup.model.observed import Group, NodeState, Observed
from everup.model.picture import Change
from tests.worlds import NOW_S, deeds, held, redis, shown, web, world

GROUP, WEB = redis(), web(2)
ALL = {node.id for node in (*GROUP.nodes, *WEB.nodes)}


def test_an_environment_as_declared_needs_nothing():
    assert plan([GROUP, WEB], world(GROUP, WEB)) == ()


def test_an_engine_that_does_not_answer_says_nothing_about_nodes():
    actions = plan([GROUP, WEB], world(GROUP, WEB, down=ALL, engine_answers=False))
    assert [(type(action), action.service) for action in actions] == [(Hold, "redis01"), (Hold, "web")]


def test_a_missing_node_is_started_and_nothing_else_is_touched():
    assert deeds(WEB, world(WEB, down={"web-2"})) == [("StartNode", "web-2")]


def test_a_node_that_was_not_looked_at_is_not_started():
    unseen = world(WEB, absent={"web-2"})
    assert (deeds(WEB, unseen), held(WEB, unseen)) == ([], {"web-2": "it was not looked at yet"})


def test_an_instance_that_keeps_ending_is_waited_for():
    observed = world(WEB, down={"web-2"})
    state = replace(observed.nodes["web-2"].state, retry_at_s=NOW_S + 1.5, failure="it ended with exit code 3")
    nodes = {**observed.nodes, "web-2": replace(observed.nodes["web-2"], state=state)}
    observed = replace(observed, nodes=nodes)
    assert (deeds(WEB, observed), held(WEB, observed)) == (
        [],
        {"web-2": "it ended with exit code 3; next start in 1.5 s"},
    )
    later = replace(observed, now_s=NOW_S + 1.5)
    assert deeds(WEB, later) == [("StartNode", "web-2")]


def test_a_hung_node_is_fenced():
    assert deeds(WEB, world(WEB, hung={"web-1"})) == [("Fence", "web-1")]


def test_changed_nodes_are_replaced_one_at_a_time_while_all_others_are_ready():
    assert deeds(WEB, world(WEB, changed={"web-1", "web-2"})) == [("StartNode", "web-1")]
    assert deeds(WEB, world(WEB, changed={"web-1", "web-2"}, suspect={"web-2"})) == []
    assert deeds(WEB, world(WEB, changed={"web-1"}, suspect={"web-1"})) == [("StartNode", "web-1")]


def test_a_node_that_reloads_does_so_at_once():
    observed = world(WEB, suspect={"web-1"})
    end = observed.nodes["web-endpoint"]
    reloading = replace(end, state=replace(end.state, files_digest="earlier"))
    observed = replace(observed, nodes={**observed.nodes, "web-endpoint": reloading})
    assert deeds(WEB, observed) == [("StartNode", "web-endpoint")]


def test_nodes_that_are_no_longer_declared_are_stopped_and_keep_their_data():
    fewer = world(WEB, stray={"web-3": "web", "old-1": "old"})
    actions = plan([WEB], fewer)
    assert shown(actions) == [("StopNode", "web-3"), ("StopNode", "old-1")]
    assert all(isinstance(action, StopNode) and action.keep_data for action in actions)


def test_the_view_of_a_service_holds_what_runs_for_it_and_nothing_of_others():
    view = view_of(WEB, world(GROUP, WEB, stray={"web-3": "web"}))
    assert set(view.nodes) == {"web-1", "web-2", "web-endpoint", "web-3"}


# -- needs

APP = web(2, "redis01")


def test_instances_wait_for_what_they_need():
    starting = world(GROUP, APP, down={"redis01-1", "web-1", "web-2"}, cold=ALL)
    assert not [deed for deed in deeds(APP, starting, GROUP) if deed[1] in {"web-1", "web-2"}]
    waits = [action for action in plan([APP, GROUP], starting) if isinstance(action, Hold) and action.service == "web"]
    assert {action.because for action in waits} == {"it needs redis01, which is not ready yet"}


@pytest.mark.parametrize("lacks", ["redis01-1", "redis01-endpoint"])
def test_a_provider_serves_with_its_primary_and_its_endpoint(lacks):
    lacking = world(GROUP, APP, down={lacks, "web-1", "web-2"}, cold={"web-1", "web-2"})
    assert ("StartNode", "web-1") not in deeds(APP, lacking, GROUP)


def test_they_start_once_it_serves_whole_or_not():
    serving = world(GROUP, APP, down={"redis01-3", "web-1", "web-2"}, cold={"web-1", "web-2"})
    assert {("StartNode", "web-1"), ("StartNode", "web-2")} <= set(deeds(APP, serving, GROUP))


def test_a_service_that_served_once_does_not_wait_again():
    later = world(GROUP, APP, down={"redis01-1", "web-1"})
    assert ("StartNode", "web-1") in deeds(APP, later, GROUP)


def test_a_need_that_nobody_declares_holds_nobody_up():
    alone = web(1, "gone")
    assert ("StartNode", "web-1") in deeds(alone, world(alone, down={"web-1"}, cold={"web-1"}))


def test_the_endpoint_of_a_waiting_service_starts_already():
    starting = world(GROUP, APP, down=ALL, cold=ALL)
    assert ("StartNode", "web-endpoint") in deeds(APP, starting, GROUP)


# -- the guard


def test_only_the_first_proposal_per_node_passes():
    node = WEB.nodes[0]
    first, second = StartNode(node, "first"), StopNode(node.id, "web", "second")
    assert guard([first, second]) == [first]
    assert guard([Hold("web", "wait", node.id), first]) == [Hold("web", "wait", node.id)]


def test_only_one_operation_per_service_passes():
    first, second = Operate("redis01", "failover", "", "redis01-1"), Operate("redis01", "enlist", "", "redis01-2")
    assert guard([first, second]) == [first]
    assert guard([second, first]) == [second]


def test_what_an_operation_is_about_is_left_alone():
    operation, start = Operate("redis01", "failover", "", "redis01-1"), StartNode(GROUP.nodes[0], "")
    assert guard([operation, start]) == [operation]
    assert guard([start, operation]) == [start]


def test_records_and_marks_disturb_nobody():
    records = [Accept("redis01", "redis01-1", ""), Mark("redis01-1", "redis01", 1), StartNode(GROUP.nodes[0], "")]
    assert guard(records) == records


def test_a_hold_of_the_whole_service_holds_no_node():
    hold, start = Hold("web", "wait"), StartNode(WEB.nodes[0], "")
    assert guard([hold, start]) == [hold, start]


# -- stopping


def stopped(*actions: str) -> Observed:
    return world(GROUP, WEB, down=actions)


def test_all_is_stopped_from_those_who_use_to_those_who_are_used():
    order = []
    gone: set[str] = set()
    for _ in range(10):
        stops = wind_down([GROUP, WEB], stopped(*gone))
        if not stops:
            break
        order.append({action.node_id for action in stops})
        assert all(isinstance(action, StopNode) and action.keep_data for action in stops)
        gone |= order[-1]
    ends = {"redis01-endpoint", "web-endpoint"}
    fronts = {"redis01-front-1", "redis01-front-2", "redis01-front-3"}
    voters = {"redis01-sentinel-1", "redis01-sentinel-2", "redis01-sentinel-3"}
    assert order == [{"web-1", "web-2"}, ends | fronts, voters, {"redis01-2", "redis01-3"}, {"redis01-1"}]


def test_what_is_no_longer_declared_is_stopped_too():
    assert shown(wind_down([], world(stray={"old-1": "old"}))) == [("StopNode", "old-1")]


def test_when_nothing_runs_nothing_is_stopped():
    assert wind_down([GROUP, WEB], stopped(*ALL)) == ()


# -- the preview


def test_a_preview_of_what_runs_as_declared_is_empty():
    assert preview([GROUP, WEB], world(GROUP, WEB)) == ()


def test_a_preview_tells_what_happens_to_each_node():
    observed = world(WEB, changed={"web-1"}, down={"web-2"}, stray={"web-3": "web"})
    end = observed.nodes["web-endpoint"]
    nodes = {**observed.nodes, "web-endpoint": replace(end, state=replace(end.state, files_digest="earlier"))}
    assert preview([WEB], replace(observed, nodes=nodes)) == (
        Change("replace", "web-1", "its declaration changed"),
        Change("start", "web-2", "it does not run"),
        Change("reload", "web-endpoint", "its configuration changed"),
        Change("stop", "web-3", "it is no longer declared"),
    )


def test_a_preview_of_something_new_starts_all_of_it():
    changes = preview([WEB], Observed(0.0))
    assert [(change.action, change.node, change.because) for change in changes] == [
        ("start", node.id, "it is declared") for node in WEB.nodes
    ]


def test_every_action_has_two_words():
    node = WEB.nodes[0]
    words = [
        summary(action)
        for action in (
            StartNode(node, ""),
            StopNode("web-2", "web", ""),
            Fence("web-2", "web", ""),
            Operate("web", "switchover", ""),
            Operate("web", "enlist", "", "web-2"),
            Mark("web-2", "web", 1),
            Accept("web", "web-2", ""),
            Hold("web", ""),
            Hold("web", "", "web-2"),
        )
    ]
    assert words == [
        ("start", "web-1"),
        ("stop", "web-2"),
        ("fence", "web-2"),
        ("switchover", "web"),
        ("enlist", "web-2"),
        ("mark", "web-2"),
        ("accept", "web-2"),
        ("hold", "web"),
        ("hold", "web-2"),
    ]


# -- whatever is observed

NODES = [node.id for node in GROUP.nodes]
some = st.sets(st.sampled_from(NODES), max_size=4)


@settings(deadline=None, max_examples=150)
@given(down=some, hung=some, suspect=some, changed=some, emptied=some, cold=some, absent=some)
def test_the_first_actions_are_never_two_on_one_node_and_always_the_same(**differences):
    observed = world(GROUP, WEB, **differences)
    actions = plan([GROUP, WEB], observed)
    assert actions == plan([GROUP, WEB], observed)
    touched = [action.node.id for action in actions if isinstance(action, StartNode)]
    touched += [action.node_id for action in actions if isinstance(action, StopNode | Fence)]
    assert len(touched) == len(set(touched))
    assert sum(isinstance(action, Operate) for action in actions) <= 1
    assert all(action.because for action in actions if not isinstance(action, Mark))


@settings(deadline=None, max_examples=150)
@given(down=some, hung=some, suspect=some, changed=some, emptied=some, cold=some, absent=some)
def test_no_data_node_but_the_recorded_primary_ever_starts_as_one(**differences):
    for action in plan([GROUP], world(GROUP, **differences)):
        if isinstance(action, StartNode) and action.node.part == Part.DATA and action.node.id != "redis01-1":
            assert action.extra_args == ("--replicaof", "127.77.0.11", "6379")
        if isinstance(action, StartNode) and action.node.id == "redis01-1":
            assert "redis01-1" not in differences["emptied"]
            assert not action.extra_args


@settings(deadline=None, max_examples=150)
@given(down=some, hung=some, suspect=some, changed=some, emptied=some, cold=some)
def test_no_sentinel_that_answers_is_stopped_while_another_does_not(**differences):
    observed = world(GROUP, **differences)
    voters = [node.id for node in GROUP.of(Part.VOTER)]
    unwell = [node_id for node_id in voters if not observed.nodes[node_id].ready]
    for action in plan([GROUP], observed):
        node_id = action.node.id if isinstance(action, StartNode) else getattr(action, "node_id", None)
        if isinstance(action, StartNode | StopNode) and node_id in voters and observed.nodes[node_id].ready:
            assert not unwell


def test_a_service_without_a_record_is_seen_as_one_that_never_had_a_primary():
    observed = Observed(0.0, {"web-1": world(WEB).nodes["web-1"]})
    assert view_of(WEB, observed).group == Group()
    assert view_of(WEB, observed).status("web-9").state == NodeState(running=False)
