"""The API as a server on a port of its own, and users who call it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from prometheus_client import CollectorRegistry

from api.http import server
from api.http.connection_limits import ConnectionLimits
from core import tokens
from core.clock import REAL_TIME, Clock
from core.settings import ApiSettings, DatabaseSettings, RedisSettings
from core.units import rfc3339
from db.pool import Pool
from tests.support.people import Person, add_user
from tests.support.ports import free

JWT_SECRET = "test secret, test secret, test secret"
WEBHOOK_SECRET = "webhook secret, webhook secret, webhook"


@dataclass(frozen=True, slots=True)
class Api:
    """Calls the API, as a user or without a token."""

    http: httpx.AsyncClient
    settings: ApiSettings

    async def call(
        self,
        method: str,
        path: str,
        person: Person | None = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        **request: Any,
    ) -> httpx.Response:
        sent = dict(headers or {})
        if person is not None:
            sent["Authorization"] = f"Bearer {token_of(person)}"
        if key is not None:
            sent["Idempotency-Key"] = key
        return await self.http.request(method, path, headers=sent, **request)

    async def get(self, path: str, person: Person, **params: Any) -> Any:
        """Return the data of a response that must be a success."""
        return data_of(await self.call("GET", path, person, params=params))

    async def post(self, path: str, person: Person, body: Mapping[str, Any]) -> Any:
        return data_of(await self.call("POST", path, person, json=body))


async def earns_since(api: Api, pool: Pool, device_id: UUID | str, at: datetime) -> None:
    """Let an administrator allow the sale of a device's energy from `at` on."""
    admin = await add_user(pool, "admin")
    body = {"earns_from": rfc3339(at), "reason": "The test tells of the past"}
    path = f"/api/v1/admin/devices/{device_id}"
    data_of(await api.call("PATCH", path, admin, json=body))


def token_of(person: Person, *, ttl: timedelta = timedelta(minutes=5)) -> str:
    return tokens.sign(
        JWT_SECRET,
        user_id=person.id,
        email=person.email,
        role=person.role,
        now=datetime.now(UTC),
        ttl=ttl,
    )


def data_of(response: httpx.Response) -> Any:
    assert response.is_success, response.text
    return response.json()["data"]


def code_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


def fields_of(response: httpx.Response) -> list[str]:
    """Return the fields that a ValidationError names."""
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "ValidationError"
    return [detail["field"] for detail in response.json()["error"]["details"]]


@asynccontextmanager
async def serving(
    database: DatabaseSettings,
    redis: RedisSettings | None = None,
    *,
    limits: ConnectionLimits | None = None,
    clock: Clock = REAL_TIME,
    **settings: Any,
) -> AsyncIterator[Api]:
    """Run the API until the block ends."""
    defaults = {
        "jwt_secret": JWT_SECRET,
        "payment_webhook_secret": WEBHOOK_SECRET,
        "payment_providers": ("sandbox",),
        "api_port": free(),
        "bcrypt_rounds": 4,
    }
    api_settings = ApiSettings(**(defaults | settings))
    started = asyncio.Event()
    running = asyncio.create_task(
        server.run(
            api_settings,
            database,
            redis,
            registry=CollectorRegistry(),
            started=started,
            clock=clock,
            limits=limits,
        )
    )
    async with asyncio.timeout(10):
        await started.wait()
    url = f"http://127.0.0.1:{api_settings.api_port}"
    try:
        # One connection each for a hundred people.
        limits = httpx.Limits(max_connections=100)
        # To load the certificates of authorities takes longer than most tests.
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30, verify=False) as http:
            yield Api(http, api_settings)
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


@pytest.fixture
async def api(database: DatabaseSettings) -> AsyncIterator[Api]:
    async with serving(database) as api:
        yield api
