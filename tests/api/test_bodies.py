"""Limits on the size of bodies, and on the bytes of all bodies in memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from api.http.body_limits import ByteBudget
from core.settings import DatabaseSettings
from db.pool import Pool
from tests.api.conftest import Api, code_of, serving, token_of
from tests.support.people import Person, add_listing, add_user
from tests.support.raw_http import head, line_to
from tests.support.waiting import eventually

LOGIN, PURCHASE = "/api/v1/auth/login", "/api/v1/marketplace/purchase"
JSON = {"Content-Type": "application/json"}
KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
async def api(database: DatabaseSettings) -> AsyncIterator[Api]:
    """An API that takes the addresses of clients from `X-Forwarded-For`."""
    async with serving(database, trusted_proxies=("127.0.0.1",)) as api:
        yield api


class Unfinished:
    """Requests whose bodies have started, and end with the block."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._may_end = asyncio.Event()
        self.answers: list[asyncio.Task[httpx.Response]] = []

    def send(self, size: int, *request: Any, **more: Any) -> asyncio.Task[httpx.Response]:
        async def body() -> AsyncIterator[bytes]:
            yield b" " * size
            await self._may_end.wait()

        call = self._api.call("POST", *request, content=body(), **more)
        self.answers.append(asyncio.create_task(call))
        return self.answers[-1]

    async def end(self) -> None:
        self._may_end.set()
        await asyncio.gather(*self.answers, return_exceptions=True)


@asynccontextmanager
async def unfinished(api: Api) -> AsyncIterator[Unfinished]:
    sent = Unfinished(api)
    try:
        yield sent
    finally:
        await sent.end()


def of(address: str) -> Mapping[str, str]:
    return JSON | {"X-Forwarded-For": address}


async def post(api: Api, person: Person, size: int, address: str = "192.0.2.1") -> int:
    """Return the status for a body of this many spaces: 400 if it was read, as it is no JSON."""
    response = await api.call("POST", PURCHASE, person, content=b" " * size, headers=of(address))
    return response.status_code


async def test_bodies_without_a_valid_token_are_not_waited_for(api: Api, pool: Pool) -> None:
    """66 bodies that have started use none of the budgets."""
    buyer = await add_user(pool, balance=100)
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    expired = token_of(buyer, ttl=timedelta(seconds=-1))
    async with AsyncExitStack() as stack:
        for number in range(66):
            line = await stack.enter_async_context(line_to(api.settings.api_port))
            bearer = (f"Bearer {expired}", "Bearer x.y.z", "")[number % 3]
            await line.send(head("POST", PURCHASE, authorization=bearer, content_length=f"{MIB}"))
            await line.send(b" " * 64 * KIB)
            refused = await line.answer()
            code = "expired_token" if number % 3 == 0 else "bad_token"
            assert (refused.status, refused.code) == (401, code)
        await api.post(PURCHASE, buyer, {"listing_id": str(listing_id), "energy_kwh": 1})


async def test_a_body_without_a_token_may_have_16_kib(api: Api, pool: Pool) -> None:
    small = await api.call("POST", LOGIN, content=b" " * 16 * KIB, headers=JSON)
    assert (small.status_code, code_of(small)) == (400, "invalid")
    large = b" " * (16 * KIB + 1)
    for bearer in ("", "Bearer x.y.z"):
        headers = JSON | {"Authorization": bearer}
        refused = await api.call("POST", LOGIN, content=large, headers=headers)
        assert (refused.status_code, code_of(refused)) == (413, "body_too_large")
        assert "16 KiB" in refused.json()["message"]
    signed_in = await api.call("POST", LOGIN, await add_user(pool), content=large, headers=JSON)
    assert (signed_in.status_code, code_of(signed_in)) == (400, "invalid")


async def test_a_user_may_use_only_a_part_of_the_budget(api: Api, pool: Pool) -> None:
    sender, other = await add_user(pool), await add_user(pool)
    async with unfinished(api) as sent:
        for _ in range(4):
            sent.send(MIB, PURCHASE, sender, headers=of("192.0.2.1"))

        async def is_refused() -> bool:
            return await post(api, sender, MIB) == 429

        await eventually(is_refused)
        assert await post(api, sender, MIB, "192.0.2.2") == 429
        assert await post(api, sender, 100) == 400
        assert await post(api, other, MIB) == 400
    assert await post(api, sender, MIB) == 400


async def test_an_address_may_use_only_a_part_of_the_budget(api: Api, pool: Pool) -> None:
    people = [await add_user(pool) for _ in range(13)]
    async with unfinished(api) as sent:
        for person in people[:12]:
            sent.send(MIB, PURCHASE, person, headers=of("192.0.2.1"))

        async def is_refused() -> bool:
            response = await api.call(
                "POST", PURCHASE, people[12], content=b" " * MIB, headers=of("192.0.2.1")
            )
            if response.status_code != 429:
                return False
            return code_of(response) == "too_busy" and int(response.headers["Retry-After"]) > 0

        await eventually(is_refused)
        assert await post(api, people[12], 100) == 400
        assert await post(api, people[12], MIB, "192.0.2.2") == 400
        # Another address of IPv6 has a part of its own.
        assert await post(api, people[12], MIB, "2001:db8::1") == 400


async def test_large_bodies_leave_room_for_small_ones(api: Api, pool: Pool) -> None:
    """From many addresses, of many users."""
    people = [await add_user(pool) for _ in range(48)]
    async with unfinished(api) as sent:
        for number, person in enumerate(people):
            sent.send(MIB, PURCHASE, person, headers=of(f"192.0.2.{number}"))
        late = await add_user(pool)

        async def is_refused() -> bool:
            return await post(api, late, MIB, "198.51.100.1") == 429

        await eventually(is_refused)
        assert await post(api, late, 16 * KIB, "198.51.100.1") == 400
        wrong = {"email": "asha@example.org", "password": "wrong"}
        assert (await api.call("POST", LOGIN, json=wrong)).status_code == 401


def test_a_budget_forgets_holders_that_released_everything() -> None:
    budget = ByteBudget(100, 60, 40)
    assert budget.reserve("here", "asha", 40)
    assert not budget.reserve("here", "asha", 1)
    assert budget.reserve("here", None, 19)
    assert not budget.reserve("here", None, 1)
    assert budget.reserve("there", None, 39)
    assert not budget.reserve("there", None, 1)
    for address, user, size in (
        ("here", "asha", 40), ("here", "asha", 1), ("here", None, 19),
        ("here", None, 1), ("there", None, 39), ("there", None, 1),
    ):  # fmt: skip
        budget.release(address, user, size)
    assert (budget._held, budget._held_bytes) == ({}, 0)
