"""How a Redis service is laid out."""

import pytest
from pydantic import ValidationError

from everup.kinds._redis_users import granted, hashed
from everup.kinds.redis import KIND, redis_check
from everup.model.desired import Part, Protocol
from tests.worlds import grant, redis

GROUP, SINGLE = redis(), redis(ha=False)
SENTINELS = "127.77.0.31:26379,127.77.0.32:26379,127.77.0.33:26379"


def ids(blueprint, part: Part) -> list[str]:
    return [node.id for node in blueprint.of(part)]


def conf(node) -> list[str]:
    return node.files["redis.conf"].splitlines()


def test_ha_is_a_primary_two_replicas_and_three_sentinels_with_a_front_each():
    assert ids(GROUP, Part.DATA) == ["redis01-1", "redis01-2", "redis01-3"]
    assert ids(GROUP, Part.VOTER) == ["redis01-sentinel-1", "redis01-sentinel-2", "redis01-sentinel-3"]
    assert ids(GROUP, Part.FRONT) == ["redis01-front-1", "redis01-front-2", "redis01-front-3"]
    assert ids(GROUP, Part.ENDPOINT) == ["redis01-endpoint"]
    assert (GROUP.ha, SINGLE.ha) == (True, False)


def test_a_single_node_has_an_endpoint_and_nothing_else():
    assert [node.id for node in SINGLE.nodes] == ["redis01-1", "redis01-endpoint"]


def test_the_size_can_be_chosen():
    large = redis(ha={"replicas": 4, "sentinels": 5})
    assert (len(large.of(Part.DATA)), len(large.of(Part.VOTER)), len(large.of(Part.FRONT))) == (5, 5, 5)


@pytest.mark.parametrize(
    "ha", [{"replicas": 1}, {"replicas": 7}, {"sentinels": 1}, {"sentinels": 4}, {"nodes": 3}, "yes", 3]
)
def test_sizes_that_cannot_vote_or_stay_redundant_are_refused(ha: object):
    with pytest.raises(ValidationError):
        KIND.service.model_validate({"kind": "redis", "ha": ha})


def test_the_seeds_variables_are_exactly_as_promised():
    assert GROUP.bindings == {
        "URL": "redis://127.77.0.2:6379",
        "SENTINEL_URL": "redis-sentinel://127.77.0.31:26379",
        "SENTINEL_LIST": SENTINELS,
        "SENTINEL_MASTER": "redis01",
    }
    assert SINGLE.bindings == {"URL": "redis://127.77.0.2:6379"}


def test_the_label_is_the_masters_name_verbatim():
    service = KIND.service.model_validate({"kind": "redis", "ha": True})
    blueprint = KIND.blueprint(service, grant(service, "redis_01"))
    assert blueprint.bindings["SENTINEL_MASTER"] == "redis_01"


def test_clients_have_a_password_and_the_nodes_another_one():
    guarded = redis(auth=True)
    everything = [str((node.files, node.args, node.env, node.seeds)) for node in guarded.nodes]
    for node in guarded.of(Part.DATA):
        assert {"masteruser everup", "masterauth swordfish", "aclfile ../users.acl"} <= set(conf(node))
    for node in guarded.of(Part.VOTER):
        seed = node.seeds["sentinel.conf"].splitlines()
        assert {"sentinel sentinel-user everup", "sentinel sentinel-pass swordfish"} <= set(seed)
    for node in (*guarded.of(Part.DATA), *guarded.of(Part.VOTER)):
        assert (node.probe.user, node.probe.password, node.probe.spare) == ("everup", "swordfish", "hunter2")
        assert granted(node) == {"default": {hashed("hunter2")}, "everup": {hashed("swordfish")}}
        assert not any(word in repr(node.probe) for word in ("hunter2", "swordfish"))
    assert "hunter2" not in str(everything)
    assert guarded.bindings["PASSWORD"] == "hunter2"
    assert guarded.bindings["URL"] == "redis://:hunter2@127.77.0.2:6379"
    assert redis_check("swordfish")[0] == r"send AUTH\ everup\ swordfish\r\n"
    assert "hunter2" not in guarded.endpoint.url


def test_a_password_that_was_once_granted_is_not_used_without_auth():
    service = KIND.service.model_validate({"kind": "redis", "ha": True})
    guarded = KIND.service.model_validate({"kind": "redis", "ha": True, "auth": True})
    assert KIND.blueprint(service, grant(guarded)) == KIND.blueprint(service, grant(service))
    assert "hunter2" not in str([(node.files, node.seeds) for node in KIND.blueprint(service, grant(guarded)).nodes])


@pytest.mark.parametrize(
    ("keys", "least"),
    [({"durability": "safe"}, "1"), ({"durability": "fast"}, "0"), ({"durability": "safe", "ha": False}, "0")],
)
def test_safe_durability_asks_for_a_replica_only_where_there_is_one(keys: dict[str, object], least: str):
    assert f"min-replicas-to-write {least}" in conf(redis(**keys).nodes[0])


def test_every_node_listens_on_its_own_address_and_announces_it():
    lines = conf(GROUP.nodes[1])
    assert {"bind 127.77.0.12", "bind-source-addr 127.77.0.12", "replica-announce-ip 127.77.0.12"} <= set(lines)
    assert {"port 6379", "appendonly yes", "appendfsync everysec", "repl-diskless-sync-delay 0"} <= set(lines)


def test_no_configuration_names_a_primary():
    """Whoever starts without being told whom to follow would lead: that is for the rules to say."""
    assert not any("replicaof" in "\n".join(node.files.values()).lower() for node in GROUP.nodes)
    assert not any("monitor" in node.seeds.get("sentinel.conf", "") for node in GROUP.nodes)


def test_a_front_stands_where_clients_look_for_the_sentinel_behind_it():
    front, voter = GROUP.of(Part.FRONT)[0], GROUP.of(Part.VOTER)[0]
    assert front.args[-2:] == ("127.77.0.31:26379", "127.77.0.31:26380")
    assert voter.ports == {"voter": voter.probe.to}
    assert front.probe.protocol == Protocol.CONNECT


def test_a_hang_is_noticed_clearly_before_the_sentinels_would_notice():
    assert all(
        node.probe.hang_s == 3.0 and node.probe.interval_s + node.probe.timeout_s < 3.0 for node in GROUP.nodes[:6]
    )


def test_data_must_be_there_before_a_node_counts_as_having_it():
    assert GROUP.nodes[0].keeps == ("data/appendonlydir/*.manifest", "data/appendonlydir/*.base.*")


def test_a_requested_restart_changes_the_digest_of_servers_and_sentinels_only():
    again = redis(revision=1)
    changed = {old.id for old, new in zip(GROUP.nodes, again.nodes, strict=True) if old.digest != new.digest}
    assert changed == {*ids(GROUP, Part.DATA), *ids(GROUP, Part.VOTER)}


def test_what_a_larger_declaration_left_behind_retires():
    shrunk = redis(ha=False, was=True)
    assert [node.id for node in shrunk.retiring if node.part == Part.DATA][:2] == ["redis01-2", "redis01-3"]
    assert {node.id for node in shrunk.retiring if node.part == Part.VOTER} == set(ids(GROUP, Part.VOTER))
    smaller = redis(was={"replicas": 4, "sentinels": 5})
    retiring = {node.id for node in smaller.retiring}
    assert retiring >= {"redis01-4", "redis01-5", "redis01-sentinel-4", "redis01-sentinel-5"}
    assert not retiring & {node.id for node in smaller.nodes}
    assert [node.digest for node in shrunk.retiring[:2]] == [node.digest for node in GROUP.nodes[1:3]]
