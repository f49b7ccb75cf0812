"""Listings with dynamic prices, and their slots."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from core.prices import Grid, PriceRules
from core.units import SLOT, slot_of
from db.pool import Connection, Pool
from tests.support.people import BANGALORE, Person, add_listing
from tests.support.waiting import eventually

GRID = Grid(retail=Decimal("8.0000"), export=Decimal("3.0000"))
RULES = PriceRules(GRID, demand_max_kwh=Decimal(10))

_MAKE_DYNAMIC = """
UPDATE energy_listings SET pricing = 'dynamic', price_floor = $2, price_cap = $3 WHERE id = $1
"""

# Energy that was bought the day before, and a listing that had that much more.
_SOLD_YESTERDAY = """
WITH transfer AS (
    INSERT INTO ledger_transfers (kind, reference_id) VALUES ('purchase', $1) RETURNING id
), listing AS (
    UPDATE energy_listings SET stated_kwh = stated_kwh + $3, sold_kwh = sold_kwh + $3 WHERE id = $1
)
INSERT INTO energy_transactions (listing_id, buyer_id, transfer_id, energy_kwh, price_per_kwh,
                                 total_price, platform_fee, seller_amount, created_at)
SELECT $1, $2, id, $3, 6, 6 * $3, 0, 6 * $3, now() - interval '1 day' FROM transfer
"""


async def sold_yesterday(
    db: Connection | Pool, listing_id: UUID, buyer: Person, kwh: Decimal | int
) -> None:
    """Add an earlier sale of a listing, without its transfer."""
    await db.execute(_SOLD_YESTERDAY, listing_id, buyer.id, Decimal(kwh))


async def add_dynamic_listing(
    db: Connection | Pool,
    seller: Person,
    *,
    kwh: Decimal | int = 10,
    price_per_kwh: Decimal | int = 5,
    floor: Decimal | int = 1,
    cap: Decimal | int = 20,
    place: tuple[float, float] = BANGALORE,
) -> UUID:
    """Add a listing like `add_listing`, with a price between a floor and a cap."""
    listing_id = await add_listing(db, seller, kwh=kwh, price_per_kwh=price_per_kwh, place=place)
    await db.execute(_MAKE_DYNAMIC, listing_id, floor, cap)
    return listing_id


async def slot_after(db: Connection | Pool) -> datetime:
    """Return the slot after the current one, in which listings and demand are created."""
    slot_start: datetime = await db.fetchval("SELECT max(price_slot) FROM energy_listings")
    return slot_start + SLOT


async def not_at_the_end_of_a_slot() -> None:
    """Wait until a slot has enough time left for demand and listings in the same slot."""

    def holds() -> bool:
        now = datetime.now(UTC)
        return slot_of(now) == slot_of(now + timedelta(seconds=10))

    await eventually(holds, within_s=15)
