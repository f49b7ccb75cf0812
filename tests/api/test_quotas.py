"""Limits on the things that a user has, and on the changes that a user makes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.http.usage_limits import WriteLimits
from core.errors import TooMany
from core.settings import ApiSettings, DatabaseSettings
from core.units import rfc3339
from db.pool import Pool
from tests.api.conftest import JWT_SECRET, Api, code_of, data_of, serving
from tests.support.people import PASSWORD, Person, add_listing, add_user

DEVICES, LISTINGS = "/api/v1/devices", "/api/v1/marketplace/listings"
METHODS, LOGIN = "/api/v1/payment-methods", "/api/v1/auth/login"
QUOTAS = {
    f"quota_{what}": 3 for what in ("devices", "open_listings", "payment_methods", "sessions")
}


@pytest.fixture
async def api(database: DatabaseSettings) -> AsyncIterator[Api]:
    """An API with quotas of three."""
    async with serving(database, **QUOTAS) as api:
        yield api


async def add_device(api: Api, host: Person) -> httpx.Response:
    body = {"name": "Roof", "kind": "inverter", "capacity_w": 5000}
    return await api.call("POST", DEVICES, host, json=body)


async def offer(api: Api, host: Person) -> httpx.Response:
    now = datetime.now(UTC)
    body = {
        "energy_amount_kwh": 1, "price_per_kwh": 6, "latitude": 12.9, "longitude": 77.5,
        "available_from": rfc3339(now), "available_to": rfc3339(now + timedelta(days=1)),
    }  # fmt: skip
    return await api.call("POST", LISTINGS, host, json=body)


async def add_method(api: Api, host: Person) -> httpx.Response:
    body = {"kind": "upi", "label": "My UPI", "provider_ref": "tok_1"}
    return await api.call("POST", METHODS, host, json=body)


async def sign_in(api: Api, host: Person) -> httpx.Response:
    return await api.call("POST", LOGIN, json={"email": host.email, "password": PASSWORD})


async def remove(api: Api, host: Person, made: Any) -> None:
    path = {"capacity_w": DEVICES, "price_per_kwh": LISTINGS, "provider_ref": METHODS}
    for field, collection in path.items():
        if field in made:
            assert (await api.call("DELETE", f"{collection}/{made['id']}", host)).is_success
            return
    body = {"refresh_token": made["refresh_token"]}
    assert (await api.call("POST", "/api/v1/auth/logout", json=body)).is_success


@pytest.mark.parametrize(
    ("add", "what"),
    [
        (add_device, "devices"),
        (offer, "open listings"),
        (add_method, "payment methods"),
        (sign_in, "sessions"),
    ],
)
async def test_one_more_than_the_quota_is_refused_until_one_is_removed(
    api: Api, pool: Pool, add: Any, what: str
) -> None:
    """Also of concurrent additions, which could each count less than the quota."""
    host, neighbour = await add_user(pool, "host"), await add_user(pool, "host")
    answers = await asyncio.gather(*(add(api, host) for _ in range(10)))
    made = [data_of(answer) for answer in answers if answer.is_success]
    refused = [answer for answer in answers if not answer.is_success]
    assert len(made) == 3
    for answer in refused:
        assert (answer.status_code, code_of(answer)) == (409, "quota_exceeded")
        assert what in answer.json()["message"]
        assert answer.json()["error"]["details"] == [{"field": what, "message": "at most 3"}]
    assert (await add(api, neighbour)).is_success
    await remove(api, host, made[0])
    assert (await add(api, host)).is_success
    assert code_of(await add(api, host)) == "quota_exceeded"


async def test_a_closed_listing_does_not_count(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    for _ in range(3):
        await add_listing(pool, host)
    await pool.execute("UPDATE energy_listings SET status = 'sold'")
    assert code_of(await offer(api, host)) == "quota_exceeded"
    await pool.execute("UPDATE energy_listings SET status = 'expired', closed_at = now()")
    assert (await offer(api, host)).is_success


async def test_a_session_counts_once_and_until_it_expires(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    session = data_of(await sign_in(api, host))
    for _ in range(4):
        body = {"refresh_token": session["refresh_token"]}
        session = data_of(await api.call("POST", "/api/v1/auth/refresh", json=body))
    assert (await sign_in(api, host)).is_success
    assert (await sign_in(api, host)).is_success
    assert code_of(await sign_in(api, host)) == "quota_exceeded"
    await pool.execute("UPDATE refresh_tokens SET expires_at = now()")
    assert (await sign_in(api, host)).is_success


async def test_changes_over_the_limit_are_refused_with_retry_after(
    database: DatabaseSettings, pool: Pool
) -> None:
    host, neighbour = await add_user(pool, "host"), await add_user(pool, "host")
    async with serving(database, rate_limit_writes="5/minute") as api:
        for _ in range(5):
            assert (await add_method(api, host)).is_success
        refused = await add_method(api, host)
        assert (refused.status_code, code_of(refused)) == (429, "rate_limited")
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        order = {"listing_id": str(uuid4()), "energy_kwh": 1}
        buying = await api.call("POST", "/api/v1/marketplace/purchase", host, json=order)
        assert code_of(buying) == "rate_limited"
        assert (await api.call("GET", METHODS, host)).is_success
        assert (await add_method(api, neighbour)).is_success


async def test_refreshes_over_the_limit_are_refused_and_keep_the_session(
    database: DatabaseSettings, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    async with serving(database, rate_limit_writes="2/second") as api:
        session = data_of(await sign_in(api, host))

        async def renew() -> httpx.Response:
            body = {"refresh_token": session["refresh_token"]}
            return await api.call("POST", "/api/v1/auth/refresh", json=body)

        while (answer := await renew()).is_success:
            session = data_of(answer)
        assert code_of(answer) == "rate_limited"
        await asyncio.sleep(int(answer.headers["Retry-After"]))
        assert (await renew()).is_success


def test_changes_pass_evenly_after_the_first_burst() -> None:
    now, asha, ravi = 100.0, uuid4(), uuid4()
    limits = WriteLimits("6/minute", monotonic=lambda: now)

    def counted() -> int:
        """Return the number of changes that pass."""
        for number in range(100):
            try:
                limits.count(asha)
            except TooMany as refusal:
                waits_s.append(int(str(refusal.facts["retry_after_s"])))
                return number
        raise AssertionError("no limit")

    waits_s: list[int] = []
    assert counted() == 6
    limits.count(ravi)
    now += 10
    assert counted() == 1
    now += 25
    assert counted() == 2
    now += 3600
    assert counted() == 6
    assert waits_s == [10, 10, 5, 10]


def test_users_without_recent_changes_are_forgotten() -> None:
    now = 100.0
    limits = WriteLimits("1/second", monotonic=lambda: now)
    for _ in range(50):
        for _ in range(1000):
            limits.count(uuid4())
        now += 1
    assert len(limits._limits[0]._due_at) < 12_000


def test_limits_may_be_several_or_none() -> None:
    several, asha = WriteLimits("2/second;3/hour", monotonic=lambda: 0.0), uuid4()
    several.count(asha)
    several.count(asha)
    with pytest.raises(TooMany):
        several.count(asha)
    none = WriteLimits("off")
    for _ in range(10_000):
        none.count(asha)


def test_the_default_quotas_are_large_enough() -> None:
    settings = ApiSettings(jwt_secret=JWT_SECRET)
    assert settings.quota_open_listings >= settings.quota_devices >= 100
