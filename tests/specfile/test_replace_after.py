"""`replace_after`: where it may stand, and what is said where it may not."""

import pytest

from everup.kinds import load_kinds
from everup.kinds.redis import KIND
from everup.model.errors import SpecError
from everup.model.spec import Environment
from everup.specfile.parse import parse


def spec(service: str, engine: str = "swarm") -> str:
    return f"environment: shop\nengine: {engine}\nservices:\n  cache: {service}\n"


def read(service: str, engine: str = "swarm") -> Environment:
    return parse(spec(service, engine), "everup.yaml", load_kinds())


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_group_on_several_hosts_may_say_after_how_long(kind: str):
    after = [read(f"{{kind: {kind}, ha: true, replace_after: {text}}}") for text in ("10m", "90", "never")]
    assert [one.services["cache"].replaces_after_s for one in after] == [600.0, 90.0, None]
    assert read(f"{{kind: {kind}, ha: true}}").services["cache"].replaces_after_s is None


def test_it_may_stand_where_there_is_one_machine_so_that_one_file_goes_for_both():
    assert read("{kind: redis, ha: true, replace_after: 10m}", "local").services["cache"].replaces_after_s == 600.0
    assert read("{kind: redis, replace_after: never}", "local").services["cache"].replaces_after_s is None


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("{kind: redis, replace_after: 10m}", "only a group can be rebuilt"),
        ("{kind: postgres, ha: false, replace_after: 10m}", "only a group can be rebuilt"),
        ("{kind: redis, ha: true, replace_after: soon}", "must be a duration such as 10m, or never"),
        ("{kind: redis, ha: true, replace_after: 25h}", "must be more than 0 and at most 24h"),
        ("{kind: redis, ha: true, replace_after: true}", "must be a duration"),
    ],
)
def test_where_it_cannot_be_kept_it_is_refused_at_its_place(service: str, said: str):
    with pytest.raises(SpecError) as caught:
        read(service)
    (flaw,) = caught.value.flaws
    assert said in flaw.message
    assert flaw.message.startswith("services.cache.replace_after is ")
    assert (flaw.line, flaw.column) == (4, len("  cache: ") + service.index("replace_after: ") + 16)


def test_what_is_declared_can_be_declared_again():
    """Commands such as `scale` lay what they change over what was read."""
    service = read("{kind: redis, ha: true, replace_after: 10m}").services["cache"]
    assert KIND.service.model_validate({**service.model_dump(), "ha": {"replicas": 3}}).replaces_after_s == 600.0
    with pytest.raises(ValueError, match="only a group can be rebuilt"):
        KIND.service.model_validate({**service.model_dump(), "ha": False})
