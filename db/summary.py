"""Sums over the market and the hub: trades of a period, current listings, totals."""

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

_TOTALS = """
SELECT (SELECT count(*) FROM devices WHERE deleted_at IS NULL) AS devices,
       (SELECT count(*) FROM energy_listings WHERE status = 'active') AS active_listings,
       (SELECT count(*) FROM outbox) AS waiting_events,
       count(*) AS purchases, coalesce(sum(energy_kwh), 0) AS energy_kwh,
       coalesce(sum(total_price), 0) AS paid_inr
  FROM energy_transactions
"""


@dataclass(frozen=True, slots=True)
class Traded:
    """The sum of all purchases in a period."""

    transactions: int
    energy_kwh: Decimal
    # INR.
    total_price: Decimal
    platform_fees: Decimal


@dataclass(frozen=True, slots=True)
class Totals:
    """The current totals of a hub, for its dashboard."""

    devices: int
    active_listings: int
    waiting_events: int
    purchases: int
    energy_kwh: Decimal
    paid_inr: Decimal


async def traded(conn: Connection, *, begin: datetime, end: datetime) -> Traded:
    """Return the sum of purchases from `begin` on and before `end`."""
    row = await conn.fetchrow(_TRADED, begin, end)
    assert row is not None
    return Traded(
        transactions=row["transactions"],
        energy_kwh=row["energy_kwh"],
        total_price=row["total_price"],
        platform_fees=row["platform_fees"],
    )


async def listings_by_status(conn: Connection) -> dict[ListingStatus, int]:
    """Return the number of listings by status, without statuses that none has."""
    return {ListingStatus(row["status"]): row["listings"] for row in await conn.fetch(_BY_STATUS)}


async def energy_on_offer_kwh(conn: Connection) -> Decimal:
    """Return the energy left in active listings."""
    left: Decimal = await conn.fetchval(_ON_OFFER)
    return left


async def totals(conn: Connection) -> Totals:
    """Return the current totals of the hub."""
    row = await conn.fetchrow(_TOTALS)
    assert row is not None
    return Totals(**dict(row))
