"""The documentation tells all: every route, field, unit and refusal."""

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from api.http.app import create_app
from core.settings import ApiSettings

Operation = dict[str, Any]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    settings = ApiSettings(jwt_secret="never used, never used, never used")
    return create_app(settings, CollectorRegistry()).openapi()


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_says_what_it_does(schema: dict[str, Any]) -> None:
    known = {tag["name"] for tag in schema["tags"]}
    for name, operation in operations(schema):
        assert operation["summary"], name
        assert operation["description"].endswith((".", ":")), name
        assert set(operation["tags"]) <= known, name


def test_every_route_has_a_name_of_its_own(schema: dict[str, Any]) -> None:
    """Generated clients name their methods so."""
    ids = [operation["operationId"] for _, operation in operations(schema)]
    assert len(ids) == len(set(ids))
    assert all(name.isidentifier() and len(name) <= 40 for name in ids), ids


def test_every_field_and_parameter_is_described(schema: dict[str, Any]) -> None:
    models = schema["components"]["schemas"].items()
    fields = [
        (f"{model}.{field}", told)
        for model, whole in models
        for field, told in whole.get("properties", {}).items()
    ]
    parameters = [
        (f"{name} {parameter['name']}", parameter)
        for name, operation in operations(schema)
        for parameter in operation.get("parameters", ())
    ]
    assert [name for name, told in fields + parameters if not told.get("description")] == []


def test_every_field_of_a_request_has_an_example_or_says_what_is_allowed(
    schema: dict[str, Any],
) -> None:
    models = schema["components"]["schemas"]
    wanting = []
    for name, operation in operations(schema):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        reference = body.get("schema", {}).get("$ref", "")
        for field, told in (
            models.get(reference.rsplit("/", 1)[-1], {}).get("properties", {}).items()
        ):
            obvious = {"examples", "enum", "const", "format"} & set(told)
            branches = told.get("anyOf", [told])
            obvious |= {"enum", "const", "format"} & {key for b in branches for key in b}
            if not obvious and not any(b.get("type") == "boolean" for b in branches):
                wanting.append(f"{name}: {field}")
    assert wanting == []


def test_every_route_tells_how_it_fails(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        failures = {
            status: told for status, told in operation["responses"].items() if status >= "4"
        }
        assert {"400", "413", "500", "503"} <= set(failures), name
        if "security" in operation:
            assert "401" in failures, name
        for status, told in failures.items():
            model = told["content"]["application/json"]["schema"]["$ref"]
            assert model.endswith("/Failure"), (name, status)
            assert told["description"], (name, status)
