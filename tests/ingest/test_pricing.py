"""A slot begins: dynamic listings take the price of their neighbourhood."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from core.units import SLOT
from db import prices
from db.pool import Pool
from ingest import pricing
from tests.ingest.priced_listings import add_demand, expected, host, price_next_slot, price_of
from tests.support import market
from tests.support.market import GRID, RULES, add_dynamic_listing, slot_after
from tests.support.people import add_listing
from tests.support.turning import Clock, pricing_by
from tests.support.waiting import eventually

_BECOMES = """
UPDATE energy_listings SET status = $2, paused_by = CASE $2 WHEN 'paused' THEN 'seller' END,
       closed_at = CASE WHEN $2 IN ('expired', 'cancelled') THEN now() END
 WHERE id = $1
"""


@pytest.fixture(autouse=True)
async def _within_one_slot() -> None:
    await market.not_at_the_end_of_a_slot()


async def test_a_listing_takes_the_local_sell_price_and_announces_it_once(pool: Pool) -> None:
    listing_id = await add_dynamic_listing(pool, await host(pool), kwh=4)
    await add_demand(pool, listing_id, 10)
    assert await price_next_slot(pool) == 1
    assert await price_of(pool, listing_id) == expected(4, 10) == Decimal("4.8000")
    [event] = await pool.fetch("SELECT type, channels, data FROM outbox")
    assert (event["type"], event["channels"]) == (
        "listing.updated", ["listings", f"listing:{listing_id}"],
    )  # fmt: skip
    assert (event["data"]["price_per_kwh"], event["data"]["version"]) == ("4.8000", 2)


async def test_without_demand_the_price_is_the_export_price_of_the_grid(pool: Pool) -> None:
    listing_id = await add_dynamic_listing(pool, await host(pool), kwh=4)
    await price_next_slot(pool)
    assert await price_of(pool, listing_id) == GRID.export


async def test_without_supply_the_price_is_the_retail_price_of_the_grid(pool: Pool) -> None:
    listing_id = await add_dynamic_listing(pool, await host(pool), kwh=0)
    await add_demand(pool, listing_id, 1)
    await price_next_slot(pool)
    assert await price_of(pool, listing_id) == GRID.retail


@pytest.mark.parametrize(
    ("floor", "cap", "price_in_effect"), [(5, 6, 5), (1, 4, 4), (1, 20, "4.8")]
)
async def test_a_price_stays_within_floor_and_cap(
    pool: Pool, floor: int, cap: int, price_in_effect: int | str
) -> None:
    listing_id = await add_dynamic_listing(
        pool, await host(pool), kwh=4, floor=floor, cap=cap, price_per_kwh=cap
    )
    await add_demand(pool, listing_id, 10)
    await price_next_slot(pool)
    assert await price_of(pool, listing_id) == Decimal(price_in_effect)


async def test_the_database_refuses_a_price_beyond_floor_and_cap(pool: Pool) -> None:
    await add_dynamic_listing(pool, await host(pool), floor=4, cap=6)
    for beyond in ("3.9999", "6.0001"):
        with pytest.raises(asyncpg.CheckViolationError, match="energy_listings_price_bounds"):
            await pool.execute("UPDATE energy_listings SET price_per_kwh = $1", Decimal(beyond))


async def test_an_unchanged_price_is_not_announced(pool: Pool) -> None:
    await add_dynamic_listing(pool, await host(pool), price_per_kwh=GRID.export)
    assert await price_next_slot(pool) == 1
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
    assert await pool.fetchval("SELECT version FROM energy_listings") == 1


async def test_a_price_holds_until_the_next_slot(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), price_per_kwh=5)
    slot_start = await slot_after(pool) - SLOT
    await pricing.price_slot(pool, RULES, slot_start)
    assert await price_of(pool, here) == 5
    await pricing.price_slot(pool, RULES, slot_start + SLOT)
    assert await price_of(pool, here) == GRID.export


async def test_only_open_dynamic_listings_are_repriced(pool: Pool) -> None:
    seller, open_ = await host(pool), ("active", "paused", "sold")
    fixed = await add_listing(pool, seller, price_per_kwh=6)
    listings = {
        status: await add_dynamic_listing(pool, seller, price_per_kwh=5)
        for status in (*open_, "expired", "cancelled")
    }
    for status, listing_id in listings.items():
        await pool.execute(_BECOMES, listing_id, status)
    assert await price_next_slot(pool) == 3
    assert await price_of(pool, fixed) == 6
    for status, listing_id in listings.items():
        assert await price_of(pool, listing_id) == (GRID.export if status in open_ else 5), status


async def test_pricing_a_slot_again_changes_nothing(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=4)
    slot_start = await slot_after(pool)
    assert await pricing.price_slot(pool, RULES, slot_start) == 1
    before = await pool.fetchrow("SELECT * FROM energy_listings")
    await add_demand(pool, here, 100, before=0)
    assert await pricing.price_slot(pool, RULES, slot_start) == 0
    assert await pool.fetchrow("SELECT * FROM energy_listings") == before
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 1


async def test_another_ingester_finishes_a_slot_at_the_same_prices(pool: Pool) -> None:
    seller = await host(pool)
    for _ in range(5):
        here = await add_dynamic_listing(pool, seller, kwh=1)
    await add_demand(pool, here, 10)
    slot_start = await slot_after(pool)
    await pricing.survey(pool, RULES, slot_start)
    first = await prices.due(pool, slot_start, after=UUID(int=0), limit=2)
    assert await pricing.reprice(pool, slot_start, first) == 2
    # A change of supply takes effect in the next slot.
    await pool.execute("UPDATE energy_listings SET stated_kwh = 900")
    assert await pricing.price_slot(pool, RULES, slot_start) == 3
    found = await pool.fetch("SELECT DISTINCT price_per_kwh FROM energy_listings")
    assert [row[0] for row in found] == [expected(5, 10)]
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 5


async def test_several_ingesters_reprice_each_listing_once_in_id_order(pool: Pool) -> None:
    seller = await host(pool)
    await add_dynamic_listing(pool, seller, kwh=4)
    await pool.execute(
        "INSERT INTO energy_listings (seller_id, stated_kwh, price_per_kwh, pricing, price_floor,"
        " price_cap, exact_latitude, exact_longitude, available_from, available_to)"
        " SELECT seller_id, 1, 5, pricing, 1, 20, latitude, longitude, available_from, available_to"
        " FROM energy_listings, generate_series(1, 1299)"
    )
    slot_start = await slot_after(pool)
    priced = await asyncio.gather(*(pricing.price_slot(pool, RULES, slot_start) for _ in range(4)))
    assert sum(priced) == 1300
    events = await pool.fetch("SELECT data->>'id' AS id FROM outbox ORDER BY id")
    assert len({event["id"] for event in events}) == len(events) == 1300
    assert await pool.fetchval("SELECT max(version) FROM energy_listings") == 2


async def test_a_batch_locks_only_its_own_listings(pool: Pool) -> None:
    seller = await host(pool)
    ids = sorted([await add_dynamic_listing(pool, seller) for _ in range(3)])
    slot_start = await slot_after(pool)
    await pricing.survey(pool, RULES, slot_start)
    free = "SELECT id FROM energy_listings ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"
    async with pool.acquire() as conn, conn.transaction():
        due = await prices.lock_due(conn, slot_start, ids[:2])
        assert [one.id for one in due] == ids[:2]
        assert [row["id"] for row in await pool.fetch(free)] == ids[2:]


async def test_prices_are_stored_for_a_day(pool: Pool) -> None:
    await add_dynamic_listing(pool, await host(pool))
    first = await slot_after(pool)
    for slot_start in (first, first + SLOT, first + SLOT + timedelta(days=1)):
        await pricing.price_slot(pool, RULES, slot_start)
    kept = await pool.fetch("SELECT slot_start FROM neighbourhood_prices ORDER BY 1")
    assert [row[0] for row in kept] == [first + SLOT, first + SLOT + timedelta(days=1)]


async def test_the_timer_prices_a_slot_once_it_has_begun_and_survives_an_outage(
    pool: Pool,
) -> None:
    await add_dynamic_listing(pool, await host(pool))
    next_slot = await slot_after(pool)
    clock = Clock(next_slot - timedelta(microseconds=1))
    priced = "SELECT array_agg(slot_start ORDER BY slot_start) FROM price_slots"

    async def is_priced_until(slot_start: datetime) -> bool:
        return (await pool.fetchval(priced) or [None])[-1] == slot_start

    async def price_in_effect(value: Decimal) -> bool:
        return bool(await pool.fetchval("SELECT price_per_kwh FROM energy_listings") == value)

    async with pricing_by(clock, pool, RULES):
        await eventually(lambda: is_priced_until(next_slot - SLOT))
        with capture_logs() as logs:
            await pool.execute("ALTER TABLE price_slots RENAME TO away")
            clock.at = next_slot
            await eventually(lambda: "slot_not_priced" in {line["event"] for line in logs})
            await pool.execute("ALTER TABLE away RENAME TO price_slots")
            await eventually(lambda: is_priced_until(next_slot))
            await eventually(lambda: price_in_effect(GRID.export))
