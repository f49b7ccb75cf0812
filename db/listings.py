"""Listings: created, read, and changed by their seller.

Adjustments by a device are in `listing_adjustments`, the list of listings in `listing_pages`. A
listing is selected as a whole row value, since the JSON of its events needs the whole row.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from core.enums import ListingStatus, PausedBy, Pricing
from core.events import EventType
from core.ids import DeviceId, ListingId, UserId
from core.listings import Listing
from db.pool import Connection, Record

# A listing follows its meter from the slot in which its window begins. An earlier listing of the
# device may contain energy of later slots, since readings may be ahead of the clock by $16. Then
# the new one begins with the last slot that the earlier one can contain. If the cut is inside that
# slot, its energy so far is not for sale. Energy from before the device earns is never for sale.
_CREATE = """
WITH cut AS (
    SELECT greatest($12::timestamptz, max(least(closed_at + $16::interval, available_to))) AS at
      FROM energy_listings WHERE device_id = $2::uuid AND auto_adjust AND closed_at IS NOT NULL
), slot AS (
    SELECT greatest(date_bin('15 minutes', at, '2000-01-01Z'),
                    (SELECT date_bin('15 minutes', earns_from, '2000-01-01Z')
                       FROM device_states WHERE device_id = $2::uuid)) AS start, at FROM cut
), measured AS (
    SELECT coalesce(sum(sellable_wh(i.quality, i.surplus_wh, i.early_wh)), 0) AS total_wh,
           coalesce(sum(sellable_wh(i.quality, i.surplus_wh, i.early_wh))
                    FILTER (WHERE i.slot_start = slot.start AND slot.at > slot.start), 0) AS old_wh
      FROM slot JOIN energy_interval i ON i.device_id = $2::uuid AND $5::boolean
       AND i.slot_start >= slot.start AND i.slot_start < $13::timestamptz
)
INSERT INTO energy_listings AS l
       (seller_id, device_id, stated_kwh, price_per_kwh, auto_adjust, pricing, price_floor,
        price_cap, reserve_soc_pct, exact_latitude, exact_longitude, available_from, available_to,
        status, paused_by, measured_from, baseline_wh, measured_wh, exact_location)
SELECT $1::uuid, $2::uuid, $3::numeric, $4::numeric, $5::boolean, $6::text, $7::numeric,
       $8::numeric, $9::float8, $10::float8, $11::float8, $12::timestamptz, $13::timestamptz,
       $14::text, $15::text, CASE WHEN $5::boolean THEN slot.start END,
       measured.old_wh, measured.total_wh - measured.old_wh, $17::boolean
  FROM slot, measured
RETURNING l
"""

_OPEN_OF_SELLER = """
SELECT count(*) FROM energy_listings
 WHERE seller_id = $1 AND status IN ('active', 'paused', 'sold')
"""

_BY_ID = "SELECT l FROM energy_listings l WHERE id = $1"

_LOCK = "SELECT l FROM energy_listings l WHERE id = $1 FOR NO KEY UPDATE"

_CANCEL = """
UPDATE energy_listings AS l
   SET status = 'cancelled', paused_by = NULL, closed_at = hub_now(), updated_at = hub_now(),
       version = version + 1
 WHERE id = $1 AND status IN ('active', 'paused', 'sold')
RETURNING l
"""

_CHANGE = """
UPDATE energy_listings AS l
   SET price_per_kwh = $2, stated_kwh = $3, available_from = $4, available_to = $5, status = $6,
       paused_by = $7, updated_at = hub_now(), version = version + 1,
       price_slot = CASE WHEN price_per_kwh = $2 THEN price_slot
                         ELSE date_bin('15 minutes', hub_now(), '2000-01-01Z') END,
       measured_wh = CASE WHEN auto_adjust AND available_to <> $5 THEN coalesce((
           SELECT sum(sellable_wh(i.quality, i.surplus_wh, i.early_wh)) FROM energy_interval i
            WHERE i.device_id = l.device_id AND i.slot_start >= l.measured_from
              AND i.slot_start < $5), 0) - baseline_wh ELSE measured_wh END
 WHERE id = $1
RETURNING l
"""

_ANNOUNCE = "SELECT announce_listing($2, l) FROM energy_listings l WHERE id = $1"

# Also listings that wait for their device or its energy: they would otherwise resume by themselves.
_PAUSE_ALL = """
WITH held AS (
    SELECT id, status FROM energy_listings
     WHERE seller_id = $1 AND (status = 'active' OR status = 'paused' AND paused_by = 'device'
                               OR status = 'sold' AND auto_adjust)
     ORDER BY id FOR NO KEY UPDATE
), paused AS (
    UPDATE energy_listings l
       SET status = 'paused', paused_by = 'seller', updated_at = hub_now(), version = version + 1
      FROM held WHERE l.id = held.id
    RETURNING l AS listing, held.status AS status_before
)
SELECT announce_listing('listing.paused', listing)
  FROM paused WHERE status_before <> 'paused' ORDER BY (listing).id
