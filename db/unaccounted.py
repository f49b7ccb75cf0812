"""Times at which a device's readings changed, and its intervals did not yet.

A reading that came late is stored, and its time is noted here until the device was accounted again
with it. So is the time of one that was taken back, with the reading that its intervals still hold.
Ids rise with each change, under the lock of the device's state: who has seen one has seen all that
are lower. A time that changes again gets a new one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.ids import DeviceId
from core.readings import Reading
from db.pool import Connection
from db.readings import of_row, parts_to_json

_ADD = """
INSERT INTO unaccounted_readings
       (device_id, time, accounted, power_w, energy_wh, export_wh, parts, counts_since)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::boolean[], $4::float8[], $5::float8[],
                     $6::float8[], $7::json[], $8::timestamptz[])
    ON CONFLICT (device_id, time) DO UPDATE SET id = DEFAULT
"""

_AMONG = """
SELECT d.device_id FROM unnest($1::uuid[]) AS d (device_id)
 WHERE EXISTS (SELECT FROM unaccounted_readings u WHERE u.device_id = d.device_id)
"""

_NEXT_DEVICE = """
SELECT device_id FROM unaccounted_readings WHERE device_id > $1 ORDER BY device_id LIMIT 1
"""

_SPAN = """
SELECT min(time) AS first_at, max(id) AS last_id FROM unaccounted_readings WHERE device_id = $1
"""

_BETWEEN = """
SELECT id, accounted, time, power_w, energy_wh, export_wh, parts, counts_since
  FROM unaccounted_readings
 WHERE device_id = $1 AND time > coalesce($2::timestamptz, '-infinity')
   AND time <= coalesce($3::timestamptz, 'infinity')
 ORDER BY time
"""

_TOLD = """
SELECT DISTINCT key FROM unaccounted_readings u JOIN telemetry t USING (device_id, time)
 CROSS JOIN LATERAL (
       SELECT 'energy_wh' AS key WHERE t.energy_wh IS NOT NULL
        UNION ALL SELECT 'export_wh' WHERE t.export_wh IS NOT NULL
        UNION ALL SELECT json_object_keys(t.parts)) AS told
 WHERE u.device_id = $1
"""

_SETTLE = """
WITH settled AS (
    DELETE FROM unaccounted_readings
     WHERE device_id = $1 AND id <= $2 AND time < coalesce($3::timestamptz, 'infinity') RETURNING id
)
SELECT count(*) FROM settled
"""

_ALL_DEVICES = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Change:
    """A time whose reading changed. `accounted`: what the intervals hold of it; None: nothing."""

    time: datetime
    accounted: Reading | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """What waits for a device: since when, and up to which change."""

    first_at: datetime
    last_id: int


async def add(conn: Connection, changes: Sequence[tuple[DeviceId, Change]]) -> None:
    """Note what changed of devices whose states are locked."""
    accounted = [change.accounted or Reading() for _, change in changes]
    await conn.execute(
        _ADD,
        [device_id for device_id, _ in changes],
        [change.time for _, change in changes],
        [change.accounted is not None for _, change in changes],
        [r.power_w for r in accounted],
        [r.energy_wh for r in accounted],
        [r.export_wh for r in accounted],
        [parts_to_json(r.parts) for r in accounted],
        [r.counts_since for r in accounted],
    )


async def among(conn: Connection, device_ids: Collection[DeviceId]) -> set[DeviceId]:
    """Return those of these devices of which something waits."""
    return {row["device_id"] for row in await conn.fetch(_AMONG, list(device_ids))}


async def next_device(conn: Connection, after: DeviceId | None) -> DeviceId | None:
    """Return the next device of which something waits, in the order of their ids."""
    device_id: DeviceId | None = await conn.fetchval(_NEXT_DEVICE, after or _ALL_DEVICES)
    return device_id


async def span(conn: Connection, device_id: DeviceId) -> Span | None:
    """Return what waits of a device whose state is locked."""
    row = await conn.fetchrow(_SPAN, device_id)
    assert row is not None
    return Span(row["first_at"], row["last_id"]) if row["last_id"] is not None else None


async def between(
    conn: Connection, device_id: DeviceId, after: datetime | None, last: datetime | None
) -> list[Change]:
    """Return what changed after an instant (None: all), up to another."""
    return [
        Change(row["time"], of_row(tuple(row)[2:]) if row["accounted"] else None, row["id"])
        for row in await conn.fetch(_BETWEEN, device_id, after, last)
    ]


async def told(conn: Connection, device_id: DeviceId) -> set[str]:
    """Return the keys of the counters that readings tell which wait."""
    return {row["key"] for row in await conn.fetch(_TOLD, device_id)}


async def settle(
    conn: Connection, device_id: DeviceId, last_id: int, until: datetime | None
) -> int:
    """Forget what was accounted: all up to a change, before an instant. Returns how many."""
    return int(await conn.fetchval(_SETTLE, device_id, last_id, until))
