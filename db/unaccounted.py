"""Changes of stored readings that a device's intervals do not contain yet.

A late reading is stored, and its time is a row here until the device is accounted again. So is the
time of a reading that was removed, with the reading that the intervals still contain. Ids rise with
each change, under the lock of the device's state: a reader that has seen one has seen all lower
ones. A time that changes again gets a new id.
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

_REPORTED_COUNTERS = """
WITH part AS (
    SELECT device_id, time FROM unaccounted_readings
     WHERE device_id = $1 AND time > coalesce($2::timestamptz, '-infinity')
     ORDER BY time LIMIT $3
)
SELECT (SELECT max(time) FROM part) AS last, ARRAY(
       SELECT DISTINCT key FROM part JOIN telemetry t USING (device_id, time)
        CROSS JOIN LATERAL (
              SELECT 'energy_wh' AS key WHERE t.energy_wh IS NOT NULL
               UNION ALL SELECT 'export_wh' WHERE t.export_wh IS NOT NULL
               UNION ALL SELECT json_object_keys(t.parts)) AS counters) AS keys
"""

_SETTLE = """
WITH part AS (
    SELECT time FROM unaccounted_readings
     WHERE device_id = $1 AND id <= $2 AND time < coalesce($3::timestamptz, 'infinity')
       AND time > coalesce($4::timestamptz, '-infinity')
     ORDER BY time LIMIT $5
), settled AS (
    DELETE FROM unaccounted_readings u USING part
     WHERE u.device_id = $1 AND u.time = part.time RETURNING u.time
)
SELECT count(*) AS settled, max(time) AS last FROM settled
"""

_COUNT = "SELECT count(*) FROM unaccounted_readings"

# Rows of one statement: a device may have a million of them, and each statement has a time limit.
_AT_ONCE = 20_000

_ALL_DEVICES = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Change:
    """A time whose reading changed. `accounted`: the reading in the intervals; None: no reading."""

    time: datetime
    accounted: Reading | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """The changes of a device that wait: the time of the first, and the id of the last."""

    first_at: datetime
    last_id: int


async def add(conn: Connection, changes: Sequence[tuple[DeviceId, Change]]) -> None:
    """Store changes of devices whose states are locked."""
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
    """Return those of these devices that have waiting changes."""
    return {row["device_id"] for row in await conn.fetch(_AMONG, list(device_ids))}


async def next_device(conn: Connection, after: DeviceId | None) -> DeviceId | None:
    """Return the device with waiting changes after one (None: the first), in the order of ids."""
    device_id: DeviceId | None = await conn.fetchval(_NEXT_DEVICE, after or _ALL_DEVICES)
    return device_id


async def span(conn: Connection, device_id: DeviceId) -> Span | None:
    """Return the span of a device's waiting changes, if any, under the lock of its state."""
    row = await conn.fetchrow(_SPAN, device_id)
    assert row is not None
    return Span(row["first_at"], row["last_id"]) if row["last_id"] is not None else None


async def between(
    conn: Connection, device_id: DeviceId, after: datetime | None, last: datetime | None
) -> list[Change]:
    """Return changes after an instant (None: the first) up to another (None: the last), by time."""
    return [
        Change(row["time"], of_row(tuple(row)[2:]) if row["accounted"] else None, row["id"])
        for row in await conn.fetch(_BETWEEN, device_id, after, last)
    ]


async def reported_counters(conn: Connection, device_id: DeviceId) -> set[str]:
    """Return the keys of the counters in a device's waiting readings."""
    keys: set[str] = set()
    last: datetime | None = None
    while True:
        row = await conn.fetchrow(_REPORTED_COUNTERS, device_id, last, _AT_ONCE)
        assert row is not None
        keys.update(row["keys"])
        last = row["last"]
        if last is None:
            return keys


async def count(conn: Connection) -> int:
    """Return the number of waiting changes of all devices."""
    return int(await conn.fetchval(_COUNT))


async def settle(
    conn: Connection, device_id: DeviceId, last_id: int, until: datetime | None
) -> int:
    """Delete accounted changes: ids up to `last_id`, times before `until`. Return their number."""
    settled = 0
    last: datetime | None = None
    while True:
        row = await conn.fetchrow(_SETTLE, device_id, last_id, until, last, _AT_ONCE)
        assert row is not None
        settled += int(row["settled"])
        last = row["last"]
        if last is None:
            return settled
