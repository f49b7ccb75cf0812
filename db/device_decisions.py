"""Decisions of administrators on devices, and their effect on the listings.

The caller locks the device's state first; then its listings are locked by id.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from core.ids import DeviceId
from core.listing_adjustments import adjust
from core.selling import SellingRules
from db import device_states, listing_adjustments
from db.pool import Connection

_OF = """
SELECT s.capacity_approved, s.frozen, s.earns_from, s.flagged, d.created_at, d.carried,
       d.deleted_at IS NOT NULL AS removed
  FROM device_states s JOIN devices d ON d.id = s.device_id
 WHERE s.device_id = $1
"""

_LOCK_STATE = "SELECT FROM device_states WHERE device_id = $1 FOR NO KEY UPDATE"

_DECIDE = """
UPDATE device_states SET capacity_approved = $2, frozen = $3, earns_from = $4 WHERE device_id = $1
"""

_LOCK_LISTINGS = """
SELECT id FROM energy_listings
 WHERE device_id = $1 AND status IN ('active', 'paused', 'sold')
 ORDER BY id FOR NO KEY UPDATE
"""

_PAUSE_STATED = """
WITH paused AS (
    UPDATE energy_listings l
       SET status = 'paused', paused_by = 'device', updated_at = hub_now(), version = version + 1
     WHERE device_id = $1 AND NOT auto_adjust AND status = 'active'
    RETURNING l AS listing
)
SELECT announce_listing('listing.paused', listing) FROM paused ORDER BY (listing).id
"""

_RESUME_STATED = """
WITH resumed AS (
    UPDATE energy_listings l
       SET status = 'active', paused_by = NULL, updated_at = hub_now(), version = version + 1
     WHERE device_id = $1 AND NOT auto_adjust AND status = 'paused' AND paused_by = 'device'
       AND available_to > hub_now()
    RETURNING l AS listing
)
SELECT announce_listing('listing.resumed', listing) FROM resumed ORDER BY (listing).id
"""

# Measures as at the creation of the listing (db/listings.py). If it begins with the same slot as
# before, the energy that the slot had then still does not belong to it.
_MEASURE_AGAIN = """
WITH followed AS (
    SELECT l.id, l.available_to, l.measured_from, l.baseline_wh, s.earns_from,
           greatest(l.available_from, (
               SELECT max(least(c.closed_at + $2::interval, c.available_to)) FROM energy_listings c
                WHERE c.device_id = $1 AND c.auto_adjust AND c.closed_at IS NOT NULL)) AS cut_at
      FROM energy_listings l JOIN device_states s ON s.device_id = l.device_id
     WHERE l.device_id = $1 AND l.auto_adjust AND l.status IN ('active', 'paused', 'sold')
), begun AS (
    SELECT id, available_to, measured_from, baseline_wh, cut_at,
           greatest(date_bin('15 minutes', cut_at, '2000-01-01Z'),
                    date_bin('15 minutes', earns_from, '2000-01-01Z')) AS start
      FROM followed
), measured AS (
    SELECT b.id, b.start, coalesce(sum(sellable_wh(i.quality, i.surplus_wh, i.early_wh)), 0) AS wh,
           CASE WHEN b.start = b.measured_from THEN b.baseline_wh ELSE
               coalesce(sum(sellable_wh(i.quality, i.surplus_wh, i.early_wh))
                        FILTER (WHERE i.slot_start = b.start AND b.cut_at > b.start), 0)
           END AS old_wh
      FROM begun b
      LEFT JOIN energy_interval i
             ON i.device_id = $1 AND i.slot_start >= b.start AND i.slot_start < b.available_to
     GROUP BY b.id, b.start, b.measured_from, b.baseline_wh, b.cut_at
)
UPDATE energy_listings l
   SET measured_from = m.start, baseline_wh = m.old_wh, measured_wh = m.wh - m.old_wh,
       updated_at = hub_now(), version = version + 1
  FROM measured m
 WHERE l.id = m.id
   AND (l.measured_from, l.baseline_wh, l.measured_wh)
       IS DISTINCT FROM (m.start, m.old_wh, m.wh - m.old_wh)
RETURNING l.id
"""

_ANNOUNCE = "SELECT announce_listing('listing.updated', l) FROM energy_listings l WHERE id = $1"

_NOTHING_WH = Decimal(0)


@dataclass(frozen=True, slots=True)
class Decided:
    """The decisions on a device, and the facts that limit them."""

    capacity_approved: bool
    frozen: bool
    earns_from: datetime
    registered_at: datetime
    # Time of the last reading under an earlier registration of the meter: energy up to then never
    # earns again.
    accounted_until: datetime | None
    removed: bool


async def lock(conn: Connection, device_id: DeviceId) -> Decided | None:
    """Lock the state of a device, also of a removed one, and return the decisions on it."""
    await conn.execute(_LOCK_STATE, device_id)
    row = await conn.fetchrow(_OF, device_id)
    if row is None:
        return None
    carried = device_states.terms_of(row).carried
    return Decided(
        capacity_approved=row["capacity_approved"],
        frozen=row["frozen"],
        earns_from=row["earns_from"],
        registered_at=row["created_at"],
        accounted_until=carried.last_at if carried else None,
        removed=row["removed"],
    )


async def decide(conn: Connection, device_id: DeviceId, decided: Decided) -> None:
    """Store the decisions on a locked device. Its listings are not changed."""
    await conn.execute(
        _DECIDE, device_id, decided.capacity_approved, decided.frozen, decided.earns_from
    )


async def measure_again(
    conn: Connection, device_id: DeviceId, *, max_clock_ahead: timedelta
) -> None:
    """Recompute the energy of the listing that follows a device, from its `earns_from` on."""
    await conn.execute(_LOCK_LISTINGS, device_id)
    for row in await conn.fetch(_MEASURE_AGAIN, device_id, max_clock_ahead):
        await conn.execute(_ANNOUNCE, row["id"])


async def apply_to_listings(
    conn: Connection, device_id: DeviceId, rules: SellingRules, now: datetime
) -> None:
    """Pause the listings of a device that may not sell, or resume them if it may sell again."""
    states = await device_states.lock(conn, [device_id])
    if device_id not in states:
        # A removed device has no open listing.
        return
    condition = states[device_id].condition(rules)
    await conn.execute(_LOCK_LISTINGS, device_id)
    await conn.execute(_RESUME_STATED if condition.may_sell else _PAUSE_STATED, device_id)
    adjusted = await listing_adjustments.lock_adjusted(conn, [device_id])
    adjustments = [
        adjust(listing, surplus_change_wh=_NOTHING_WH, condition=condition, now=now)
        for listing in adjusted
    ]
    if adjustments:
        await listing_adjustments.adjust(conn, adjustments)
