"""`reference.yaml` is manual and example: it must name every key, parse, and agree with the schema."""

from importlib import resources
from itertools import pairwise

from jsonschema import Draft202012Validator
from pydantic import BaseModel
from ruamel.yaml import YAML

from everup.kinds import load_kinds
from everup.model.spec import Environment
from everup.specfile.fields import fields_at
from everup.specfile.parse import parse
from everup.specfile.schema import schema

TEXT = (resources.files("everup.specfile") / "reference.yaml").read_text(encoding="utf-8")
DECLARABLE = {name: kind for name, kind in load_kinds().items() if kind.service.declarable}


def keys_of(model: type[BaseModel]) -> set[tuple[str, ...]]:
    """Every key of a model, and those one level below it."""
    top = fields_at(model, ())
    return {(key,) for key in top} | {(key, inner) for key in top for inner in fields_at(model, (key,))}


def used_keys(value: dict[str, object]) -> set[tuple[str, ...]]:
    nested = {(key, inner) for key, entry in value.items() if isinstance(entry, dict) for inner in entry}
    return {(key,) for key in value} | nested


def test_it_parses_with_every_kind():
    environment = parse(TEXT, "reference.yaml", load_kinds())
    assert {service.kind for service in environment.services.values()} == set(DECLARABLE)


def test_it_is_right_by_the_schema():
    assert not list(Draft202012Validator(schema(load_kinds())).iter_errors(YAML(typ="safe").load(TEXT)))


def test_every_key_of_the_file_and_of_every_kind_appears_in_it():
    file = YAML(typ="safe").load(TEXT)
    assert set(file) == set(Environment.model_fields)
    for name, kind in DECLARABLE.items():
        used = set().union(*(used_keys(service) for service in file["services"].values() if service["kind"] == name))
        assert keys_of(kind.service) - used == set(), name


def test_every_key_of_every_kind_has_a_description():
    for kind in load_kinds().values():
        fields = fields_at(kind.service, ())
        assert [key for key, field in fields.items() if not field.description and key != "kind"] == []


def test_every_key_stands_below_a_comment_the_first_time():
    described = {"environment", "engine", "programs", "services", "kind"}
    lines = TEXT.splitlines()
    for before, line in pairwise(lines):
        key = line.split(":")[0].strip()
        if ":" in line and not line.lstrip().startswith("#") and key not in described:
            described.add(key)
            is_label = line.startswith("  ") and line[2] != " "
            inner_of_env = key.isupper() or key == "limit" or key == "sentinels"
            assert before.lstrip().startswith("#") or is_label or inner_of_env, line
