"""A slot turns: dynamic listings take the price of their neighbourhood."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import h3
import pytest
from structlog.testing import capture_logs

from core.geo import neighbourhood
from core.prices import local_price
from core.units import SLOT, price
from db import prices, purchases
from db.pool import Pool
from db.purchases import Purchase, PurchaseOrder
from ingest import pricing
from tests.support import market
from tests.support.ledger import as_owner
from tests.support.market import GRID, RULES, add_dynamic_listing, slot_after, sold_yesterday
from tests.support.people import BANGALORE, Person, add_listing, add_money, add_user
from tests.support.turning import Clock, pricing_by
from tests.support.waiting import eventually

HOME = neighbourhood(*BANGALORE)
NEXT = h3.grid_ring(HOME, 1)[0]
_A_SLOT_AGO = """
UPDATE energy_transactions SET created_at = created_at - $1::interval WHERE energy_kwh = 2
"""
_BECOMES = """
UPDATE energy_listings SET status = $2, paused_by = CASE $2 WHEN 'paused' THEN 'seller' END,
       closed_at = CASE WHEN $2 IN ('expired', 'cancelled') THEN now() END
 WHERE id = $1
"""


@pytest.fixture(autouse=True)
async def _within_one_slot() -> None:
    await market.not_at_the_end_of_a_slot()


async def host(pool: Pool) -> Person:
    return await add_user(pool, "host")


async def want(
    pool: Pool, listing_id: UUID, kwh: int | str, *, balance: int = 1_000_000, before: int = 10
) -> Person:
    """Somebody asked for more than there was, and is believed: they bought as much before."""
    buyer = await add_user(pool, balance=balance)
    if before:
        await sold_yesterday(pool, listing_id, buyer, before)
    await want_again(pool, buyer, listing_id, kwh)
    return buyer


async def want_again(pool: Pool, buyer: Person, listing_id: UUID, kwh: int | str) -> None:
    async with pool.acquire() as conn:
        await prices.note_refused(
            conn, buyer.id, listing_id, Decimal(kwh),
            max_price_per_kwh=None, grid_export_price=GRID.export,
        )  # fmt: skip


async def price_of(pool: Pool, listing_id: UUID) -> Decimal:
    value = await pool.fetchval(
        "SELECT price_per_kwh FROM energy_listings WHERE id = $1", listing_id
    )
    return Decimal(value)


async def turn(pool: Pool) -> int:
    return await pricing.price_slot(pool, RULES, await slot_after(pool))


def expected(offered: int, wanted: int) -> Decimal:
    return price(local_price(Decimal(offered), Decimal(wanted), GRID).sell)


async def test_a_listing_takes_the_sellers_price_and_says_so_once(pool: Pool) -> None:
    listing_id = await add_dynamic_listing(pool, await host(pool), kwh=4)
    await want(pool, listing_id, 10)
    assert await turn(pool) == 1
    assert await price_of(pool, listing_id) == expected(4, 10) == Decimal("4.8000")
    [event] = await pool.fetch("SELECT type, channels, data FROM outbox")
    assert (event["type"], event["channels"]) == (
        "listing.updated", ["listings", f"listing:{listing_id}"],
    )  # fmt: skip
    assert (event["data"]["price_per_kwh"], event["data"]["version"]) == ("4.8000", 2)


async def test_without_demand_it_is_what_the_grid_pays(pool: Pool) -> None:
    listing_id = await add_dynamic_listing(pool, await host(pool), kwh=4)
    await turn(pool)
    assert await price_of(pool, listing_id) == GRID.export


async def test_without_supply_it_is_what_the_grid_takes(pool: Pool) -> None:
    listing_id = await add_dynamic_listing(pool, await host(pool), kwh=0)
    await want(pool, listing_id, 1)
    await turn(pool)
    assert await price_of(pool, listing_id) == GRID.retail


@pytest.mark.parametrize(("floor", "cap", "taken"), [(5, 6, 5), (1, 4, 4), (1, 20, "4.8")])
async def test_it_stays_within_floor_and_cap(
    pool: Pool, floor: int, cap: int, taken: int | str
) -> None:
    listing_id = await add_dynamic_listing(
        pool, await host(pool), kwh=4, floor=floor, cap=cap, price_per_kwh=cap
    )
    await want(pool, listing_id, 10)
    await turn(pool)
    assert await price_of(pool, listing_id) == Decimal(taken)


async def test_the_database_takes_no_price_beyond_floor_and_cap(pool: Pool) -> None:
    await add_dynamic_listing(pool, await host(pool), floor=4, cap=6)
    for beyond in ("3.9999", "6.0001"):
        with pytest.raises(asyncpg.CheckViolationError, match="energy_listings_price_bounds"):
            await pool.execute("UPDATE energy_listings SET price_per_kwh = $1", Decimal(beyond))


async def test_a_price_that_stays_the_same_is_not_announced(pool: Pool) -> None:
    await add_dynamic_listing(pool, await host(pool), price_per_kwh=GRID.export)
    assert await turn(pool) == 1
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
    assert await pool.fetchval("SELECT version FROM energy_listings") == 1


async def test_supply_and_demand_reach_across_a_border_but_not_further(pool: Pool) -> None:
    beside, beyond = NEXT, h3.grid_ring(HOME, 2)
    here = await add_dynamic_listing(pool, await host(pool), kwh=1)
    await add_listing(pool, await host(pool), kwh=3, place=h3.cell_to_latlng(beside))
    far = await add_listing(pool, await host(pool), kwh=900, place=h3.cell_to_latlng(beyond[0]))
    there = await add_listing(pool, await host(pool), kwh=0, place=h3.cell_to_latlng(beside))
    await want(pool, there, 10)
    await want(pool, far, 7000)
    await turn(pool)
    assert await price_of(pool, here) == expected(4, 10)
    [made] = await pool.fetch("SELECT cell, offered_kwh, wanted_kwh FROM neighbourhood_prices")
    assert tuple(made) == (HOME, 4, 10)


async def test_only_what_is_on_sale_is_offered(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=4)
    for change in (
        "status = 'paused', paused_by = 'seller'",
        "status = 'cancelled', closed_at = now()",
        "available_from = now() + interval '1 hour'",
        "available_to = now()",
    ):
        closed = await add_listing(pool, await host(pool), kwh=100)
        await pool.execute(f"UPDATE energy_listings SET {change} WHERE id = $1", closed)
    await want(pool, here, 10)
    await turn(pool)
    assert await price_of(pool, here) == expected(4, 10)


async def test_what_costs_more_than_the_grid_takes_is_no_supply(pool: Pool) -> None:
    """An offer that nobody has to take would push down the price of all others, for nothing."""
    here = await add_dynamic_listing(pool, await host(pool), kwh=4)
    dear = GRID.retail + Decimal("0.0001")
    await add_listing(pool, await host(pool), kwh=90_000, price_per_kwh=dear)
    await add_dynamic_listing(
        pool, await host(pool), kwh=90_000, price_per_kwh=dear, floor=dear, cap=20
    )
    await want(pool, here, 10)
    await turn(pool)
    assert await price_of(pool, here) == expected(4, 10)
    await add_listing(pool, await host(pool), kwh=1, price_per_kwh=GRID.retail)
    await want(pool, here, 10)
    await pricing.turn(pool, RULES, await slot_after(pool) + SLOT)
    [made] = await pool.fetch("SELECT offered_kwh FROM neighbourhood_prices WHERE wanted_kwh = 0")
    assert made["offered_kwh"] == 5


async def test_what_was_bought_in_the_last_slot_was_wanted_too(pool: Pool) -> None:
    seller, buyer = await host(pool), await add_user(pool, balance=10_000)
    here = await add_dynamic_listing(pool, seller, kwh=10)
    for kwh in (2, 4):
        async with pool.acquire() as conn:
            order = PurchaseOrder(buyer.id, here, Decimal(kwh), None, None)
            [bought] = await purchases.purchase(conn, [order], fee_rate=Decimal(0))
        assert isinstance(bought, Purchase)
    async with pool.acquire() as conn:
        await as_owner(conn, _A_SLOT_AGO, SLOT)
    await want(pool, here, 6)
    await turn(pool)
    assert await price_of(pool, here) == expected(4, 4 + 6)


async def test_who_asks_again_and_again_moves_the_price_once(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=4)
    beside = await add_listing(pool, await host(pool), kwh=0)
    buyer = await want(pool, here, 10)
    for kwh in (1, 9, 10):
        await want_again(pool, buyer, beside, kwh)
        await want_again(pool, buyer, here, kwh)
    assert await pool.fetchval("SELECT count(*) FROM refused_demand") == 1
    await turn(pool)
    assert await price_of(pool, here) == expected(4, 10)
    assert await pool.fetchval("SELECT count(*) FROM refused_demand") == 0


async def test_a_wish_counts_as_far_as_the_wallet_would_have_paid_for_it(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=4, price_per_kwh=5)
    await want(pool, here, "999999999.999", balance=50)
    await want(pool, here, "999999999.999", balance=0)
    await turn(pool)
    assert await price_of(pool, here) == expected(4, 10)


async def test_one_rupee_does_not_move_a_neighbourhoods_price(pool: Pool) -> None:
    """A wish for energy that costs next to nothing is one for what the grid would pay for it."""
    here = await add_dynamic_listing(pool, await host(pool), kwh=100)
    bait = await add_listing(pool, await host(pool), kwh=0, price_per_kwh=Decimal("0.0001"))
    for _ in range(20):
        await want(pool, bait, 10_000, balance=1, before=10_000)
    wanted = await pool.fetch("SELECT energy_kwh FROM refused_demand")
    assert {row[0] for row in wanted} == {Decimal("0.333")}
    await turn(pool)
    assert await price_of(pool, here) == GRID.export


async def test_one_rupee_that_buys_a_ton_moves_it_as_little(pool: Pool) -> None:
    """Between two who know each other, energy that is not there costs what they like."""
    here = await add_dynamic_listing(pool, await host(pool), kwh=100)
    accomplice, buyer = await host(pool), await add_user(pool, balance=1)
    listing_id = await add_listing(pool, accomplice, kwh=10_000, price_per_kwh=Decimal("0.0001"))
    async with pool.acquire() as conn:
        order = PurchaseOrder(buyer.id, listing_id, Decimal(10_000))
        [bought] = await purchases.purchase(conn, [order], fee_rate=Decimal(0))
    assert isinstance(bought, Purchase)
    await turn(pool)
    [made] = await pool.fetch("SELECT wanted_kwh FROM neighbourhood_prices")
    assert made["wanted_kwh"] == Decimal("0.333")
    assert await price_of(pool, here) == GRID.export
    # Nor is who did that believed to be somebody who uses as much.
    await add_money(pool, buyer.id, Decimal(1_000_000))
    await want_again(pool, buyer, here, 10_000)
    assert await pool.fetchval("SELECT energy_kwh FROM refused_demand") == 1


async def test_a_household_counts_once_and_for_so_much_whatever_it_buys_and_wants(
    pool: Pool,
) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=20)
    beside = await add_listing(pool, await host(pool), kwh=8, place=h3.cell_to_latlng(NEXT))
    buyer = await want(pool, here, 21, before=30)
    async with pool.acquire() as conn:
        order = PurchaseOrder(buyer.id, beside, Decimal(8))
        [bought] = await purchases.purchase(conn, [order], fee_rate=Decimal(0))
    assert isinstance(bought, Purchase)
    await want(pool, here, 3)
    await turn(pool)
    [made] = await pool.fetch("SELECT offered_kwh, wanted_kwh FROM neighbourhood_prices")
    assert tuple(made) == (20, RULES.demand_max_kwh + 3)


async def test_a_stranger_is_believed_a_kwh_and_a_buyer_twice_what_they_bought(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=50)
    for before, counted in ((0, 1), (1, 2), (3, 6), (40, 60)):
        buyer = await want(pool, here, 60, before=before)
        row = await pool.fetchrow("SELECT * FROM refused_demand WHERE buyer_id = $1", buyer.id)
        assert row is not None
        assert row["energy_kwh"] == counted, before


async def test_nobody_wanted_more_than_the_listing_ever_had(pool: Pool) -> None:
    other = await add_listing(pool, await host(pool), kwh=50)
    here = await add_dynamic_listing(pool, await host(pool), kwh=2)
    buyer = await add_user(pool, balance=1000)
    await sold_yesterday(pool, other, buyer, 50)
    await want_again(pool, buyer, here, 50)
    assert await pool.fetchval("SELECT energy_kwh FROM refused_demand") == 2


async def test_a_price_holds_until_the_next_slot(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), price_per_kwh=5)
    slot_start = await slot_after(pool) - SLOT
    await pricing.price_slot(pool, RULES, slot_start)
    assert await price_of(pool, here) == 5
    await pricing.price_slot(pool, RULES, slot_start + SLOT)
    assert await price_of(pool, here) == GRID.export


async def test_prices_of_open_listings_follow_and_others_stay(pool: Pool) -> None:
    seller, open_ = await host(pool), ("active", "paused", "sold")
    fixed = await add_listing(pool, seller, price_per_kwh=6)
    listings = {
        status: await add_dynamic_listing(pool, seller, price_per_kwh=5)
        for status in (*open_, "expired", "cancelled")
    }
    for status, listing_id in listings.items():
        await pool.execute(_BECOMES, listing_id, status)
    assert await turn(pool) == 3
    assert await price_of(pool, fixed) == 6
    for status, listing_id in listings.items():
        assert await price_of(pool, listing_id) == (GRID.export if status in open_ else 5), status


async def test_a_slot_that_is_turned_again_changes_nothing(pool: Pool) -> None:
    here = await add_dynamic_listing(pool, await host(pool), kwh=4)
    slot_start = await slot_after(pool)
    assert await pricing.price_slot(pool, RULES, slot_start) == 1
    before = await pool.fetchrow("SELECT * FROM energy_listings")
    await want(pool, here, 100, before=0)
    assert await pricing.price_slot(pool, RULES, slot_start) == 0
    assert await pool.fetchrow("SELECT * FROM energy_listings") == before
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 1


async def test_who_ends_in_the_middle_is_finished_by_another_at_the_same_prices(pool: Pool) -> None:
    seller = await host(pool)
    for _ in range(5):
        here = await add_dynamic_listing(pool, seller, kwh=1)
    await want(pool, here, 10)
    slot_start = await slot_after(pool)
    await pricing.survey(pool, RULES, slot_start)
    first = await prices.due(pool, slot_start, after=UUID(int=0), limit=2)
    assert await pricing.reprice(pool, slot_start, first) == 2
    # What happens to supply meanwhile is for the next slot.
    await pool.execute("UPDATE energy_listings SET stated_kwh = 900")
    assert await pricing.price_slot(pool, RULES, slot_start) == 3
    found = await pool.fetch("SELECT DISTINCT price_per_kwh FROM energy_listings")
    assert [row[0] for row in found] == [expected(5, 10)]
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 5


async def test_several_ingesters_turn_each_listing_once_in_id_order(pool: Pool) -> None:
    seller = await host(pool)
    await add_dynamic_listing(pool, seller, kwh=4)
    await pool.execute(
        "INSERT INTO energy_listings (seller_id, stated_kwh, price_per_kwh, pricing, price_floor,"
        " price_cap, exact_latitude, exact_longitude, available_from, available_to)"
        " SELECT seller_id, 1, 5, pricing, 1, 20, latitude, longitude, available_from, available_to"
        " FROM energy_listings, generate_series(1, 1299)"
    )
    slot_start = await slot_after(pool)
    turned = await asyncio.gather(*(pricing.price_slot(pool, RULES, slot_start) for _ in range(4)))
    assert sum(turned) == 1300
    events = await pool.fetch("SELECT data->>'id' AS id FROM outbox ORDER BY id")
    assert len({event["id"] for event in events}) == len(events) == 1300
    assert await pool.fetchval("SELECT max(version) FROM energy_listings") == 2


async def test_a_batch_locks_no_more_than_its_own(pool: Pool) -> None:
    seller = await host(pool)
    ids = sorted([await add_dynamic_listing(pool, seller) for _ in range(3)])
    slot_start = await slot_after(pool)
    await pricing.survey(pool, RULES, slot_start)
    free = "SELECT id FROM energy_listings ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"
    async with pool.acquire() as conn, conn.transaction():
        due = await prices.lock_due(conn, slot_start, ids[:2])
        assert [one.id for one in due] == ids[:2]
        assert [row["id"] for row in await pool.fetch(free)] == ids[2:]


async def test_figures_are_kept_for_a_day(pool: Pool) -> None:
    await add_dynamic_listing(pool, await host(pool))
    first = await slot_after(pool)
    for slot_start in (first, first + SLOT, first + SLOT + timedelta(days=1)):
        await pricing.price_slot(pool, RULES, slot_start)
    kept = await pool.fetch("SELECT slot_start FROM neighbourhood_prices ORDER BY 1")
    assert [row[0] for row in kept] == [first + SLOT, first + SLOT + timedelta(days=1)]


async def test_the_timer_turns_a_slot_once_it_has_begun_and_survives_the_database(
    pool: Pool,
) -> None:
    await add_dynamic_listing(pool, await host(pool))
    next_slot = await slot_after(pool)
    clock = Clock(next_slot - timedelta(microseconds=1))
    turned = "SELECT array_agg(slot_start ORDER BY slot_start) FROM price_slots"

    async def turned_until(slot_start: datetime) -> bool:
        return (await pool.fetchval(turned) or [None])[-1] == slot_start

    async def taken(value: Decimal) -> bool:
        return bool(await pool.fetchval("SELECT price_per_kwh FROM energy_listings") == value)

    async with pricing_by(clock, pool, RULES):
        await eventually(lambda: turned_until(next_slot - SLOT))
        with capture_logs() as logs:
            await pool.execute("ALTER TABLE price_slots RENAME TO away")
            clock.at = next_slot
            await eventually(lambda: "slot_not_priced" in {line["event"] for line in logs})
            await pool.execute("ALTER TABLE away RENAME TO price_slots")
            await eventually(lambda: turned_until(next_slot))
            await eventually(lambda: taken(GRID.export))
