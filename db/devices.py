"""Devices: registered, changed and listed by their owners, and found by their external ids."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from core.dialects import Dialect
from core.enums import DeviceKind, DeviceStatus
from core.ids import DeviceId, UserId
from db.pool import Connection, Record

_REGISTER = """
WITH device AS (
    INSERT INTO devices (id, owner_id, name, kind, capacity_w, latitude, longitude, dialect,
                         external_id, time_zone, funding_target, revenue_share,
                         credential_hash)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    RETURNING id, owner_id, name, kind, capacity_w, latitude, longitude, dialect, external_id,
              time_zone, funding_target, revenue_share, funded, created_at
), state AS (
    INSERT INTO device_states (device_id) SELECT id FROM device
    RETURNING status, fault_code, last_seen_at, earns_from, capacity_approved, frozen
)
SELECT id, owner_id, name, kind, capacity_w, latitude, longitude, dialect, external_id,
       time_zone, funding_target, revenue_share, funded, created_at, status, fault_code,
       last_seen_at, earns_from, capacity_approved, frozen
  FROM device, state
"""

_COUNT = "SELECT count(*) FROM devices WHERE owner_id = $1 AND deleted_at IS NULL"

_BY_ID = """
SELECT d.id, d.owner_id, d.name, d.kind, d.capacity_w, d.latitude, d.longitude, d.dialect,
       d.external_id, d.time_zone, d.funding_target, d.revenue_share, d.funded, d.created_at,
       s.status, s.fault_code, s.last_seen_at, s.earns_from, s.capacity_approved, s.frozen
  FROM devices d JOIN device_states s ON s.device_id = d.id
 WHERE d.id = $1 AND (d.deleted_at IS NULL OR $2)
"""

_LOCK = """
SELECT d.id, d.owner_id, d.name, d.kind, d.capacity_w, d.latitude, d.longitude, d.dialect,
       d.external_id, d.time_zone, d.funding_target, d.revenue_share, d.funded, d.created_at,
       s.status, s.fault_code, s.last_seen_at, s.earns_from, s.capacity_approved, s.frozen
  FROM devices d JOIN device_states s ON s.device_id = d.id
 WHERE d.id = $1 AND d.deleted_at IS NULL FOR NO KEY UPDATE OF d
"""

_HOLD = "SELECT FROM devices WHERE id = $1 AND deleted_at IS NULL FOR SHARE"

_CHANGE = """
UPDATE devices SET name = $2, capacity_w = $3, latitude = $4, longitude = $5, funding_target = $6,
                   revenue_share = $7, time_zone = $8
 WHERE id = $1
"""

_REMOVE = "UPDATE devices SET deleted_at = hub_now() WHERE id = $1"

_NEWEST = """
SELECT d.id, d.owner_id, d.name, d.kind, d.capacity_w, d.latitude, d.longitude, d.dialect,
       d.external_id, d.time_zone, d.funding_target, d.revenue_share, d.funded, d.created_at,
       s.status, s.fault_code, s.last_seen_at, s.earns_from, s.capacity_approved, s.frozen
  FROM devices d JOIN device_states s ON s.device_id = d.id
 WHERE d.deleted_at IS NULL AND (d.created_at, d.id) < ($1::timestamptz, $2::uuid)
 ORDER BY d.created_at DESC, d.id DESC LIMIT $3
"""

_NEWEST_OF_OWNER = """
SELECT d.id, d.owner_id, d.name, d.kind, d.capacity_w, d.latitude, d.longitude, d.dialect,
       d.external_id, d.time_zone, d.funding_target, d.revenue_share, d.funded, d.created_at,
       s.status, s.fault_code, s.last_seen_at, s.earns_from, s.capacity_approved, s.frozen
  FROM devices d JOIN device_states s ON s.device_id = d.id
 WHERE d.deleted_at IS NULL AND d.owner_id = $4
   AND (d.created_at, d.id) < ($1::timestamptz, $2::uuid)
 ORDER BY d.created_at DESC, d.id DESC LIMIT $3
"""

_BY_EXTERNAL_ID = """
SELECT d.id, d.dialect, d.external_id, d.kind, d.time_zone
  FROM devices d JOIN unnest($1::text[], $2::text[]) AS n (dialect, external_id)
       ON d.dialect = n.dialect AND d.external_id = n.external_id
 WHERE d.deleted_at IS NULL
