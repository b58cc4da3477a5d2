"""What Redis and Sentinel say, turned into facts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.kinds._redis_reading import (
    DATA_QUESTION,
    parse_info,
    read_data,
    read_sentinel,
    redis_facts,
    sentinel_facts,
    sentinel_question,
    young_sessions,
)
from everup.model.desired import ReplyError
from everup.model.observed import Role
from tests.redis_words import Data, Opinion, info, sentinel
from tests.worlds import redis

GROUP = redis()
FIRST, SECOND, THIRD = GROUP.nodes[:3]
VOTERS = GROUP.nodes[3:6]


def said(**changes: Any) -> tuple[str, str]:
    return info(Data(**changes))


def test_a_primary_is_ready_and_knows_its_replicas():
    words = said(offset=500, replicas={"127.77.0.12:6379": 500, "127.77.0.13:6379": 420})
    reading = read_data(words)
    assert (reading.ready, reading.role, reading.because) == (True, Role.PRIMARY, "")
    facts = redis_facts(words)
    assert facts and (facts.offset, facts.follows, facts.settled) == (500, None, True)
    assert facts.replicas == {"127.77.0.12:6379": 500, "127.77.0.13:6379": 420}


def test_a_replica_is_ready_while_its_link_is_up():
    reading = read_data(said(follows=FIRST, offset=77))
    facts = reading.facts["redis"]
    assert (reading.ready, reading.role) == (True, Role.REPLICA)
    assert (facts.follows, facts.offset, facts.link_up, facts.settled) == ("127.77.0.11:6379", 77, True, True)


@pytest.mark.parametrize(
    ("state", "because"),
    [
        ({"link_up": False}, "its link to 127.77.0.11:6379 is down"),
        ({"link_up": False, "syncing": True}, "it is copying everything from 127.77.0.11:6379"),
        ({"loading": True}, "it is loading its data"),
    ],
)
def test_a_replica_without_its_data_is_not_ready_and_says_why(state: dict[str, bool], because: str):
    reading = read_data(said(follows=FIRST, **state))
    assert (reading.ready, reading.role, reading.because) == (False, Role.REPLICA, because)


def test_a_primary_that_loads_is_not_ready():
    assert read_data(said(loading=True)).ready is False


@pytest.mark.parametrize(
    "line",
    ["aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1", "aof_enabled:0", "aof_last_bgrewrite_status:err"],
)
def test_data_is_settled_only_when_all_of_it_is_on_disk(line: str):
    key = line.split(":")[0]
    persistence = "\r\n".join(line if old.startswith(f"{key}:") else old for old in said()[1].split("\r\n"))
    facts = redis_facts((said()[0], persistence))
    assert facts and not facts.settled


def test_an_asynchronous_load_is_a_load():
    persistence = said()[1].replace("async_loading:0", "async_loading:1")
    assert read_data((said(follows=FIRST)[0], persistence)).because == "it is loading its data"


@pytest.mark.parametrize(
    ("replies", "because"),
    [
        ((ReplyError("NOAUTH Authentication required."), ReplyError("NOAUTH")), "NOAUTH Authentication required."),
        (("PONG", None), "not a Redis answer"),
        ((), "not a Redis answer"),
        ((["a"], 7), "not a Redis answer"),
    ],
)
def test_what_is_not_info_is_not_ready(replies: tuple[Any, ...], because: str):
    reading = read_data(replies)
    assert (reading.ready, reading.role, reading.because) == (False, None, f"it answers {because}")


def test_info_is_read_line_by_line():
    assert parse_info("# Replication\r\nrole:master\r\nnonsense\r\nmaster_replid:a:b\r\n") == {
        "role": "master",
        "master_replid": "a:b",
    }
    assert parse_info(None) == parse_info(ReplyError("x")) == {}


# -- Sentinels


def opinion(**changes: Any) -> tuple[Any, ...]:
    return sentinel(VOTERS[0], Opinion(**{"named": FIRST, **changes}), [FIRST, SECOND, THIRD], VOTERS)


def test_a_sentinel_is_ready_once_it_watches_the_group():
    assert read_sentinel(opinion()).ready
    new = read_sentinel(opinion(known=False))
    assert (new.ready, new.because) == (False, "it does not watch the group yet")
    assert new.facts["sentinel"].known is False


def test_its_view_is_read_whole():
    facts = sentinel_facts(opinion(epoch=7, flagged=("redis01-sentinel-3",), ghosts=("127.77.0.19:6379",)))
    assert facts and (facts.named, facts.epoch, facts.flags) == ("127.77.0.11:6379", 7, {"primary"})
    assert [peer.address for peer in facts.replicas] == ["127.77.0.12:6379", "127.77.0.13:6379", "127.77.0.19:6379"]
    assert [peer.address for peer in facts.peers] == ["127.77.0.32:26380", "127.77.0.33:26380"]
    assert [peer.flags for peer in facts.peers] == [{"sentinel"}, {"sentinel", "master_down"}]
    assert all(len(peer.run_id) == 40 for peer in facts.peers)
    assert facts.settings["down-after-milliseconds"] == "5000"
    assert facts.knobs["publish-period"] == "500"


def test_a_sentinel_that_knows_no_debug_is_ready_all_the_same():
    reading = read_sentinel((*opinion()[:4], ReplyError("ERR unknown subcommand")))
    assert (reading.ready, reading.facts["sentinel"].knobs) == (True, {})


@pytest.mark.parametrize("replies", [(), (ReplyError("NOAUTH"),) * 5, (None,) * 5, ("+OK",)])
def test_what_no_sentinel_says_is_not_ready(replies: tuple[Any, ...]):
    assert read_sentinel(replies).ready is False


def test_the_questions_are_one_round_trip_each():
    assert len(DATA_QUESTION) == 2
    assert [words[1] for words in sentinel_question("redis01")] == ["MYID", "MASTER", "REPLICAS", "SENTINELS", "DEBUG"]


anything = st.recursive(
    st.none() | st.integers() | st.text(max_size=20) | st.just(ReplyError("ERR")),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(anything, max_size=6))
def test_no_answer_breaks_a_reader(replies: list[Any]):
    for read in (read_data, read_sentinel):
        reading = read(tuple(replies))
        assert reading.ready in (True, False)


@given(st.text(alphabet="role:mastervc\r\n#=,slave0ip19.", max_size=200))
def test_no_info_breaks_a_reader(text: str):
    read_data((f"role:master\r\n{text}", text))
    read_data((f"role:slave\r\n{text}", text))


@pytest.mark.parametrize(
    ("client", "young"),
    [
        ("age=0 idle=0 cmd=NULL tot-cmds=0", 1),
        ("age=1 idle=0 cmd=set tot-cmds=6", 1),
        ("age=0 idle=0 cmd=set", 1),
        ("age=2 idle=0 cmd=set tot-cmds=6", 0),
        ("age=0 idle=0 cmd=set tot-cmds=500", 0),
        ("age=0 idle=0 cmd=client|list tot-cmds=1", 0),
        ("age=100 idle=100 cmd=get", 0),
        ("age=0 idle=0 cmd=info tot-cmds=2", 0),
        ("name=sentinel-64fd3d4c-cmd age=0 idle=0 cmd=ping tot-cmds=2", 0),
    ],
)
def test_who_came_a_moment_ago_for_few_commands_is_young(client: str, young: int):
    line = f"id=3 addr=127.0.0.1:56452 laddr=127.0.0.2:6379 fd=9 {client} user=default\n"
    assert young_sessions((line,)) == young
    assert young_sessions((line * 3,)) == young * 3


@given(st.one_of(st.none(), st.integers(), st.text(), st.just(ReplyError("ERR")), st.lists(st.text(), max_size=2)))
def test_any_answer_about_sessions_is_survived(answer: object):
    assert young_sessions((answer,)) >= 0
    assert young_sessions(()) == 0