"""

_CANCEL_ALL = """
WITH held AS (
    SELECT id FROM energy_listings
     WHERE device_id = $1 AND status IN ('active', 'paused', 'sold')
     ORDER BY id FOR NO KEY UPDATE
), cancelled AS (
    UPDATE energy_listings l
       SET status = 'cancelled', paused_by = NULL, closed_at = hub_now(), updated_at = hub_now(),
           version = version + 1
      FROM held WHERE l.id = held.id
    RETURNING l AS listing
)
SELECT announce_listing('listing.cancelled', listing) FROM cancelled ORDER BY (listing).id
"""


@dataclass(frozen=True, slots=True)
class NewListingRow:
    """A listing to create."""

    seller_id: UserId
    device_id: DeviceId | None
    stated_kwh: Decimal
    price_per_kwh: Decimal
    auto_adjust: bool
    pricing: Pricing
    price_floor: Decimal | None
    price_cap: Decimal | None
    reserve_soc_pct: float | None
    latitude: float
    longitude: float
    # The public place is the exact one; otherwise it is rounded to 0.01 degrees.
    exact_location: bool
    available_from: datetime
    available_to: datetime
    # Set if its device may not sell at present.
    paused_by: PausedBy | None


async def create(conn: Connection, new: NewListingRow, *, max_clock_ahead: timedelta) -> Listing:
    """Create a listing; one that follows a device has the energy measured since its window began.

    The caller has locked the device's state, so that no reading is accounted meanwhile. Raises
    OpenListingExists.
    """
    row = await conn.fetchrow(
        _CREATE, new.seller_id, new.device_id, new.stated_kwh, new.price_per_kwh, new.auto_adjust,
        new.pricing, new.price_floor, new.price_cap, new.reserve_soc_pct, new.latitude,
        new.longitude, new.available_from, new.available_to,
        ListingStatus.PAUSED if new.paused_by else ListingStatus.ACTIVE, new.paused_by,
        max_clock_ahead, new.exact_location,
    )  # fmt: skip
    assert row is not None
    return listing_of(row["l"])


async def count_open(conn: Connection, seller_id: UserId) -> int:
    """Return the number of a seller's open listings."""
    found: int = await conn.fetchval(_OPEN_OF_SELLER, seller_id)
    return found


async def by_id(conn: Connection, listing_id: ListingId) -> Listing | None:
    """Return a listing."""
    row = await conn.fetchrow(_BY_ID, listing_id)
    return listing_of(row["l"]) if row else None


async def lock(conn: Connection, listing_id: ListingId) -> Listing | None:
    """Lock a listing until commit and return its current state."""
    row = await conn.fetchrow(_LOCK, listing_id)
    return listing_of(row["l"]) if row else None


async def cancel(conn: Connection, listing_id: ListingId) -> Listing | None:
    """Cancel an open listing. None: it is not open."""
    row = await conn.fetchrow(_CANCEL, listing_id)
    return listing_of(row["l"]) if row else None


async def change(conn: Connection, listing: Listing) -> Listing:
    """Store the fields of a locked listing that its seller may change.

    If it follows a device, the caller has locked the device's state too: a changed window changes
    the measured energy.
    """
    row = await conn.fetchrow(
        _CHANGE, listing.id, listing.price_per_kwh, listing.stated_kwh, listing.available_from,
        listing.available_to, listing.status, listing.paused_by,
    )  # fmt: skip
    assert row is not None
    return listing_of(row["l"])


async def pause_all(conn: Connection, seller_id: UserId) -> None:
    """Pause all listings of a seller as by the seller, with events. Locks the listings by id."""
    await conn.execute(_PAUSE_ALL, seller_id)


async def cancel_all(conn: Connection, device_id: DeviceId) -> None:
    """Cancel the open listings of a device, with events. Locks the listings by id."""
    await conn.execute(_CANCEL_ALL, device_id)


async def announce(conn: Connection, listing_id: ListingId, event: EventType) -> None:
    """Write an event with the current state of a listing to the outbox."""
    await conn.execute(_ANNOUNCE, listing_id, event)


def listing_of(row: Record) -> Listing:
    """Convert a row value of `energy_listings`."""
    return Listing(
        id=row["id"],
        seller_id=row["seller_id"],
        device_id=row["device_id"],
        stated_kwh=row["stated_kwh"],
        measured_wh=row["measured_wh"],
        sold_kwh=row["sold_kwh"],
        energy_amount_kwh=row["energy_amount_kwh"],
        price_per_kwh=row["price_per_kwh"],
        status=ListingStatus(row["status"]),
        paused_by=PausedBy(row["paused_by"]) if row["paused_by"] else None,
        auto_adjust=row["auto_adjust"],
        pricing=Pricing(row["pricing"]),
        price_floor=row["price_floor"],
        price_cap=row["price_cap"],
        reserve_soc_pct=row["reserve_soc_pct"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        exact_location=row["exact_location"],
        exact_latitude=row["exact_latitude"],
        exact_longitude=row["exact_longitude"],
        available_from=row["available_from"],
        available_to=row["available_to"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
