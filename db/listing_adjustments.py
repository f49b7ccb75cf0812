"""Listings that follow a device: locked by id, adjusted, and announced once per commit."""

from collections.abc import Collection, Sequence

from core.enums import ListingStatus, PausedBy
from core.ids import DeviceId, ListingId
from core.listing_adjustments import AdjustedListing, Adjustment
from db.pool import Connection

_LOCK = """
SELECT id, device_id, status, paused_by, stated_kwh, measured_wh, sold_kwh, reserve_soc_pct,
       measured_from, available_to
  FROM energy_listings
 WHERE device_id = ANY($1::uuid[]) AND auto_adjust AND status IN ('active', 'paused', 'sold')
 ORDER BY id FOR NO KEY UPDATE
"""

_ADJUST = """
WITH changed AS (
    UPDATE energy_listings l
       SET measured_wh = n.measured_wh, status = n.status, paused_by = n.paused_by,
           closed_at = CASE n.status WHEN 'expired' THEN hub_now() END, updated_at = hub_now(),
           version = l.version + CASE WHEN n.event IS NULL THEN 0 ELSE 1 END
      FROM unnest($1::uuid[], $2::numeric[], $3::text[], $4::text[], $5::text[])
           AS n (id, measured_wh, status, paused_by, event)
     WHERE l.id = n.id
    RETURNING l AS listing, n.event
)
INSERT INTO outbox (type, channels, data)
SELECT event, ARRAY['listings', 'listing:' || (listing).id], listing_json(listing)
  FROM changed WHERE event IS NOT NULL ORDER BY (listing).id
"""

_OVERDUE = """
SELECT l.id FROM energy_listings l
 WHERE status IN ('active', 'paused', 'sold') AND available_to <= hub_clock_timestamp()
   AND NOT EXISTS (SELECT FROM failed_items f
                    WHERE f.queue = 'expiry' AND f.item = l.id::text
                      AND (f.retry_at IS NULL OR f.retry_at > clock_timestamp()))
 ORDER BY l.id LIMIT $1
"""

_EXPIRE = """
WITH overdue AS (
    SELECT id FROM energy_listings
     WHERE status IN ('active', 'paused', 'sold') AND available_to <= hub_clock_timestamp()
       AND id = ANY($1::uuid[])
     ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), changed AS (
    UPDATE energy_listings l
       SET status = 'expired', paused_by = NULL, closed_at = hub_now(), updated_at = hub_now(),
           version = l.version + 1
      FROM overdue WHERE l.id = overdue.id
    RETURNING l AS listing
), announced AS (
    INSERT INTO outbox (type, channels, data)
    SELECT 'listing.expired', ARRAY['listings', 'listing:' || (listing).id], listing_json(listing)
      FROM changed ORDER BY (listing).id
    RETURNING id
)
SELECT count(*) FROM announced
"""


async def lock_adjusted(
    conn: Connection, device_ids: Collection[DeviceId]
) -> list[AdjustedListing]:
    """Lock the open auto-adjusted listings of these devices until commit, in id order."""
    return [
        AdjustedListing(
            id=r["id"],
            device_id=r["device_id"],
            status=ListingStatus(r["status"]),
            paused_by=PausedBy(r["paused_by"]) if r["paused_by"] else None,
            stated_kwh=r["stated_kwh"],
            measured_wh=r["measured_wh"],
            sold_kwh=r["sold_kwh"],
            reserve_soc_pct=r["reserve_soc_pct"],
            measured_from=r["measured_from"],
            available_to=r["available_to"],
        )
        for r in await conn.fetch(_LOCK, list(device_ids))
    ]


async def adjust(conn: Connection, adjustments: Sequence[Adjustment]) -> None:
    """Store adjustments, with one event for each that subscribers can see."""
    await conn.execute(
        _ADJUST,
        [a.listing.id for a in adjustments],
        [a.listing.measured_wh for a in adjustments],
        [a.listing.status for a in adjustments],
        [a.listing.paused_by for a in adjustments],
        [a.event for a in adjustments],
    )


async def overdue(conn: Connection, limit: int) -> list[ListingId]:
    """Return open listings whose window has passed, except those whose retry is not due."""
    return [row["id"] for row in await conn.fetch(_OVERDUE, limit)]


async def expire(conn: Connection, listing_ids: Sequence[ListingId]) -> int:
    """Expire listings whose window has passed, locked by id, with events. Return their number."""
    return int(await conn.fetchval(_EXPIRE, listing_ids))
