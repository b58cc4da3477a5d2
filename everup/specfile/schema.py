"""The JSON Schema of the spec file, made from the same models that `parse` validates with, so that editors agree."""

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from everup.model.contracts import Kind
from everup.model.spec import LABEL_PATTERN, Environment
from everup.specfile.parse import ENGINES, MAX_SERVICES

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that repeat the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the whole file, with one variant of a service per kind, told apart by `kind`.

    What only the relations between services decide (labels in `needs`, cycles, clashes) is left to `parse`.
    """
    kinds = {name: kind for name, kind in kinds.items() if kind.service.declarable}
    models = [(kind.service, "validation") for kind in kinds.values()]
    names, made = models_json_schema(
        [(Environment, "validation"), *models],  # type: ignore[list-item]
        schema_generator=_Untitled,
        ref_template="#/$defs/{model}",
    )
    definitions: dict[str, Any] = made["$defs"]
    variants = {
        name: _variant(definitions[names[kind.service, "validation"]["$ref"].rpartition("/")[2]], name)
        for name, kind in kinds.items()
    }
    service = {"type": "object", "required": ["kind"], "oneOf": [{"$ref": f"#/$defs/{name}"} for name in variants]}
    return {
        "$schema": DIALECT,
        "title": "everup.yaml",
        "description": "One environment: its name, where it runs, and its services by label.",
        "type": "object",
        "properties": _head(definitions),
        "required": ["environment", "services"],
        "additionalProperties": False,
        "$defs": {"service": service, **variants, **_used(definitions, list(variants.values()))},
    }


def _head(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the file itself."""
    keys = dict(definitions["Environment"]["properties"])
    keys["engine"] = {**keys["engine"], "enum": list(ENGINES)}
    keys["services"] = {
        "description": keys["services"]["description"],
        "type": "object",
        "propertyNames": {"pattern": LABEL_PATTERN},
        "additionalProperties": {"$ref": "#/$defs/service"},
        "maxProperties": MAX_SERVICES,
    }
    return keys


def _variant(definition: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The definition of a service that is of this kind alone."""
    keys = definition["properties"]
    return {
        **definition,
        "title": name,
        "properties": {**keys, "kind": {**keys["kind"], "type": "string", "const": name}},
        "required": sorted({*definition.get("required", ()), "kind"}),
    }


def _used(definitions: Mapping[str, Any], parts: list[Any]) -> dict[str, Any]:
    """The definitions that the parts refer to, directly or through others."""
    used: dict[str, Any] = {}
    waiting = _refs_in(parts)
    while waiting:
        name = waiting.pop().rpartition("/")[2]
        if name not in used:
            used[name] = definitions[name]
            waiting += _refs_in(definitions[name])
    return dict(sorted(used.items()))


def _refs_in(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [ref for inner in part.values() for ref in _refs_in(inner)]
    return [ref for inner in part for ref in _refs_in(inner)] if isinstance(part, list) else []
