"""The timer that computes prices for every 15-minute slot and applies them to dynamic listings.

Any number of ingesters may run it. The first one to claim a slot commits the prices that all use,
and a listing that has its price of a slot is not changed again in that slot. So to run a slot late,
twice, or from where a killed process stopped, changes nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

import structlog

from core.clock import REAL_TIME
from core.enums import Queue
from core.geo import neighbourhood
from core.ids import ListingId
from core.prices import PriceRules, SupplyAndDemand, listing_price
from core.units import slot_of
from db import failed_items, prices
from db.errors import database_errors
from db.pool import Pool
from db.prices import DueListing
from ingest.isolation import isolating_failures

# Listings per transaction, so that it holds its locks only briefly.
REPRICE_MAX = 500
_LOWEST_ID = ListingId(UUID(int=0))

_log = structlog.get_logger()


async def watch(
    pool: Pool,
    rules: PriceRules,
    *,
    now: Callable[[], datetime] = REAL_TIME.now,
    every_s: float = 1.0,
) -> None:
    """Price every slot once it has begun, until cancelled."""
    priced: datetime | None = None
    while True:
        slot_start = slot_of(now())
        try:
            if slot_start != priced:
                await price_slot(pool, rules, slot_start)
                # The slot is priced again while listings that failed are due to be retried.
                async with pool.acquire() as conn:
                    has_retries = await failed_items.any_to_retry(conn, Queue.PRICES)
                if not has_retries:
                    priced = slot_start
        except database_errors() as error:
            _log.warning("slot_not_priced", error=type(error).__name__)
        await asyncio.sleep(every_s)


async def price_slot(pool: Pool, rules: PriceRules, slot_start: datetime) -> int:
    """Apply a slot's prices to all dynamic listings, and return how many were changed here."""
    await survey(pool, rules, slot_start)
    repriced, after = 0, _LOWEST_ID
    work = partial(reprice, pool, slot_start)
    while due := await _due(pool, slot_start, after):
        repriced, after = (
            repriced + await isolating_failures(pool, Queue.PRICES, due, work),
            due[-1],
        )
    return repriced


async def _due(pool: Pool, slot_start: datetime, after: ListingId) -> list[ListingId]:
    async with pool.acquire() as conn:
        return await prices.due(conn, slot_start, after=after, limit=REPRICE_MAX)


async def survey(pool: Pool, rules: PriceRules, slot_start: datetime) -> None:
    """Compute the prices of a slot unless another process has. Locks no row that others write."""
    async with pool.acquire() as conn, conn.transaction():
        if not await prices.claim(conn, slot_start):
            return
        supply_and_demand = SupplyAndDemand()
        async for place in prices.places(conn, slot_start, rules):
            supply_and_demand.add(place)
        neighbourhoods = list(supply_and_demand.neighbourhoods(rules.grid))
        await prices.save(conn, slot_start, neighbourhoods)


async def reprice(pool: Pool, slot_start: datetime, listing_ids: Sequence[ListingId]) -> int:
    """Apply a slot's prices to some listings in one transaction, and return how many.

    Locks the listings by id.
    """
    async with pool.acquire() as conn, conn.transaction():
        due = await prices.lock_due(conn, slot_start, listing_ids)
        if due:
            cells = {one.id: neighbourhood(one.latitude, one.longitude) for one in due}
            sell = await prices.sell_prices(conn, slot_start, set(cells.values()))
            listing_prices = [_price_of(one, sell.get(cells[one.id])) for one in due]
            await prices.reprice(conn, slot_start, list(zip(due, listing_prices, strict=True)))
        return len(due)


def _price_of(due: DueListing, sell: Decimal | None) -> Decimal:
    """Return the new price; a listing whose neighbourhood has no price keeps its own."""
    if sell is None:
        return due.price_per_kwh
    return listing_price(sell, due.price_floor, due.price_cap)
