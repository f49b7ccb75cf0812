"""Prices for every 15-minute slot: surveyed once, then taken by the dynamic listings in batches.

Any number of ingesters may: the first one to survey a slot commits what all go by, and a listing
that has its price of a slot is not touched again in it. So turning a slot late, twice, or from
where a killed process left it, changes nothing.
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
from ingest.isolation import each_by_itself

LIMIT = 500
_FIRST = ListingId(UUID(int=0))

_log = structlog.get_logger()


async def watch(
    pool: Pool,
    rules: PriceRules,
    *,
    now: Callable[[], datetime] = REAL_TIME.now,
    every_s: float = 1.0,
) -> None:
    """Turn every slot once it has begun, until cancelled."""
    turned: datetime | None = None
    while True:
        slot_start = slot_of(now())
        try:
            if slot_start != turned:
                await turn(pool, rules, slot_start)
                # What failed is tried again, which goes by prices that are made.
                if not await failed_items.any_to_retry(pool, Queue.PRICES):
                    turned = slot_start
        except database_errors() as error:
            _log.warning("prices_not_made", error=type(error).__name__)
        await asyncio.sleep(every_s)


async def turn(pool: Pool, rules: PriceRules, slot_start: datetime) -> int:
    """Give every dynamic listing its price of a slot. Returns how many took one here."""
    await survey(pool, rules, slot_start)
    repriced, after = 0, _FIRST
    work = partial(reprice, pool, slot_start)
    while due := await prices.due(pool, slot_start, after=after, limit=LIMIT):
        repriced, after = repriced + await each_by_itself(pool, Queue.PRICES, due, work), due[-1]
    return repriced


async def survey(pool: Pool, rules: PriceRules, slot_start: datetime) -> None:
    """Make the prices of a slot, unless they are made. Locks nothing that others write."""
    async with pool.acquire() as conn, conn.transaction():
        if not await prices.claim(conn, slot_start):
            return
        found = SupplyAndDemand()
        async for place in prices.places(conn, slot_start, rules):
            found.add(place)
        await prices.save(conn, slot_start, list(found.neighbourhoods(rules.grid)))


async def reprice(pool: Pool, slot_start: datetime, listing_ids: Sequence[ListingId]) -> int:
    """Let some listings take their price, in one transaction; they are locked by id.

    Returns how many did.
    """
    async with pool.acquire() as conn, conn.transaction():
        due = await prices.lock_due(conn, slot_start, listing_ids)
        if due:
            cells = {one.id: neighbourhood(one.latitude, one.longitude) for one in due}
            sell = await prices.sell_prices(conn, slot_start, set(cells.values()))
            taken = [_price_of(one, sell.get(cells[one.id])) for one in due]
            await prices.reprice(conn, slot_start, list(zip(due, taken, strict=True)))
        return len(due)


def _price_of(due: DueListing, sell: Decimal | None) -> Decimal:
    """What was not there yet when its neighbourhood was surveyed keeps its price."""
    if sell is None:
        return due.price_per_kwh
    return listing_price(sell, due.price_floor, due.price_cap)