"""

_EXTERNAL_IDS = """
SELECT external_id FROM devices
 WHERE dialect = $1 AND external_id IS NOT NULL AND deleted_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Device:
    """A device with its state, as its owner sees it."""

    id: DeviceId
    owner_id: UserId
    name: str
    kind: DeviceKind
    capacity_w: float
    latitude: float | None
    longitude: float | None
    dialect: Dialect
    external_id: str | None
    time_zone: str
    status: DeviceStatus
    fault_code: str | None
    last_seen_at: datetime | None
    # Energy from before this instant is never sold.
    earns_from: datetime
    # A device above the operator's limit sells only after an administrator approved its capacity.
    capacity_approved: bool
    # An administrator stopped all sales of its energy.
    frozen: bool
    funding_target: Decimal | None
    revenue_share: Decimal | None
    funded: Decimal
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device to register."""

    id: DeviceId
    owner_id: UserId
    name: str
    kind: DeviceKind
    capacity_w: float
    latitude: float | None
    longitude: float | None
    dialect: Dialect
    external_id: str | None
    time_zone: str
    funding_target: Decimal | None
    revenue_share: Decimal | None
    # SHA-256 of the MQTT password.
    credential_hash: bytes


@dataclass(frozen=True, slots=True)
class AddressedDevice:
    """A device that a firmware addresses by its external id."""

    id: DeviceId
    kind: str
    time_zone: str


async def register(conn: Connection, new: NewDevice) -> Device:
    """Register a device. Raises ExternalIdTaken."""
    row = await conn.fetchrow(
        _REGISTER, new.id, new.owner_id, new.name, new.kind, new.capacity_w, new.latitude,
        new.longitude, new.dialect, new.external_id, new.time_zone, new.funding_target,
        new.revenue_share, new.credential_hash,
    )  # fmt: skip
    assert row is not None
    return _device(row)


async def count(conn: Connection, owner_id: UserId) -> int:
    """Return the number of a host's devices."""
    found: int = await conn.fetchval(_COUNT, owner_id)
    return found


async def by_id(conn: Connection, device_id: DeviceId, *, removed: bool = False) -> Device | None:
    """Return a device; with `removed`, also one that was removed."""
    row = await conn.fetchrow(_BY_ID, device_id, removed)
    return _device(row) if row else None


async def lock(conn: Connection, device_id: DeviceId) -> Device | None:
    """Lock a device until commit and return its current state."""
    row = await conn.fetchrow(_LOCK, device_id)
    return _device(row) if row else None


async def hold(conn: Connection, device_id: DeviceId) -> bool:
    """Return True if a device exists, and prevent its removal until commit."""
    return await conn.fetchrow(_HOLD, device_id) is not None


async def change(conn: Connection, device: Device) -> None:
    """Store the fields of a locked device that its owner may change."""
    await conn.execute(
        _CHANGE, device.id, device.name, device.capacity_w, device.latitude, device.longitude,
        device.funding_target, device.revenue_share, device.time_zone,
    )  # fmt: skip


async def remove(conn: Connection, device_id: DeviceId) -> None:
    """Remove a locked device: only its history stays."""
    await conn.execute(_REMOVE, device_id)


async def newest(
    conn: Connection, owner_id: UserId | None, *, before: tuple[datetime, UUID], limit: int
) -> list[Device]:
    """Return the devices of an owner (None: of all owners), newest first."""
    if owner_id is None:
        rows = await conn.fetch(_NEWEST, *before, limit)
    else:
        rows = await conn.fetch(_NEWEST_OF_OWNER, *before, limit, owner_id)
    return [_device(row) for row in rows]


async def by_external_id(
    conn: Connection, names: Collection[tuple[Dialect, str]]
) -> dict[tuple[Dialect, str], AddressedDevice]:
    """Return the registered devices with these dialects and external ids."""
    rows = await conn.fetch(_BY_EXTERNAL_ID, [d for d, _ in names], [name for _, name in names])
    return {
        (Dialect(row["dialect"]), row["external_id"]): AddressedDevice(
            row["id"], row["kind"], row["time_zone"]
        )
        for row in rows
    }


async def external_ids(conn: Connection, dialect: Dialect) -> list[str]:
    """Return the external ids of all registered devices of a dialect."""
    return [row["external_id"] for row in await conn.fetch(_EXTERNAL_IDS, dialect)]


def _device(row: Record) -> Device:
    return Device(
        id=row["id"],
        owner_id=row["owner_id"],
        name=row["name"],
        kind=DeviceKind(row["kind"]),
        capacity_w=row["capacity_w"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        dialect=Dialect(row["dialect"]),
        external_id=row["external_id"],
        time_zone=row["time_zone"],
        status=DeviceStatus(row["status"]),
        fault_code=row["fault_code"],
        last_seen_at=row["last_seen_at"],
        earns_from=row["earns_from"],
        capacity_approved=row["capacity_approved"],
        frozen=row["frozen"],
        funding_target=row["funding_target"],
        revenue_share=row["revenue_share"],
        funded=row["funded"],
        created_at=row["created_at"],
    )
