"""Checkpoints: a device's accounting state before each slot, where re-accounting begins.

Of days that no late reading can change any more, only the first checkpoint of each day is kept.
Retention deletes readings by whole days, and re-accounting then needs the state before the first
remaining reading.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from core.accounting import AccountingState
from core.ids import DeviceId
from db import accounting_states
from db.intervals import SlotKey
from db.pool import Connection

_AROUND = """
(SELECT accounting_state FROM accounting_checkpoints
  WHERE device_id = $1 AND slot_start > $2 ORDER BY slot_start LIMIT 1)
UNION ALL
(SELECT accounting_state FROM accounting_checkpoints
  WHERE device_id = $1 AND slot_start <= $2 ORDER BY slot_start DESC LIMIT 1)
"""

_BETWEEN = """
SELECT slot_start, accounting_state FROM accounting_checkpoints
 WHERE device_id = $1 AND slot_start > $2 AND slot_start <= $3
"""

_SAVE = """
INSERT INTO accounting_checkpoints (device_id, slot_start, accounting_state)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::json[])
    ON CONFLICT (device_id, slot_start) DO UPDATE SET accounting_state = excluded.accounting_state
"""

_REMOVE_OTHERS = """
DELETE FROM accounting_checkpoints
 WHERE device_id = $1 AND slot_start >= $2 AND slot_start < coalesce($3::timestamptz, 'infinity')
   AND slot_start <> ALL($4::timestamptz[])
"""

_THINNED_UNTIL = "SELECT thinned_until FROM checkpoint_thinning"

_SET_THINNED_UNTIL = "UPDATE checkpoint_thinning SET thinned_until = $1"

_DEVICES_AFTER = """
SELECT device_id FROM device_states WHERE device_id > $1 ORDER BY device_id LIMIT $2
"""

_THIN = """
DELETE FROM accounting_checkpoints c
 WHERE c.device_id = ANY($1::uuid[]) AND c.slot_start >= $2 AND c.slot_start < $3
   AND EXISTS (SELECT FROM accounting_checkpoints earlier
                WHERE earlier.device_id = c.device_id AND earlier.slot_start < c.slot_start
                  AND earlier.slot_start >= date_trunc('day', c.slot_start, 'UTC'))
"""

_FIRST = UUID(int=0)


async def before(conn: Connection, device_id: DeviceId, at: datetime) -> AccountingState | None:
    """Return the newest state without a reading at or after `at`; None: there is none."""
    rows = await conn.fetch(_AROUND, device_id, at)
    around = (accounting_states.from_json(row["accounting_state"]) for row in rows)
    return next((account for account in around if account.last_at < at), None)


async def between(
    conn: Connection, device_id: DeviceId, after: datetime, last: datetime
) -> dict[datetime, AccountingState]:
    """Return the checkpoints of the slots after one, up to another."""
    rows = await conn.fetch(_BETWEEN, device_id, after, last)
    return {row["slot_start"]: accounting_states.from_json(row["accounting_state"]) for row in rows}


async def save(conn: Connection, checkpoints: Mapping[SlotKey, AccountingState]) -> None:
    """Store checkpoints, in place of those of the same slots."""
    await conn.execute(
        _SAVE,
        [device_id for device_id, _ in checkpoints],
        [slot for _, slot in checkpoints],
        [accounting_states.to_json(account) for account in checkpoints.values()],
    )


async def remove_others(
    conn: Connection,
    device_id: DeviceId,
    from_slot: datetime,
    until: datetime | None,
    kept: Collection[datetime],
) -> None:
    """Delete checkpoints from a slot on and before another (None: all), except those in `kept`."""
    await conn.execute(_REMOVE_OTHERS, device_id, from_slot, until, list(kept))


async def thinned_until(conn: Connection) -> datetime:
    """Return the day up to which only one checkpoint a day is left."""
    until: datetime = await conn.fetchval(_THINNED_UNTIL)
    return until


async def set_thinned_until(conn: Connection, day: datetime) -> None:
    """Store the day up to which only one checkpoint a day is left."""
    await conn.execute(_SET_THINNED_UNTIL, day)


async def devices_after(conn: Connection, device_id: DeviceId | None, limit: int) -> list[DeviceId]:
    """Return the devices after one (None: the first), in the order of ids."""
    rows = await conn.fetch(_DEVICES_AFTER, device_id or _FIRST, limit)
    return [row["device_id"] for row in rows]


async def thin(
    conn: Connection, device_ids: Collection[DeviceId], begin: datetime, end: datetime
) -> None:
    """Keep only the first checkpoint of each day (UTC) from one instant on and before another."""
    await conn.execute(_THIN, list(device_ids), begin, end)
