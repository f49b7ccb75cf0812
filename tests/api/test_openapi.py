"""The OpenAPI document describes every route, field and error."""

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


def test_every_route_is_described(schema: dict[str, Any]) -> None:
    known = {tag["name"] for tag in schema["tags"]}
    for name, operation in operations(schema):
        assert operation["summary"], name
        assert operation["description"].endswith((".", ":")), name
        assert set(operation["tags"]) <= known, name


def test_every_route_has_a_unique_name(schema: dict[str, Any]) -> None:
    """Generated clients name their methods by it."""
    ids = [operation["operationId"] for _, operation in operations(schema)]
    assert len(ids) == len(set(ids))
    assert all(name.isidentifier() and len(name) <= 40 for name in ids), ids


def test_every_field_and_parameter_is_described(schema: dict[str, Any]) -> None:
    models = schema["components"]["schemas"].items()
    fields = [
        (f"{model}.{field}", documented)
        for model, whole in models
        for field, documented in whole.get("properties", {}).items()
    ]
    parameters = [
        (f"{name} {parameter['name']}", parameter)
        for name, operation in operations(schema)
        for parameter in operation.get("parameters", ())
    ]
    assert [
        name for name, documented in fields + parameters if not documented.get("description")
    ] == []


def test_every_field_of_a_request_has_an_example_or_its_allowed_values(
    schema: dict[str, Any],
) -> None:
    models = schema["components"]["schemas"]
    undocumented = []
    for name, operation in operations(schema):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        reference = body.get("schema", {}).get("$ref", "")
        for field, documented in (
            models.get(reference.rsplit("/", 1)[-1], {}).get("properties", {}).items()
        ):
            obvious = {"examples", "enum", "const", "format"} & set(documented)
            branches = documented.get("anyOf", [documented])
            obvious |= {"enum", "const", "format"} & {key for b in branches for key in b}
            if not obvious and not any(b.get("type") == "boolean" for b in branches):
                undocumented.append(f"{name}: {field}")
    assert undocumented == []


def test_every_route_documents_its_errors(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        failures = {
            status: documented
            for status, documented in operation["responses"].items()
            if status >= "4"
        }
        assert {"400", "413", "500", "503"} <= set(failures), name
        if "security" in operation:
            assert "401" in failures, name
        for status, documented in failures.items():
            model = documented["content"]["application/json"]["schema"]["$ref"]
            assert model.endswith("/Failure"), (name, status)
            assert documented["description"], (name, status)
