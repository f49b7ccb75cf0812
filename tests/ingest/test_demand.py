"""Supply and demand of a neighbourhood: which listings, purchases and refused orders count."""

from decimal import Decimal

import h3
import pytest

from core.geo import neighbourhood
from core.units import SLOT
from db import purchases
from db.pool import Pool
from db.purchases import Purchase, PurchaseOrder
from ingest import pricing
from tests.ingest.priced_listings import (
    add_demand,
    expected,
    host,
    price_next_slot,
    price_of,
    refuse_order,
)
from tests.support import market
from tests.support.ledger import as_owner
from tests.support.market import (
    GRID,
    RULES,
    add_dynamic_listing,
    slot_after,
    sold_yesterday,
)
from tests.support.people import BANGALORE, add_listing, add_money, add_user

HOME = neighbourhood(*BANGALORE)
NEXT = h3.grid_ring(HOME, 1)[0]
_A_SLOT_AGO = """
UPDATE energy_transactions SET created_at = created_at - $1::interval WHERE energy_kwh = 2
"""


@pytest.fixture(autouse=True)
async def _within_one_slot() -> None:
    await market.not_at_the_end_of_a_slot()


async def test_supply_and_demand_reach_across_a_border_but_not_further(pool: Pool) -> None:
    beside, beyond = NEXT, h3.grid_ring(HOME, 2)
    here = await add_dynamic_listing(pool, await host(pool), kwh=1)
    await add_listing(pool, await host(pool), kwh=3, place=h3.cell_to_latlng(beside))
    far = await add_listing(pool, await host(pool), kwh=900, place=h3.cell_to_latlng(beyond[0]))
    there = await add_listing(pool, await host(pool), kwh=0, place=h3.cell_to_latlng(beside))
    await add_demand(pool, there, 10)
    await add_demand(pool, far, 7000)
    await price_next_slot(pool)
    assert await price_of(pool, here) == expected(4, 10)
    [made] = await pool.fetch("SELECT cell, offered_kwh, wanted_kwh FROM neighbourhood_prices")
    assert tuple(made) == (HOME, 4, 10)


async def test_only_active_listings_in_their_window_are_supply(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=4)
    for change in (
        "status = 'paused', paused_by = 'seller'",
        "status = 'cancelled', closed_at = now()",
        "available_from = now() + interval '1 hour'",
        "available_to = now()",
    ):
        closed = await add_listing(pool, await host(pool), kwh=100)
        await pool.execute(f"UPDATE energy_listings SET {change} WHERE id = $1", closed)
    await add_demand(pool, here, 10)
    await price_next_slot(pool)
    assert await price_of(pool, here) == expected(4, 10)


async def test_a_listing_dearer_than_the_grid_is_no_supply(pool: Pool) -> None:
    """An offer that nobody has to take would push down the price of all others, for nothing."""
    here = await add_dynamic_listing(pool, await host(pool), kwh=4)
    dear = GRID.retail + Decimal("0.0001")
    await add_listing(pool, await host(pool), kwh=90_000, price_per_kwh=dear)
    await add_dynamic_listing(
        pool, await host(pool), kwh=90_000, price_per_kwh=dear, floor=dear, cap=20
    )
    await add_demand(pool, here, 10)
    await price_next_slot(pool)
    assert await price_of(pool, here) == expected(4, 10)
    await add_listing(pool, await host(pool), kwh=1, price_per_kwh=GRID.retail)
    await add_demand(pool, here, 10)
    await pricing.price_slot(pool, RULES, await slot_after(pool) + SLOT)
    [made] = await pool.fetch("SELECT offered_kwh FROM neighbourhood_prices WHERE wanted_kwh = 0")
    assert made["offered_kwh"] == 5


async def test_energy_bought_in_the_last_slot_is_demand(pool: Pool) -> None:
    seller, buyer = await host(pool), await add_user(pool, balance=10_000)
    here = await add_dynamic_listing(pool, seller, kwh=10)
    for kwh in (2, 4):
        async with pool.acquire() as conn:
            order = PurchaseOrder(buyer.id, here, Decimal(kwh), None, None)
            [bought] = await purchases.purchase(conn, [order], fee_rate=Decimal(0))
        assert isinstance(bought, Purchase)
    async with pool.acquire() as conn:
        await as_owner(conn, _A_SLOT_AGO, SLOT)
    await add_demand(pool, here, 6)
    await price_next_slot(pool)
    assert await price_of(pool, here) == expected(4, 4 + 6)


