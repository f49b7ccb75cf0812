"""What the hub has come to: for those who watch it."""

from dataclasses import dataclass
from decimal import Decimal

from db.pool import Connection, Pool

_TOTALS = """
SELECT (SELECT count(*) FROM devices WHERE deleted_at IS NULL) AS devices,
       (SELECT count(*) FROM energy_listings WHERE status = 'active') AS active_listings,
       (SELECT count(*) FROM outbox) AS waiting_events,
       count(*) AS purchases, coalesce(sum(energy_kwh), 0) AS energy_kwh,
       coalesce(sum(total_price), 0) AS paid_inr
  FROM energy_transactions
"""


@dataclass(frozen=True, slots=True)
class Totals:
    devices: int
    active_listings: int
    waiting_events: int
    purchases: int
    energy_kwh: Decimal
    paid_inr: Decimal


async def totals(conn: Connection | Pool) -> Totals:
    row = await conn.fetchrow(_TOTALS)
    assert row is not None
    return Totals(
        devices=row["devices"],
        active_listings=row["active_listings"],
        waiting_events=row["waiting_events"],
        purchases=row["purchases"],
        energy_kwh=row["energy_kwh"],
        paid_inr=row["paid_inr"],
    )
