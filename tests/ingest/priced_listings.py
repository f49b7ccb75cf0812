"""Dynamic listings and demand for their energy, as tests of prices use them."""

from decimal import Decimal
from uuid import UUID

from core.prices import local_price
from core.units import price
from db import prices
from db.pool import Pool
from ingest import pricing
from tests.support.market import GRID, RULES, slot_after, sold_yesterday
from tests.support.people import Person, add_user


async def host(pool: Pool) -> Person:
    return await add_user(pool, "host")


async def add_demand(
    pool: Pool, listing_id: UUID, kwh: int | str, *, balance: int = 1_000_000, before: int = 10
) -> Person:
    """Refuse the order of a buyer who bought `before` kWh earlier, so that it counts as demand."""
    buyer = await add_user(pool, balance=balance)
    if before:
        await sold_yesterday(pool, listing_id, buyer, before)
    await refuse_order(pool, buyer, listing_id, kwh)
    return buyer


async def refuse_order(pool: Pool, buyer: Person, listing_id: UUID, kwh: int | str) -> None:
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


async def price_next_slot(pool: Pool) -> int:
    return await pricing.price_slot(pool, RULES, await slot_after(pool))


def expected(offered: int, wanted: int) -> Decimal:
    return price(local_price(Decimal(offered), Decimal(wanted), GRID).sell)