async def test_repeated_orders_of_a_buyer_count_once(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=4)
    beside = await add_listing(pool, await host(pool), kwh=0)
    buyer = await add_demand(pool, here, 10)
    for kwh in (1, 9, 10):
        await refuse_order(pool, buyer, beside, kwh)
        await refuse_order(pool, buyer, here, kwh)
    assert await pool.fetchval("SELECT count(*) FROM refused_demand") == 1
    await price_next_slot(pool)
    assert await price_of(pool, here) == expected(4, 10)
    assert await pool.fetchval("SELECT count(*) FROM refused_demand") == 0


async def test_demand_is_limited_by_the_balance_of_the_wallet(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=4, price_per_kwh=5)
    await add_demand(pool, here, "999999999.999", balance=50)
    await add_demand(pool, here, "999999999.999", balance=0)
    await price_next_slot(pool)
    assert await price_of(pool, here) == expected(4, 10)


async def test_an_order_at_a_tiny_price_is_valued_at_the_export_price(pool: Pool) -> None:
    """A balance of 1 INR buys 0.333 kWh at the export price, whatever the listing costs."""
    here = await add_dynamic_listing(pool, await host(pool), kwh=100)
    bait = await add_listing(pool, await host(pool), kwh=0, price_per_kwh=Decimal("0.0001"))
    for _ in range(20):
        await add_demand(pool, bait, 10_000, balance=1, before=10_000)
    wanted = await pool.fetch("SELECT energy_kwh FROM refused_demand")
    assert {row[0] for row in wanted} == {Decimal("0.333")}
    await price_next_slot(pool)
    assert await price_of(pool, here) == GRID.export


async def test_a_purchase_at_a_tiny_price_is_valued_at_the_export_price(pool: Pool) -> None:
    """Two accomplices may agree on any price for energy that does not exist."""
    here = await add_dynamic_listing(pool, await host(pool), kwh=100)
    accomplice, buyer = await host(pool), await add_user(pool, balance=1)
    listing_id = await add_listing(pool, accomplice, kwh=10_000, price_per_kwh=Decimal("0.0001"))
    async with pool.acquire() as conn:
        order = PurchaseOrder(buyer.id, listing_id, Decimal(10_000))
        [bought] = await purchases.purchase(conn, [order], fee_rate=Decimal(0))
    assert isinstance(bought, Purchase)
    await price_next_slot(pool)
    [made] = await pool.fetch("SELECT wanted_kwh FROM neighbourhood_prices")
    assert made["wanted_kwh"] == Decimal("0.333")
    assert await price_of(pool, here) == GRID.export
    # Nor does that purchase raise the limit of what the buyer is believed to consume.
    await add_money(pool, buyer.id, Decimal(1_000_000))
    await refuse_order(pool, buyer, here, 10_000)
    assert await pool.fetchval("SELECT energy_kwh FROM refused_demand") == 1


async def test_the_demand_of_a_household_has_a_maximum(
    pool: Pool,
) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=20)
    beside = await add_listing(pool, await host(pool), kwh=8, place=h3.cell_to_latlng(NEXT))
    buyer = await add_demand(pool, here, 21, before=30)
    async with pool.acquire() as conn:
        order = PurchaseOrder(buyer.id, beside, Decimal(8))
        [bought] = await purchases.purchase(conn, [order], fee_rate=Decimal(0))
    assert isinstance(bought, Purchase)
    await add_demand(pool, here, 3)
    await price_next_slot(pool)
    [made] = await pool.fetch("SELECT offered_kwh, wanted_kwh FROM neighbourhood_prices")
    assert tuple(made) == (20, RULES.demand_max_kwh + 3)


async def test_demand_is_limited_by_twice_the_energy_that_a_buyer_bought_before(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=50)
    for before, counted in ((0, 1), (1, 2), (3, 6), (40, 60)):
        buyer = await add_demand(pool, here, 60, before=before)
        row = await pool.fetchrow("SELECT * FROM refused_demand WHERE buyer_id = $1", buyer.id)
        assert row is not None
        assert row["energy_kwh"] == counted, before


async def test_demand_is_limited_by_the_energy_that_the_listing_ever_had(pool: Pool) -> None:
    other = await add_listing(pool, await host(pool), kwh=50)
    here = await add_dynamic_listing(pool, await host(pool), kwh=2)
    buyer = await add_user(pool, balance=1000)
    await sold_yesterday(pool, other, buyer, 50)
    await refuse_order(pool, buyer, here, 50)
    assert await pool.fetchval("SELECT energy_kwh FROM refused_demand") == 2
