"""Figures of the whole hub over a period, and of one device over a period and its lifetime."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from core.ids import DeviceId, UserId
from db.pool import Connection

# Reads the intervals per device, by their primary key. A device that sent nothing since then
# has no interval of that period.
_GENERATED = """
SELECT coalesce(sum(i.generated_wh), 0)
  FROM device_states s
 CROSS JOIN LATERAL (
       SELECT sum(generated_wh) AS generated_wh FROM energy_interval
        WHERE device_id = s.device_id AND slot_start >= $1) AS i
 WHERE s.last_seen_at >= $1
"""

_NAMES = """
SELECT id, full_name FROM users
 WHERE id IN (SELECT owner_id FROM devices WHERE deleted_at IS NULL
               UNION
              SELECT seller_id FROM energy_listings WHERE status = 'active')
 LIMIT $1
"""

_ENERGY = """
SELECT coalesce(sum(generated_wh), 0) AS generated_wh, coalesce(sum(surplus_wh), 0) AS exported_wh,
       coalesce(sum(generated_wh) FILTER (WHERE slot_start >= $2), 0) AS generated_since_wh,
       coalesce(sum(surplus_wh) FILTER (WHERE slot_start >= $2), 0) AS exported_since_wh
  FROM energy_interval WHERE device_id = $1
"""

_SALES = """
SELECT coalesce(sum(t.energy_kwh), 0) AS sold_kwh,
       coalesce(sum(t.seller_amount - t.investor_amount), 0) AS earned,
       coalesce(sum(t.energy_kwh) FILTER (WHERE t.created_at >= $2), 0) AS sold_since_kwh,
       coalesce(sum(t.seller_amount - t.investor_amount) FILTER (WHERE t.created_at >= $2), 0)
       AS earned_since
  FROM energy_listings l JOIN energy_transactions t ON t.listing_id = l.id
 WHERE l.device_id = $1
"""

# The counter only rises unless the meter is replaced or reset, which the page shows as unknown.
_IMPORT = """
SELECT (array_agg(import_wh ORDER BY time))[1] AS first_wh,
       (array_agg(import_wh ORDER BY time DESC))[1] AS last_wh
  FROM telemetry WHERE device_id = $1 AND time >= $2 AND import_wh IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class DeviceTotals:
    """Energy of a device in Wh, what was sold of it in kWh, and what its owner earned, INR.

    `imported_wh`: None if the device does not report it, or if its counter fell. Of the lifetime it
    is the counter of the meter itself.
    """

    generated_wh: Decimal
    exported_wh: Decimal
    imported_wh: float | None
    sold_kwh: Decimal
    earned: Decimal


async def generated_wh(conn: Connection, since: datetime) -> Decimal:
    """Return the energy that all devices generated since the start of a slot."""
    generated: Decimal = await conn.fetchval(_GENERATED, since)
    return generated


async def names(conn: Connection, *, limit: int) -> dict[UserId, str]:
    """Return the names of users that own a device or sell an active listing."""
    return {row["id"]: row["full_name"] for row in await conn.fetch(_NAMES, limit)}


async def device_totals(
    conn: Connection, device_id: DeviceId, since: datetime
) -> tuple[DeviceTotals, DeviceTotals]:
    """Return the totals of a device since the start of a slot, and those of its lifetime."""
    energy = await conn.fetchrow(_ENERGY, device_id, since)
    sales = await conn.fetchrow(_SALES, device_id, since)
    counter = await conn.fetchrow(_IMPORT, device_id, since)
    assert energy is not None
    assert sales is not None
    assert counter is not None
    first_wh, last_wh = counter["first_wh"], counter["last_wh"]
    rose = first_wh is not None and last_wh >= first_wh
    return (
        DeviceTotals(
            energy["generated_since_wh"],
            energy["exported_since_wh"],
            last_wh - first_wh if rose else None,
            sales["sold_since_kwh"],
            sales["earned_since"],
        ),
        DeviceTotals(
            energy["generated_wh"],
            energy["exported_wh"],
            last_wh,
            sales["sold_kwh"],
            sales["earned"],
        ),
    )
