"""The handler of a route: how it reads a request, reports errors, and refuses routes at start."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Body, Cookie, Depends, Header, Query, Request, Security
from fastapi.responses import PlainTextResponse
from fastapi.security import SecurityScopes
from pydantic import BaseModel
from starlette.responses import Response

from api.http import routing
from api.http.dispatch import UnsupportedRoute
from api.http.envelope import Answer, ok
from db import users
from db.pool import Connection
from tests.api.conftest import Api, code_of, data_of, fields_of
from tests.support.people import add_user

ME, NEARBY = "/api/v1/auth/me", "/api/v1/location/nearby-listings"


async def change(api: Api, conn: Connection, kind: str | None, body: bytes) -> httpx.Response:
    headers = {} if kind is None else {"Content-Type": kind}
    return await api.call("PATCH", ME, await add_user(conn), headers=headers, content=body)


async def test_a_body_is_json_if_its_content_type_says_so(api: Api, conn: Connection) -> None:
    body = b'{"full_name": "Asha"}'
    for kind in (None, "text/plain", "application/jsonx", "text/json", "json"):
        assert fields_of(await change(api, conn, kind, body)) == ["body"], kind
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/a.b+json"):
        assert data_of(await change(api, conn, kind, body))["full_name"] == "Asha", kind


async def test_an_empty_body_is_reported_as_missing(api: Api, conn: Connection) -> None:
    for kind in ("application/json", None):
        response = await change(api, conn, kind, b"")
        assert response.json()["message"] == "body: Field required"


async def test_all_invalid_parameters_are_reported_at_once(api: Api, conn: Connection) -> None:
    buyer = await add_user(conn)
    response = await api.call("GET", NEARBY, buyer, params={"limit": 0, "lat": 91})
    assert sorted(fields_of(response)) == ["lat", "limit", "radius_km"]
    response = await api.call(
        "POST", "/api/v1/marketplace/purchase", buyer, json={}, headers={"Idempotency-Key": "a b"}
    )
    assert fields_of(response) == ["Idempotency-Key", "listing_id", "energy_kwh"]


async def test_the_last_of_repeated_query_parameters_counts(api: Api, conn: Connection) -> None:
    buyer = await add_user(conn)
    place = {"lat": "12.97", "lon": "77.59", "radius_km": "5"}
    for limits, status in ((["0", "20"], 200), (["20", "0"], 400)):
        response = await api.call("GET", NEARBY, buyer, params={**place, "limit": limits})
        assert response.status_code == status


async def test_an_internal_error_is_answered_without_its_reason(
    api: Api, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise ZeroDivisionError("secret reasons")

    buyer = await add_user(conn)
    monkeypatch.setattr(users, "by_id", fails)
    response = await api.call("GET", ME, buyer)
    assert (response.status_code, code_of(response)) == (500, "unexpected")
    assert "reasons" not in response.text
    assert response.headers["X-Request-ID"] == response.json()["requestId"]


@pytest.mark.parametrize("fields", [60, 100, 101, 60_000])
async def test_an_error_response_is_small(api: Api, conn: Connection, fields: int) -> None:
    """However many fields are wrong."""
    body = {f"field_{number}": 1 for number in range(fields)}
    response = await api.call("PATCH", ME, await add_user(conn), json=body)
    wrong = fields_of(response)
    assert wrong == (["body"] if fields > 100 else [f"field_{n}" for n in range(50)])
    assert len(response.content) < 10_000
    if fields <= 100:
        assert response.json()["message"].endswith(f"; and {fields - 50} more")


async def test_a_long_name_of_a_field_is_cut_in_the_response(api: Api, conn: Connection) -> None:
    buyer = await add_user(conn)
    response = await api.call("PATCH", ME, buyer, json={"x" * 900_000: 1})
    assert fields_of(response) == ["x" * 100 + "…"]
    response = await api.call(
        "PATCH", ME, buyer, content=rb'{"\ud800\n": 1}',
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert fields_of(response) == ["body"]


class Filter(BaseModel):
    name: str = ""


class Tags(BaseModel):
    tags: list[str] = []


async def on_request(request: Request) -> str:
    return request.url.path


async def on_query(request: Request, name: str) -> str:
    return name


async def on_other(path: Annotated[str, Depends(on_request)]) -> str:
    return path


async def on_nothing() -> str:
    return ""


async def with_yield(request: Request) -> AsyncIterator[str]:
    yield request.url.path


def without_async(request: Request) -> str:
    return request.url.path


async def scoped(request: Request, scopes: SecurityScopes) -> str:
    return scopes.scope_str


def plain(name: str) -> Callable[..., Any]:
    """Return a route that needs nothing."""

    async def route() -> Answer[str]:
        return ok(name)

    return route


async def sub_dependency(value: Annotated[str, Depends(on_other)]) -> Answer[str]:
    return ok(value)


async def parameter_of_a_dependency(value: Annotated[str, Depends(on_query)]) -> Answer[str]:
    return ok(value)


async def dependency_on_nothing(value: Annotated[str, Depends(on_nothing)]) -> Answer[str]:
    return ok(value)


async def dependency_with_yield(value: Annotated[str, Depends(with_yield)]) -> Answer[str]:
    return ok(value)


async def dependency_without_async(value: Annotated[str, Depends(without_async)]) -> Answer[str]:
    return ok(value)


async def same_dependency_twice(
    one: Annotated[str, Depends(on_request)], other: Annotated[str, Depends(on_request)]
) -> Answer[str]:
    return ok(one + other)


async def security_scopes(value: Annotated[str, Security(scoped, scopes=["a"])]) -> Answer[str]:
    return ok(value)


async def background_tasks(tasks: BackgroundTasks) -> Answer[str]:
    return ok(str(tasks))


async def cookie(name: Annotated[str, Cookie()]) -> Answer[str]:
    return ok(name)


async def query_without_model(name: str) -> Answer[str]:
    return ok(name)


async def two_models_of_the_query(
    one: Annotated[Filter, Query()], other: Annotated[Filter, Query()]
) -> Answer[str]:
    return ok(one.name + other.name)


async def list_in_the_query(query: Annotated[Tags, Query()]) -> Answer[str]:
    return ok(str(query))


async def list_in_the_headers(names: Annotated[list[str], Header()]) -> Answer[str]:
    return ok(str(names))


async def body_without_model(name: Annotated[str, Body()]) -> Answer[str]:
    return ok(name)


async def embedded_body(body: Annotated[Filter, Body(embed=True)]) -> Answer[str]:
    return ok(body.name)


def not_async() -> Answer[str]:
    return ok("")


async def generator() -> AsyncIterator[str]:
    yield ""


async def no_model_of_the_answer() -> Any:
    return {}


@pytest.mark.parametrize(
    ("route", "options", "what"),
    [
        (sub_dependency, {}, "sub-dependencies of the dependency value"),
        (parameter_of_a_dependency, {}, "parameters beside the request of the dependency value"),
        (dependency_on_nothing, {}, "a call without the request of the dependency value"),
        (dependency_with_yield, {}, "or with yield of the dependency value"),
        (dependency_without_async, {}, "a function without async"),
        (same_dependency_twice, {}, "the dependency one twice"),
        (security_scopes, {}, "security scopes of the dependency value"),
        (plain("outside"), {"dependencies": [Depends(on_request)]}, "outside the signature"),
        (background_tasks, {}, "background tasks"),
        (cookie, {}, "cookies"),
        (query_without_model, {}, "query parameters outside of one model"),
        (two_models_of_the_query, {}, "query parameters outside of one model"),
        (list_in_the_query, {}, "the list tags in the query"),
        (list_in_the_headers, {}, "the model or list names in path or headers"),
        (body_without_model, {}, "body parameters outside of one model"),
        (embedded_body, {}, "embedded field body"),
        (not_async, {}, "a function without async"),
        (generator, {}, "a stream"),
        (no_model_of_the_answer, {"response_model": None}, "neither a model nor a Response"),
        (plain("class"), {"response_class": PlainTextResponse}, "a response class"),
        (plain("empty"), {"status_code": 204, "response_model": None}, "a status without a body"),
        (plain("exclude"), {"response_model_exclude_none": True}, "response_model_exclude_none"),
        (plain("alias"), {"response_model_by_alias": False}, "response_model_by_alias"),
        (plain("size"), {"max_body_size": 1}, "limits of its own on bodies"),
    ],
)
def test_a_route_that_the_handler_does_not_support_raises_at_start(
    route: Callable[..., Any], options: dict[str, Any], what: str
) -> None:
    router = routing.public("/tried", "health")
    with pytest.raises(UnsupportedRoute, match=what) as raised:
        router.get("", **options)(route)
    assert "GET /api/v1/tried" in str(raised.value)
    assert route.__name__ in str(raised.value)


def test_a_route_of_supported_parameters_is_accepted() -> None:
    router = routing.public("/tried", "health")

    @router.post("/{name}")
    async def route(
        value: Annotated[str, Depends(on_request)],
        request: Request,
        response: Response,
        name: str,
        query: Annotated[Filter, Query()],
        body: Filter,
        key: Annotated[str | None, Header()] = None,
    ) -> Answer[str]:
        return ok(value)

    assert [each.name for each in router.routes if isinstance(each, routing.Route)] == ["route"]
