"""Listings with dynamic prices, in the API."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from core.settings import DatabaseSettings
from core.units import SLOT, rfc3339
from db.audit import audit
from db.pool import Pool
from ingest import pricing
from tests.api.conftest import Api, code_of, data_of
from tests.support import market
from tests.support.market import RULES, add_dynamic_listing, slot_after, sold_yesterday
from tests.support.people import Person, add_listing, add_user

LISTINGS = "/api/v1/marketplace/listings"
WANTED = "SELECT buyer_id, listing_id, energy_kwh FROM refused_demand"


@pytest.fixture(autouse=True)
async def _within_one_slot() -> None:
    await market.not_at_the_end_of_a_slot()


def offer(**more: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "energy_amount_kwh": 10, "price_per_kwh": "5", "latitude": 12.97, "longitude": 77.59,
        "available_from": rfc3339(now), "available_to": rfc3339(now + timedelta(days=1)),
        "pricing": "dynamic", "price_floor": "4.5", "price_cap": "6.5",
    } | more  # fmt: skip


async def buy(
    api: Api, buyer: Person, listing_id: UUID, kwh: object, **more: Any
) -> httpx.Response:
    order = {"listing_id": str(listing_id), "energy_kwh": kwh, **more}
    return await api.call("POST", "/api/v1/marketplace/purchase", buyer, json=order)


async def test_the_sellers_price_holds_until_the_next_slot(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    made = await api.post(LISTINGS, host, offer())
    assert made["price_per_kwh"] == "5.0000"
    next_slot = await slot_after(pool)
    await pricing.price_slot(pool, RULES, next_slot - SLOT)
    assert (await api.get(f"{LISTINGS}/{made['id']}", host))["price_per_kwh"] == "5.0000"
    await pricing.price_slot(pool, RULES, next_slot)
    found = await api.get(f"{LISTINGS}/{made['id']}", host)
    assert (found["price_per_kwh"], found["version"]) == ("4.5000", 2)
    [event] = await pool.fetch("SELECT data FROM outbox WHERE type = 'listing.updated'")
    assert event["data"] == found


async def test_a_price_changed_by_the_seller_holds_until_the_next_slot(
    api: Api, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    listing_id = await add_dynamic_listing(pool, host, floor=4, cap=7)
    path = f"{LISTINGS}/{listing_id}"
    for beyond in ("3.9999", "7.0001"):
        refused = await api.call("PATCH", path, host, json={"price_per_kwh": beyond})
        assert refused.status_code == 400
    await pool.execute("UPDATE energy_listings SET price_slot = price_slot - $1::interval", SLOT)
    changed = data_of(await api.call("PATCH", path, host, json={"price_per_kwh": "6"}))
    assert changed["price_per_kwh"] == "6.0000"
    next_slot = await slot_after(pool)
    await pricing.price_slot(pool, RULES, next_slot - SLOT)
    assert (await api.get(path, host))["price_per_kwh"] == "6.0000"
    await pricing.price_slot(pool, RULES, next_slot)
    assert (await api.get(path, host))["price_per_kwh"] == "4.0000"


async def test_other_changes_do_not_hold_the_price(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    listing_id = await add_dynamic_listing(pool, host)
    await pool.execute("UPDATE energy_listings SET price_slot = price_slot - $1::interval", SLOT)
    path, slot_start = f"{LISTINGS}/{listing_id}", await slot_after(pool)
    assert (await api.call("PATCH", path, host, json={"energy_amount_kwh": 20})).is_success
    assert await pricing.price_slot(pool, RULES, slot_start) == 1


async def test_an_order_refused_for_lack_of_energy_counts_as_demand(api: Api, pool: Pool) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    listing_id = await add_listing(pool, host, kwh=2, price_per_kwh=6)
    await sold_yesterday(pool, listing_id, buyer, 5)
    assert code_of(await buy(api, buyer, listing_id, 3)) == "insufficient_energy"
    assert [tuple(row) for row in await pool.fetch(WANTED)] == [(buyer.id, listing_id, 3)]
    # An order at a lower price is no demand at this one.
    cheap = await buy(api, await add_user(pool, balance=100), listing_id, 4, max_price_per_kwh=5)
    assert code_of(cheap) == "insufficient_energy"
    assert await pool.fetchval("SELECT count(*) FROM refused_demand") == 1
    # A refusal after the sale of the rest counts too. The buyer still has one row.
    assert (await buy(api, buyer, listing_id, 2)).is_success
    assert code_of(await buy(api, buyer, listing_id, 5)) == "listing_not_active"
    assert [tuple(row) for row in await pool.fetch(WANTED)] == [(buyer.id, listing_id, 5)]


@pytest.mark.parametrize(
    ("code", "listing", "order"),
    [
        ("listing_not_active", "status = 'paused', paused_by = 'seller'", {}),
        ("listing_not_active", "status = 'cancelled', closed_at = now()", {}),
        ("price_changed", "price_per_kwh = 7", {"max_price_per_kwh": 6}),
        ("insufficient_balance", "price_per_kwh = 100", {}),
        ("outside_window", "available_from = now() + interval '1 hour'", {}),
    ],
)
async def test_an_order_refused_for_another_reason_is_no_demand(
    api: Api, pool: Pool, code: str, listing: str, order: dict[str, Any]
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    listing_id = await add_listing(pool, host, kwh=2)
    await pool.execute(f"UPDATE energy_listings SET {listing}")
    assert code_of(await buy(api, buyer, listing_id, 2, **order)) == code
    assert await pool.fetch(WANTED) == []


async def test_a_hundred_refused_orders_of_one_buyer_leave_one_row(api: Api, pool: Pool) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100_000)
    listings = [await add_listing(pool, host, kwh=1) for _ in range(5)]
    for listing_id in listings:
        await sold_yesterday(pool, listing_id, buyer, 20)
    answers = await asyncio.gather(
        *(buy(api, buyer, listing_id, n) for n in range(2, 22) for listing_id in listings)
    )
    assert {code_of(answer) for answer in answers} == {"insufficient_energy"}
    [row] = await pool.fetch(WANTED)
    assert (row["buyer_id"], row["energy_kwh"]) == (buyer.id, 21)


async def test_a_purchase_above_the_buyers_highest_price_is_refused(
    api: Api, pool: Pool, database: DatabaseSettings
) -> None:
    listing_id = await add_dynamic_listing(pool, await add_user(pool, "host"), kwh=5, cap=8)
    for _ in range(10):
        eager = await add_user(pool, balance=10_000)
        assert code_of(await buy(api, eager, listing_id, 1000)) == "insufficient_energy"
    buyers = [await add_user(pool, balance=100) for _ in range(40)]
    slot_start = await slot_after(pool)
    orders = [buy(api, buyer, listing_id, "0.1", max_price_per_kwh=5) for buyer in buyers]
    first = await asyncio.gather(*orders[:20])
    *answers, repriced = await asyncio.gather(
        *orders[20:], pricing.price_slot(pool, RULES, slot_start)
    )
    assert repriced == 1
    price = await pool.fetchval("SELECT price_per_kwh FROM energy_listings")
    assert price > 5
    outcomes = Counter("bought" if a.is_success else code_of(a) for a in [*first, *answers])
    assert outcomes.keys() <= {"bought", "price_changed"}
    assert code_of(await buy(api, buyers[0], listing_id, "0.1", max_price_per_kwh=5)) == (
        "price_changed"
    )
    paid = await pool.fetch("SELECT price_per_kwh FROM energy_transactions")
    assert [row[0] for row in paid] == [Decimal(5)] * outcomes["bought"]
    async with pool.acquire() as conn:
        assert all([check.ok async for check in audit(conn, database)])
