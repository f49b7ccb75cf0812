"""The state of each device in ingestion: locked at the start of a batch, stored at its end."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.accounting import AccountingState
from core.earning import EarningTerms
from core.enums import DeviceStatus
from core.ids import DeviceId, UserId
from core.listing_adjustments import Condition
from core.selling import SellingRules, SellingStatus
from db import accounting_states
from db.pool import Connection, Record

_LOCK = """
SELECT s.device_id, d.capacity_w, d.owner_id, s.status, s.fault_code, s.last_seen_at,
       s.battery_soc_pct, s.accounting_state, s.earns_from, d.carried, s.capacity_approved,
       s.frozen, s.flagged, s.flags_due_from
  FROM device_states s JOIN devices d ON d.id = s.device_id
 WHERE s.device_id = ANY($1::uuid[]) AND (d.deleted_at IS NULL OR $2)
 ORDER BY s.device_id FOR NO KEY UPDATE OF s
"""

_READ = """
SELECT s.device_id, d.capacity_w, d.owner_id, s.status, s.fault_code, s.last_seen_at,
       s.battery_soc_pct, s.accounting_state, s.earns_from, d.carried, s.capacity_approved,
       s.frozen, s.flagged, s.flags_due_from
  FROM device_states s JOIN devices d ON d.id = s.device_id
 WHERE s.device_id = $1 AND d.deleted_at IS NULL
"""

_SAVE = """
UPDATE device_states s
   SET status = n.status, fault_code = n.fault_code, last_seen_at = n.last_seen_at,
       battery_soc_pct = n.battery_soc_pct, accounting_state = n.accounting_state,
       flags_due_from = n.flags_due_from,
       received = s.received + n.received, stored = s.stored + n.stored,
       duplicate = s.duplicate + n.duplicate, rejected = s.rejected + n.rejected
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::float8[], $6::json[],
              $7::int[], $8::int[], $9::int[], $10::int[], $11::timestamptz[])
       AS n (device_id, status, fault_code, last_seen_at, battery_soc_pct, accounting_state,
             received, stored, duplicate, rejected, flags_due_from)
 WHERE s.device_id = n.device_id
"""

_SILENT = """
SELECT s.device_id FROM device_states s JOIN devices d ON d.id = s.device_id
 WHERE s.status = 'online' AND s.last_seen_at < hub_clock_timestamp() - $1::interval
   AND d.deleted_at IS NULL
   AND NOT EXISTS (SELECT FROM failed_items f
                    WHERE f.queue = 'presence' AND f.item = s.device_id::text
                      AND (f.retry_at IS NULL OR f.retry_at > clock_timestamp()))
 ORDER BY s.device_id LIMIT $2
"""

_LOCK_SILENT = """
SELECT s.device_id FROM device_states s JOIN devices d ON d.id = s.device_id
 WHERE s.status = 'online' AND s.last_seen_at < hub_clock_timestamp() - $1::interval
   AND d.deleted_at IS NULL AND s.device_id = ANY($2::uuid[])
 ORDER BY s.device_id FOR NO KEY UPDATE OF s SKIP LOCKED
"""


@dataclass(slots=True)
class DeviceState:
    """The state of one device while a batch holds its lock."""

    device_id: DeviceId
    selling: SellingStatus
    owner_id: UserId
    status: DeviceStatus
    fault_code: str | None
    last_seen_at: datetime | None
    battery_soc_pct: float | None
    account: AccountingState | None
    terms: EarningTerms
    # The first slot that changed since the last check for flags.
    flags_due_from: datetime | None
    # The numbers of readings that the batch adds.
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0

    @property
    def capacity_w(self) -> float:
        return self.selling.capacity_w

    def condition(self, rules: SellingRules) -> Condition:
        """Return the condition that listings which follow the device depend on."""
        may_sell = self.selling.refusal(rules) is None
        return Condition(self.status, self.battery_soc_pct, may_sell)

    def energy_changed(self, slot_start: datetime) -> None:
        """Schedule a check for flags from a slot on."""
        if self.flags_due_from is None or slot_start < self.flags_due_from:
            self.flags_due_from = slot_start

    def measured_before(self, at: datetime) -> bool:
        """Return True if all accounted readings are from before an instant."""
        return self.account is None or self.account.last_at < at


async def lock(
    conn: Connection, device_ids: Collection[DeviceId], *, removed: bool = False
) -> dict[DeviceId, DeviceState]:
    """Lock the states of registered devices until commit; with `removed`, also of removed ones."""
    rows = await conn.fetch(_LOCK, list(device_ids), removed)
    return {row["device_id"]: _state(row) for row in rows}


async def read(conn: Connection, device_id: DeviceId) -> DeviceState | None:
    """Return the current state of a registered device without a lock."""
    row = await conn.fetchrow(_READ, device_id)
    return _state(row) if row else None


def terms_of(row: Record) -> EarningTerms:
    """Return the terms in a row with a state's `earns_from` and its device's `carried`."""
    return EarningTerms(
        row["earns_from"], accounting_states.from_json(row["carried"]) if row["carried"] else None
    )


async def save(conn: Connection, states: Sequence[DeviceState]) -> None:
    """Store states, and add the numbers of readings of the batch."""
    await conn.execute(
        _SAVE,
        [s.device_id for s in states],
        [s.status for s in states],
        [s.fault_code for s in states],
        [s.last_seen_at for s in states],
        [s.battery_soc_pct for s in states],
        [accounting_states.to_json(s.account) if s.account else None for s in states],
        [s.received for s in states],
        [s.stored for s in states],
        [s.duplicate for s in states],
        [s.rejected for s in states],
        [s.flags_due_from for s in states],
    )


async def silent(conn: Connection, silent_for: timedelta, limit: int) -> list[DeviceId]:
    """Return online devices without a message for a time, except those whose retry is not due."""
    return [r["device_id"] for r in await conn.fetch(_SILENT, silent_for, limit)]


async def lock_silent(
    conn: Connection, silent_for: timedelta, device_ids: Sequence[DeviceId]
) -> list[DeviceId]:
    """Lock those of the devices that are still silent; skip those that are locked."""
    return [r["device_id"] for r in await conn.fetch(_LOCK_SILENT, silent_for, device_ids)]


def _state(row: Record) -> DeviceState:
    return DeviceState(
        device_id=row["device_id"],
        selling=SellingStatus(
            row["capacity_w"], row["capacity_approved"], row["frozen"], row["flagged"]
        ),
        owner_id=row["owner_id"],
        status=DeviceStatus(row["status"]),
        fault_code=row["fault_code"],
        last_seen_at=row["last_seen_at"],
        battery_soc_pct=row["battery_soc_pct"],
        account=accounting_states.from_json(row["accounting_state"])
        if row["accounting_state"]
        else None,
        terms=terms_of(row),
        flags_due_from=row["flags_due_from"],
    )
