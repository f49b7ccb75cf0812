"""What ingestion knows of each device: locked at the start of every batch, saved at its end."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from core.accountant import Account
from db import accounts
from db.pool import Connection

_LOCK = """
SELECT s.device_id, d.capacity_w, d.owner_id, s.status, s.fault_code, s.last_seen_at,
       s.battery_soc_pct, s.accountant
  FROM device_states s JOIN devices d ON d.id = s.device_id
 WHERE s.device_id = ANY($1::uuid[]) AND d.deleted_at IS NULL
 ORDER BY s.device_id FOR NO KEY UPDATE OF s
"""

_SAVE = """
UPDATE device_states s
   SET status = n.status, fault_code = n.fault_code, last_seen_at = n.last_seen_at,
       battery_soc_pct = n.battery_soc_pct, accountant = n.accountant,
       received = s.received + n.received, stored = s.stored + n.stored,
       duplicate = s.duplicate + n.duplicate, rejected = s.rejected + n.rejected
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::float8[], $6::json[],
              $7::int[], $8::int[], $9::int[], $10::int[])
       AS n (device_id, status, fault_code, last_seen_at, battery_soc_pct, accountant,
             received, stored, duplicate, rejected)
 WHERE s.device_id = n.device_id
"""

_LOCK_SILENT = """
SELECT s.device_id FROM device_states s JOIN devices d ON d.id = s.device_id
 WHERE s.status = 'online' AND s.last_seen_at < clock_timestamp() - $1::interval
   AND d.deleted_at IS NULL
 ORDER BY s.device_id LIMIT $2 FOR NO KEY UPDATE OF s SKIP LOCKED
"""


@dataclass(slots=True)
class DeviceState:
    """One device while a batch holds its lock; the counts are what the batch adds."""

    device_id: UUID
    capacity_w: float
    owner_id: UUID
    status: str
    fault_code: str | None
    last_seen_at: datetime | None
    battery_soc_pct: float | None
    account: Account | None
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0

    def measured_before(self, at: datetime) -> bool:
        """Whether all that is stored of the device was measured before: it is all accounted."""
        return self.account is None or self.account.last_at < at


async def lock(conn: Connection, device_ids: Collection[UUID]) -> dict[UUID, DeviceState]:
    """The registered devices among `device_ids`, locked until commit."""
    return {
        r["device_id"]: DeviceState(
            device_id=r["device_id"],
            capacity_w=r["capacity_w"],
            owner_id=r["owner_id"],
            status=r["status"],
            fault_code=r["fault_code"],
            last_seen_at=r["last_seen_at"],
            battery_soc_pct=r["battery_soc_pct"],
            account=accounts.from_json(r["accountant"]) if r["accountant"] else None,
        )
        for r in await conn.fetch(_LOCK, list(device_ids))
    }


async def save(conn: Connection, states: Sequence[DeviceState]) -> None:
    await conn.execute(
        _SAVE,
        [s.device_id for s in states],
        [s.status for s in states],
        [s.fault_code for s in states],
        [s.last_seen_at for s in states],
        [s.battery_soc_pct for s in states],
        [accounts.to_json(s.account) if s.account else None for s in states],
        [s.received for s in states],
        [s.stored for s in states],
        [s.duplicate for s in states],
        [s.rejected for s in states],
    )


async def lock_silent(conn: Connection, silent_for: timedelta, limit: int) -> list[UUID]:
    """Devices that are online but said nothing for so long, locked; those in use are left out."""
    return [r["device_id"] for r in await conn.fetch(_LOCK_SILENT, silent_for, limit)]
