"""The description of the API that programs read."""

import jsonschema
import pytest

from everup.api.description import ANSWERS
from everup.api.permits import PERMITS
from tests.api.test_access import place  # noqa: F401 - the fixture


@pytest.fixture
def schema(place):  # noqa: F811
    return place.app.openapi()


def resolved(schema, part):
    """A part of the description as a schema of its own."""
    return {**part, "components": schema["components"]}


def test_every_body_has_an_example_that_fits(schema):
    seen = 0
    for methods in schema["paths"].values():
        for operation in methods.values():
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                jsonschema.validate(content["example"], resolved(schema, content["schema"]))
                seen += 1
    assert seen >= 13


def test_every_operation_says_who_may_ask_and_how_it_refuses(schema):
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert operation["x-everup-level"] == PERMITS[f"{method.upper()} {path}"].level
            assert operation["responses"]["4XX"] == {"$ref": "#/components/responses/Problem"}
            assert "422" not in operation["responses"]


async def test_answers_and_refusals_are_as_described(schema, place):  # noqa: F811
    problem = resolved(schema, schema["components"]["schemas"]["Problem"])
    for route in ANSWERS:
        method, path = route.split(" ")
        responses = schema["paths"][path][method.lower()]["responses"]
        content = next(one for status, one in responses.items() if status.startswith("2"))["content"]
        answer = await place.ask("operator", route)
        jsonschema.validate(answer.json(), resolved(schema, content["application/json"]["schema"]))
        assert len(content["application/json"]["schema"]["required"]) >= 1
        jsonschema.validate((await place.ask("nobody", route)).json(), problem)
