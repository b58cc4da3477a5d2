import json

import jsonschema
import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from everup.specfile.schema import schema
from tests.specfile.sample_kinds import KINDS

RIGHT = """\
environment: shop
services:
  web: {kind: app, run: serve, scale: 3, needs: [redis], env: {A: "1", B: {secret: b}}, stop_grace: 1500ms}
  redis: {kind: redis, ha: {replicas: 3}, rto: 2}
  other: {kind: database, ha: true}
"""


def complaints(text: str) -> list[str]:
    return [error.message for error in Draft202012Validator(schema(KINDS)).iter_errors(YAML(typ="safe").load(text))]


def test_it_is_a_schema_that_survives_json_and_refers_only_to_itself():
    made = schema(KINDS)
    Draft202012Validator.check_schema(made)
    assert json.loads(json.dumps(made)) == made
    referred = {word for word in json.dumps(made).replace('"', " ").split() if word.startswith("#/$defs/")}
    assert referred <= {f"#/$defs/{name}" for name in made["$defs"]}
    assert set(KINDS) <= set(made["$defs"])


def test_it_is_the_same_every_time():
    assert json.dumps(schema(KINDS)) == json.dumps(schema(KINDS))


def test_a_right_file_is_right():
    assert complaints(RIGHT) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("environment: shop", "enviroment: shop"),
        ("environment: shop", "environment: My shop"),
        ("environment: shop", "environment: shop\nengine: docker"),
        ("  redis:", "  Redis:"),
        ("kind: redis", "kind: rediss"),
        ("kind: redis, ", ""),
        ("run: serve, ", ""),
        ("scale: 3", "scael: 3"),
        ("scale: 3", 'scale: "3"'),
        ("scale: 3", "scale: -1"),
        ("needs: [redis]", "needs: redis"),
        ('env: {A: "1"', "env: {A: 1"),
        ("{secret: b}", "{secrt: b}"),
        ("{secret: b}", "{secret: b, value: c}"),
        ("{secret: b}", '{secret: "b c"}'),
        ("1500ms", "1500 ms"),
        ("rto: 2", "rto: 0"),
        ("replicas: 3", "replica: 3"),
        ("ha: true", "ha: yes"),
    ],
)
def test_a_wrong_file_is_wrong(old: str, new: str):
    assert RIGHT.count(old) == 1
    assert complaints(RIGHT.replace(old, new))


def test_every_kind_and_every_key_is_described_where_its_model_does_so():
    variant = schema(KINDS)["$defs"]["app"]
    assert variant["description"] == "A program in several instances."
    assert variant["properties"]["run"]["description"] == "The command line."
    assert variant["properties"]["kind"]["const"] == "app"


def test_kinds_that_share_a_model_stay_apart():
    made = schema(KINDS)
    service = {"$schema": made["$schema"], "$ref": "#/$defs/service", "$defs": made["$defs"]}
    jsonschema.validate({"kind": "database"}, service)
    jsonschema.validate({"kind": "redis"}, service)
