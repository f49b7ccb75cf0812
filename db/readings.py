"""Readings, stored once per device and measurement time, and rejections."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec.json import Decoder, encode
from msgspec.structs import astuple

from core.ids import DeviceId
from core.readings import FIELDS, DetailedReading, Reading, RejectedReading
from db.pool import Connection, Record

_COLUMNS = ("device_id", *FIELDS)
_DETAILED_COLUMNS = (*_COLUMNS, "parts", "counts_since")

# Returns the readings that are not new: far fewer than the new ones.
_STORE = """
WITH stored AS (
    INSERT INTO telemetry (device_id, time, power_w, energy_wh, export_wh, import_wh, load_w,
                           voltage_v, current_a, frequency_hz, temperature_c, battery_soc_pct,
                           parts, counts_since)
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::float8[], $4::float8[], $5::float8[],
                         $6::float8[], $7::float8[], $8::float8[], $9::float8[], $10::float8[],
                         $11::float8[], $12::float8[], $13::json[], $14::timestamptz[])
        ON CONFLICT DO NOTHING RETURNING device_id, time
)
SELECT device_id, time FROM unnest($1::uuid[], $2::timestamptz[]) AS given (device_id, time)
EXCEPT ALL
SELECT device_id, time FROM stored
"""

_PAGE = """
SELECT time, power_w, energy_wh, export_wh, parts, counts_since FROM telemetry
 WHERE device_id = $1 AND time > coalesce($2::timestamptz, '-infinity')
   AND time <= coalesce($3::timestamptz, 'infinity')
 ORDER BY time LIMIT $4
"""

_BETWEEN = """
SELECT time, power_w, energy_wh, export_wh, import_wh, load_w, voltage_v, current_a, frequency_hz,
       temperature_c, battery_soc_pct, parts, counts_since
  FROM telemetry WHERE device_id = $1 AND time >= $2 AND time < $3 ORDER BY time LIMIT $4
"""

_DELETE = "DELETE FROM telemetry WHERE device_id = $1 AND time = ANY($2::timestamptz[])"

_LAST_CHARGES = """
SELECT asked.device_id, last.battery_soc_pct FROM unnest($1::uuid[]) AS asked (device_id)
 CROSS JOIN LATERAL (
       SELECT battery_soc_pct FROM telemetry
        WHERE device_id = asked.device_id AND battery_soc_pct IS NOT NULL
        ORDER BY time DESC LIMIT 1) AS last
"""

_REJECT = """
INSERT INTO rejections (device_id, topic, payload, reason, time, received_at, readings)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::timestamptz[],
                     $6::timestamptz[], $7::int[])
"""


# A few hours of readings every few seconds.
BETWEEN_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected reading, or a rejected message."""

    # None: no such device is registered.
    device_id: DeviceId | None
    topic: str
    payload: bytes
    refused: RejectedReading
    received_at: datetime
    # The number of readings in a rejected message.
    readings: int = 1


async def append(conn: Connection, readings: Sequence[tuple[DeviceId, Reading]]) -> None:
    """Store readings by COPY. Each is newer than all stored ones of its device."""
    plain, detailed = [], []
    for device_id, reading in readings:
        if isinstance(reading, DetailedReading):
            columns = astuple(reading)[: len(FIELDS)]
            parts = parts_to_json(reading.parts)
            detailed.append((device_id, *columns, parts, reading.counts_since))
        else:
            plain.append((device_id, *astuple(reading)))
    if plain:
        await conn.copy_records_to_table("telemetry", records=plain, columns=_COLUMNS)
    if detailed:
        await conn.copy_records_to_table("telemetry", records=detailed, columns=_DETAILED_COLUMNS)


async def store(
    conn: Connection, readings: Sequence[tuple[DeviceId, Reading]]
) -> set[tuple[DeviceId, datetime]]:
    """Store new readings, each given once. Return the keys of those that were stored already."""
    known = await conn.fetch(
        _STORE,
        [device_id for device_id, _ in readings],
        [r.time for _, r in readings],
        [r.power_w for _, r in readings],
        [r.energy_wh for _, r in readings],
        [r.export_wh for _, r in readings],
        [r.import_wh for _, r in readings],
        [r.load_w for _, r in readings],
        [r.voltage_v for _, r in readings],
        [r.current_a for _, r in readings],
        [r.frequency_hz for _, r in readings],
        [r.temperature_c for _, r in readings],
        [r.battery_soc_pct for _, r in readings],
        [parts_to_json(r.parts) for _, r in readings],
        [r.counts_since for _, r in readings],
    )
    return {(r["device_id"], r["time"]) for r in known}


async def page(
    conn: Connection, device_id: DeviceId, after: datetime | None, last: datetime | None, limit: int
) -> list[Reading]:
    """Return a device's first readings after an instant (None: all) up to another (None: all).

    They contain only the fields that interval accounting needs.
    """
    return [of_row(row) for row in await conn.fetch(_PAGE, device_id, after, last, limit)]


def of_row(row: Sequence[Any] | Record) -> Reading:
    """Convert a row of `time, power_w, energy_wh, export_wh, parts, counts_since`."""
    at, power_w, energy_wh, export_wh, parts, counts_since = row
    if parts is None and counts_since is None:
        return Reading(at, power_w, energy_wh, export_wh)
    return DetailedReading(
        at,
        power_w,
        energy_wh,
        export_wh,
        parts=_parts_from_json(parts) if parts else {},
        counts_since=counts_since,
    )


async def between(
    conn: Connection, device_id: DeviceId, begins: datetime, ends: datetime
) -> list[Reading]:
    """Return the complete readings of a device in a period of a few hours."""
    rows = await conn.fetch(_BETWEEN, device_id, begins, ends, BETWEEN_MAX)
    return [_whole(row) for row in rows]


async def delete(conn: Connection, device_id: DeviceId, times: Collection[datetime]) -> None:
    """Delete readings whose times were wrong. The caller stores them again with other times."""
    await conn.execute(_DELETE, device_id, list(times))


async def last_charges(conn: Connection, device_ids: Sequence[DeviceId]) -> dict[DeviceId, float]:
    """Return the last reported state of charge of these devices, by measurement time."""
    rows = await conn.fetch(_LAST_CHARGES, device_ids)
    return {r["device_id"]: r["battery_soc_pct"] for r in rows}


async def reject(conn: Connection, rejections: Sequence[Rejection]) -> None:
    """Store rejections."""
    await conn.execute(
        _REJECT,
        [r.device_id for r in rejections],
        [r.topic for r in rejections],
        [r.payload for r in rejections],
        [str(r.refused) for r in rejections],
        [r.refused.time for r in rejections],
        [r.received_at for r in rejections],
        [r.readings for r in rejections],
    )


def _whole(row: Record) -> Reading:
    *fields, parts, counts_since = row
    reading = Reading(*fields)
    if parts is None and counts_since is None:
        return reading
    return reading.with_details(_parts_from_json(parts) if parts else {}, counts_since)


_parts_from_json = Decoder(dict[str, float]).decode


def parts_to_json(parts: Mapping[str, float]) -> str | None:
    return encode(parts).decode() if parts else None
