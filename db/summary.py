"""What the market came to: over all of its trades in a span, and what is on offer now."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from core.enums import ListingStatus
from db.pool import Connection

_TRADED = """
SELECT count(*) AS transactions, coalesce(sum(energy_kwh), 0) AS energy_kwh,
       coalesce(sum(total_price), 0) AS total_price, coalesce(sum(platform_fee), 0) AS platform_fees
  FROM energy_transactions WHERE created_at >= $1 AND created_at < $2
"""

_BY_STATUS = "SELECT status, count(*) AS listings FROM energy_listings GROUP BY status"

_ON_OFFER = """
SELECT coalesce(sum(energy_amount_kwh), 0) AS energy_kwh
  FROM energy_listings WHERE status = 'active'
"""


@dataclass(frozen=True, slots=True)
class Traded:
    """`total_price` and `platform_fees`: INR."""

    transactions: int
    energy_kwh: Decimal
    total_price: Decimal
    platform_fees: Decimal


async def traded(conn: Connection, *, begin: datetime, end: datetime) -> Traded:
    """What was bought from `begin` on, before `end`."""
    row = await conn.fetchrow(_TRADED, begin, end)
    assert row is not None
    return Traded(
        transactions=row["transactions"],
        energy_kwh=row["energy_kwh"],
        total_price=row["total_price"],
        platform_fees=row["platform_fees"],
    )


async def listings_by_status(conn: Connection) -> dict[ListingStatus, int]:
    """How many listings there are now of each status that any has."""
    return {ListingStatus(row["status"]): row["listings"] for row in await conn.fetch(_BY_STATUS)}


async def energy_on_offer_kwh(conn: Connection) -> Decimal:
    """What active listings have left."""
    left: Decimal = await conn.fetchval(_ON_OFFER)
    return left
