"""Data of the control room: devices and listings on the map, the market by slot, all trades."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from core.enums import DeviceStatus
from core.ids import DeviceId, ListingId, UserId
from core.listings import Listing
from db.listings import listing_of
from db.pool import Connection

# The newest reading by measurement time, of devices that ever sent one.
_DEVICES = """
SELECT d.id, d.name, d.kind, d.dialect, d.capacity_w, d.latitude, d.longitude,
       s.status, s.fault_code, s.last_seen_at, t.power_w, d.owner_id, s.battery_soc_pct
  FROM devices d JOIN device_states s ON s.device_id = d.id
  LEFT JOIN LATERAL (
       SELECT power_w FROM telemetry WHERE device_id = d.id ORDER BY time DESC LIMIT 1
       ) AS t ON s.last_seen_at IS NOT NULL
 WHERE d.deleted_at IS NULL ORDER BY d.created_at DESC LIMIT $1
"""

_LISTINGS = """
SELECT l FROM energy_listings l WHERE status = 'active' ORDER BY created_at DESC, id DESC LIMIT $1
"""

_SLOTS = """
SELECT date_bin('15 minutes', created_at, '2000-01-01Z') AS slot_start, count(*) AS transactions,
       sum(energy_kwh) AS energy_kwh, sum(total_price) AS total_price,
       sum(platform_fee) AS platform_fees
  FROM energy_transactions WHERE created_at >= $1 GROUP BY 1 ORDER BY 1
"""

_TRADES = """
SELECT t.id, t.listing_id, l.device_id, t.buyer_id, b.full_name AS buyer_name, t.seller_id,
       s.full_name AS seller_name, t.energy_kwh, t.price_per_kwh, t.total_price, t.platform_fee,
       t.created_at
  FROM (SELECT id FROM energy_transactions
         WHERE (created_at, id) < ($1::timestamptz, $2::uuid)
         ORDER BY created_at DESC, id DESC LIMIT $3) AS newest
  JOIN energy_transactions t USING (id)
  LEFT JOIN energy_listings l ON l.id = t.listing_id
  LEFT JOIN users b ON b.id = t.buyer_id LEFT JOIN users s ON s.id = t.seller_id
 ORDER BY t.created_at DESC, t.id DESC
"""

_TRADES_OF_DEVICE = """
SELECT t.id, t.listing_id, l.device_id, t.buyer_id, b.full_name AS buyer_name, t.seller_id,
       s.full_name AS seller_name, t.energy_kwh, t.price_per_kwh, t.total_price, t.platform_fee,
       t.created_at
  FROM energy_listings l JOIN energy_transactions t ON t.listing_id = l.id
  LEFT JOIN users b ON b.id = t.buyer_id LEFT JOIN users s ON s.id = t.seller_id
 WHERE l.device_id = $4 AND (t.created_at, t.id) < ($1::timestamptz, $2::uuid)
 ORDER BY t.created_at DESC, t.id DESC LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class MappedDevice:
    """A registered device and its last power."""

    id: UUID
    name: str
    kind: str
    dialect: str
    capacity_w: float
    latitude: float | None
    longitude: float | None
    status: DeviceStatus
    fault_code: str | None
    last_seen_at: datetime | None
    # Power of the newest reading; None: that reading has none.
    power_w: float | None
    owner_id: UserId
    battery_soc_pct: float | None


@dataclass(frozen=True, slots=True)
class SlotTraded:
    """The sum of all purchases in a slot, in kWh and INR."""

    slot_start: datetime
    transactions: int
    energy_kwh: Decimal
    total_price: Decimal
    platform_fees: Decimal


@dataclass(frozen=True, slots=True)
class Trade:
    """A purchase. References to deleted users, listings and devices are None."""

    id: UUID
    listing_id: ListingId | None
    device_id: DeviceId | None
    buyer_id: UserId | None
    buyer_name: str | None
    seller_id: UserId | None
    seller_name: str | None
    energy_kwh: Decimal
    price_per_kwh: Decimal
    total_price: Decimal
    platform_fee: Decimal
    created_at: datetime


async def devices(conn: Connection, *, limit: int) -> list[MappedDevice]:
    """Return the devices that were registered last."""
    return [MappedDevice(**dict(row)) for row in await conn.fetch(_DEVICES, limit)]


async def active_listings(conn: Connection, *, limit: int) -> list[Listing]:
    """Return the newest active listings."""
    return [listing_of(row["l"]) for row in await conn.fetch(_LISTINGS, limit)]


async def slots(conn: Connection, since: datetime) -> list[SlotTraded]:
    """Return the slots with purchases since an instant, oldest first; the first may be partial."""
    return [SlotTraded(**dict(row)) for row in await conn.fetch(_SLOTS, since)]


async def trades(
    conn: Connection, device_id: DeviceId | None, *, before: tuple[datetime, UUID], limit: int
) -> list[Trade]:
    """Return all trades, or those of the listings of a device, newest first."""
    if device_id is None:
        rows = await conn.fetch(_TRADES, *before, limit)
    else:
        rows = await conn.fetch(_TRADES_OF_DEVICE, *before, limit, device_id)
    return [Trade(**dict(row)) for row in rows]
