"""Flags on devices whose energy looks wrong, until an administrator confirms them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from core.enums import FlagState
from core.flags import CheckedDevice, Finding, FlagKind, SlotEnergy
from core.ids import DeviceId, UserId
from core.intervals import Quality, Reason
from db.pool import Connection, Record

_NEWEST = """
SELECT f.id, f.device_id, d.name AS device_name, d.owner_id, f.kind, f.state, f.energy_wh,
       f.evidence, f.created_at, f.updated_at, f.confirmed_at, f.confirmed_by,
       d.deleted_at IS NOT NULL AS device_removed
  FROM flags f JOIN devices d ON d.id = f.device_id
 WHERE f.id < $1 AND ($3::text IS NULL OR f.state = $3) AND ($4::uuid IS NULL OR f.device_id = $4)
 ORDER BY f.id DESC LIMIT $2
"""

# SKIP LOCKED: a device whose readings are being stored is due again with them. A device without a
# place has that of its newest listing: without a listing it sells nothing.
_CLAIM = """
WITH due AS (
    SELECT device_id, flags_due_from FROM device_states
     WHERE flags_due_from IS NOT NULL AND flags_checked_at < hub_clock_timestamp() - $1::interval
     ORDER BY flags_checked_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE device_states s SET flags_due_from = NULL, flags_checked_at = hub_clock_timestamp()
  FROM due JOIN devices d ON d.id = due.device_id
  LEFT JOIN LATERAL (SELECT exact_latitude, exact_longitude FROM energy_listings
                      WHERE device_id = due.device_id
                      ORDER BY created_at DESC, id DESC LIMIT 1) l ON true
 WHERE s.device_id = due.device_id
RETURNING s.device_id, d.capacity_w, coalesce(d.latitude, l.exact_latitude) AS latitude,
          coalesce(d.longitude, l.exact_longitude) AS longitude,
          d.kind = 'battery' OR s.battery_soc_pct IS NOT NULL AS has_battery, due.flags_due_from
"""

_SLOTS = """
SELECT i.device_id, i.slot_start, greatest(i.generated_wh, i.surplus_wh)::float8 AS energy_wh,
       i.quality, i.reasons
  FROM unnest($1::uuid[], $2::timestamptz[]) AS asked (device_id, since)
  JOIN energy_interval i ON i.device_id = asked.device_id AND i.slot_start >= asked.since
 WHERE i.generated_wh > 0 OR i.surplus_wh > 0
 ORDER BY i.device_id, i.slot_start
"""

_CONFIRMED_KINDS = """
SELECT kind FROM flags
 WHERE device_id = $1 AND state = 'confirmed'
   AND confirmed_at > hub_clock_timestamp() - $2::interval
"""

# The evidence with the most energy stays.
_RAISE = """
INSERT INTO flags AS f (device_id, kind, energy_wh, evidence) VALUES ($1, $2, $3, $4)
    ON CONFLICT (device_id, kind) WHERE state = 'open' DO UPDATE
   SET energy_wh = excluded.energy_wh, evidence = excluded.evidence, updated_at = hub_now()
 WHERE excluded.energy_wh > f.energy_wh
RETURNING f.created_at = hub_now() AS is_new
"""

_CONFIRM = """
UPDATE flags SET state = 'confirmed', confirmed_at = hub_now(), confirmed_by = $3
 WHERE device_id = $1 AND state = 'open' AND kind = ANY($2::text[])
RETURNING kind
"""

_UPDATE_FLAGGED = """
UPDATE device_states
   SET flagged = EXISTS (SELECT FROM flags WHERE device_id = $1 AND state = 'open')
 WHERE device_id = $1
"""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag on a device."""

    id: int
    device_id: DeviceId
    device_name: str
    device_removed: bool
    owner_id: UserId
    kind: FlagKind
    state: FlagState
    energy_wh: float
    # Numbers and times as JSON values.
    evidence: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    confirmed_at: datetime | None
    confirmed_by: UserId | None


@dataclass(frozen=True, slots=True)
class DueDevice:
    """A device that is due for a check, and the first slot that changed since the last one."""

    device_id: DeviceId
    device: CheckedDevice
    due_from: datetime


async def claim(conn: Connection, *, recheck_after: timedelta, limit: int) -> list[DueDevice]:
    """Claim devices that are due for a check, those first that have waited longest."""
    return [_due(row) for row in await conn.fetch(_CLAIM, recheck_after, limit)]


async def slots_since(
    conn: Connection, since: Mapping[DeviceId, datetime]
) -> dict[DeviceId, list[SlotEnergy]]:
    """Return the slots with energy of each device from its instant on, by time."""
    slots: dict[DeviceId, list[SlotEnergy]] = {device_id: [] for device_id in since}
    for row in await conn.fetch(_SLOTS, list(since), list(since.values())):
        slots[row["device_id"]].append(
            SlotEnergy(
                row["slot_start"],
                row["energy_wh"],
                Quality(row["quality"]),
                frozenset(Reason(reason) for reason in row["reasons"]),
            )
        )
    return slots


async def confirmed_kinds(
    conn: Connection, device_id: DeviceId, confirmed_for: timedelta
) -> set[str]:
    """Return the kinds that an administrator has recently confirmed for a device."""
    return {row["kind"] for row in await conn.fetch(_CONFIRMED_KINDS, device_id, confirmed_for)}


async def raise_flag(conn: Connection, device_id: DeviceId, finding: Finding) -> bool:
    """Open a flag, or replace the evidence of an open one by stronger evidence.

    The caller has locked the device's state. Returns True if the flag is new.
    """
    row = await conn.fetchrow(
        _RAISE, device_id, finding.kind, Decimal(round(finding.energy_wh, 3)), finding.evidence
    )
    await conn.execute(_UPDATE_FLAGGED, device_id)
    return row is not None and bool(row["is_new"])


async def newest(
    conn: Connection,
    *,
    before_id: int,
    limit: int,
    state: FlagState | None = None,
    device_id: DeviceId | None = None,
) -> list[Flag]:
    """Return flags of all devices or of one, in one state or any, newest first."""
    return [_flag(row) for row in await conn.fetch(_NEWEST, before_id, limit, state, device_id)]


async def confirm(
    conn: Connection, device_id: DeviceId, kinds: Collection[str], admin_id: UserId
) -> list[str]:
    """Confirm the open flags of these kinds. Return them. The caller has locked the state."""
    rows = await conn.fetch(_CONFIRM, device_id, list(kinds), admin_id)
    await conn.execute(_UPDATE_FLAGGED, device_id)
    return sorted(row["kind"] for row in rows)


def _due(row: Record) -> DueDevice:
    place = None if row["latitude"] is None else (row["latitude"], row["longitude"])
    device = CheckedDevice(row["capacity_w"], place, row["has_battery"])
    return DueDevice(row["device_id"], device, row["flags_due_from"])


def _flag(row: Record) -> Flag:
    return Flag(
        **{
            **dict(row),
            "kind": FlagKind(row["kind"]),
            "state": FlagState(row["state"]),
            "energy_wh": float(row["energy_wh"]),
        }
    )
