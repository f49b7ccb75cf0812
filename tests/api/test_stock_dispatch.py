"""Every route answers through `RouteHandler` as it does through FastAPI's own dispatch.

The same requests go to two apps, each with a database of its own: one with our route handlers, one
with FastAPI's. For every route there is a good request, and one for each way to be wrong. Left out
is the one intended difference: FastAPI reads a body before it checks the access token.
"""

import copy
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute, request_response
from prometheus_client import CollectorRegistry

from api.http.app import create_app, surround
from api.http.services import open_services
from api.payments.webhooks import SIGNATURE_HEADER, sign
from core.settings import ApiSettings, DatabaseSettings
from db import schema
from db.pool import open_pool
from tests.api.conftest import JWT_SECRET, WEBHOOK_SECRET, token_of
from tests.api.route_requests import Case, World, cases_of, make_world
from tests.api.test_every_route import OPERATIONS
from tests.support.people import PASSWORD

SETTINGS = ApiSettings(
    jwt_secret=JWT_SECRET,
    payment_webhook_secret=WEBHOOK_SECRET,
    payment_providers=("sandbox",),
    bcrypt_rounds=4,
    rate_limit_writes="off",
)

# Values that differ between any two runs.
VARYING_KEYS = {"access_token", "refresh_token", "requestId", "password", "next_cursor"}
VARYING_TEXT = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|[a-z]+-[0-9a-f]{12}@"
)
VARYING_HEADERS = {"x-request-id"}


class _JsonRequest(Request):
    """A request that reads JSON numbers as `read_json` does. FastAPI lets a route replace it."""

    async def json(self) -> Any:
        parsed = json.loads(await self.body(), parse_float=Decimal)
        return float(parsed) if isinstance(parsed, Decimal) else parsed


def with_stock_dispatch(app: FastAPI) -> FastAPI:
    """Replace the handlers of all routes by FastAPI's own, in copies of the routes."""
    app.router.routes[:] = [
        stock(route) if isinstance(route, APIRoute) else route for route in app.router.routes
    ]
    app.middleware_stack = surround(
        AsyncExitStackMiddleware(app.router), SETTINGS, app.state.metrics
    )
    return app


def stock(route: APIRoute) -> APIRoute:
    handler = route.get_route_handler()

    async def handle(request: Request) -> Any:
        return await handler(_JsonRequest(request.scope, request.receive))

    other = copy.copy(route)
    other.app = request_response(handle)
    return other


@dataclass(slots=True)
class Side:
    """One of the two apps, with its database and its world."""

    http: httpx.AsyncClient
    world: World

    async def call(self, request: "Case") -> httpx.Response:
        headers = dict(request.headers)
        if request.role is not None:
            headers["Authorization"] = f"Bearer {token_of(self.world.people[request.role])}"
        path = request.path
        for name, value in self.world.ids.items():
            path = path.replace(f"{{{name}}}", str(value))
        content = request.content(self.world)
        if content is not None and request.is_signed:
            headers[SIGNATURE_HEADER] = sign(WEBHOOK_SECRET, content)
        return await self.http.request(
            request.method, path, params=request.query, headers=headers, content=content
        )


@asynccontextmanager
async def serving(app: FastAPI, database: DatabaseSettings) -> AsyncIterator[Side]:
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(database, application_name="test"))
        world = await make_world(pool)
        await stack.enter_async_context(open_services(app, SETTINGS, database, None))
        transport = httpx.ASGITransport(app)
        http = httpx.AsyncClient(transport=transport, base_url="http://hub", timeout=30)
        side = Side(await stack.enter_async_context(http), world)
        login = {"email": world.people["buyer"].email, "password": PASSWORD}
        for _ in range(2):
            answer = await side.http.post("/api/v1/auth/login", json=login)
            world.refresh_tokens.append(answer.json()["data"]["refresh_token"])
        world.ids["investment_id"] = await invest(side)
        yield side


async def invest(side: Side) -> str:
    body = {"device_id": str(side.world.funded_device), "amount": 10}
    headers = {"Authorization": f"Bearer {token_of(side.world.people['investor'])}"}
    answer = await side.http.post("/api/v1/investments", json=body, headers=headers)
    return str(answer.json()["data"]["id"])


def comparable(response: httpx.Response) -> tuple[int, dict[str, str], Any]:
    """Return what must be equal: status, headers, body."""
    headers = {k: v for k, v in response.headers.items() if k not in VARYING_HEADERS}
    if response.headers.get("Content-Type", "").startswith("text/plain"):  # metrics
        del headers["content-length"]
        return (
            response.status_code,
            headers,
            [line.split(" ")[0] for line in response.text.splitlines()],
        )
    return response.status_code, headers, masked(response.json() if response.content else None)


def masked(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        # Ids are also names of members, in `names` of the map.
        return {
            VARYING_TEXT.sub("masked", name): masked(part, name) for name, part in value.items()
        }
    if isinstance(value, list):
        return [masked(part) for part in value]
    if isinstance(value, str):
        return "masked" if key in VARYING_KEYS else VARYING_TEXT.sub("masked", value)
    return value


@pytest.mark.slow
async def test_every_route_answers_as_with_stock_dispatch(
    database: DatabaseSettings, empty_database: DatabaseSettings
) -> None:
    await schema.migrate(empty_database)
    ours = create_app(SETTINGS, CollectorRegistry())
    theirs = with_stock_dispatch(create_app(SETTINGS, CollectorRegistry()))
    different, good = [], {}
    async with serving(ours, database) as our, serving(theirs, empty_database) as their:
        # Deletions last, so that the other routes find what they need.
        for one in sorted(OPERATIONS, key=lambda one: one.method == "DELETE"):
            for case in cases_of(one):
                ours_answer = comparable(await our.call(case))
                stock_answer = comparable(await their.call(case))
                if ours_answer != stock_answer:
                    different.append((one.name, case.name, ours_answer, stock_answer))
                if case.name == "good":
                    good[one.name] = ours_answer[0]
    assert different == []
    refused = {name: status for name, status in good.items() if status not in (200, 201)}
    assert refused == {"POST /api/v1/auth/code": 401}  # no sign-in code exists
    assert set(good) == {one.name for one in OPERATIONS}
