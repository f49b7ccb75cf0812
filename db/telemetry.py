"""Data for the charts of a device: readings, raw or in buckets, energy per slot, rejections."""

from dataclasses import dataclass
from datetime import datetime

from core.ids import DeviceId
from core.intervals import Quality
from core.readings import Reading
from db.pool import Connection, Record

_LATEST = """
SELECT time, power_w, energy_wh, export_wh, import_wh, load_w, voltage_v, current_a, frequency_hz,
       temperature_c, battery_soc_pct
  FROM telemetry WHERE device_id = $1 ORDER BY time DESC LIMIT 1
"""

_RAW = """
SELECT time, power_w, energy_wh, export_wh, import_wh, load_w, voltage_v, current_a, frequency_hz,
       temperature_c, battery_soc_pct
  FROM telemetry WHERE device_id = $1 AND time > $2 AND time < $3 ORDER BY time LIMIT $4
"""

_BY_15_MINUTES = """
SELECT date_bin('15 minutes', time, '2000-01-01Z') AS bucket,
       avg(power_w) AS power_w, max(power_w) AS power_max_w, avg(load_w) AS load_w,
       max(energy_wh) AS energy_wh, max(export_wh) AS export_wh, max(import_wh) AS import_wh,
       avg(battery_soc_pct) AS battery_soc_pct, count(*) AS readings
  FROM telemetry
 WHERE device_id = $1 AND time >= $2::timestamptz AND time < $3
   AND date_bin('15 minutes', time, '2000-01-01Z') > $2
 GROUP BY bucket ORDER BY bucket LIMIT $4
"""

_BY_HOUR = """
SELECT bucket, power_w, power_max_w, load_w, energy_wh, export_wh, import_wh, battery_soc_pct,
       readings
  FROM telemetry_1h WHERE device_id = $1 AND bucket > $2 AND bucket < $3 ORDER BY bucket LIMIT $4
"""

_BY_DAY = """
SELECT bucket, power_w, power_max_w, load_w, energy_wh, export_wh, import_wh, battery_soc_pct,
       readings
  FROM telemetry_1d WHERE device_id = $1 AND bucket > $2 AND bucket < $3 ORDER BY bucket LIMIT $4
"""

_OF_RESOLUTION = {"15m": _BY_15_MINUTES, "1h": _BY_HOUR, "1d": _BY_DAY}

_ENERGY = """
SELECT slot_start, generated_wh, surplus_wh, quality, reasons FROM energy_interval
 WHERE device_id = $1 AND slot_start > $2 AND slot_start < $3 ORDER BY slot_start LIMIT $4
"""

_REJECTIONS = """
SELECT id, topic, payload, reason, time, received_at FROM rejections
 WHERE device_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3
"""

_COUNTS = "SELECT received, stored, duplicate, rejected FROM device_states WHERE device_id = $1"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Readings of a period that begins at `time`: means, and the last value of each counter."""

    time: datetime
    power_w: float | None
    power_max_w: float | None
    load_w: float | None
    energy_wh: float | None
    export_wh: float | None
    import_wh: float | None
    battery_soc_pct: float | None
    readings: int


@dataclass(frozen=True, slots=True)
class Slot:
    """The energy of a slot."""

    slot_start: datetime
    generated_wh: float
    surplus_wh: float
    quality: Quality
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredRejection:
    id: int
    topic: str
    payload: bytes
    reason: str
    time: datetime | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of a device's readings: received = stored + duplicate + rejected."""

    received: int
    stored: int
    duplicate: int
    rejected: int


async def latest(conn: Connection, device_id: DeviceId) -> Reading | None:
    """Return the newest reading by measurement time."""
    row = await conn.fetchrow(_LATEST, device_id)
    return _reading(row) if row else None


async def raw(
    conn: Connection, device_id: DeviceId, *, after: datetime, until: datetime, limit: int
) -> list[Reading]:
    """Return readings between two instants, both excluded, oldest first."""
    return [_reading(row) for row in await conn.fetch(_RAW, device_id, after, until, limit)]


async def buckets(
    conn: Connection,
    device_id: DeviceId,
    resolution: str,
    *,
    after: datetime,
    until: datetime,
    limit: int,
) -> list[Bucket]:
    """Return buckets of `15m`, `1h` or `1d` that begin after `after` and before `until`."""
    rows = await conn.fetch(_OF_RESOLUTION[resolution], device_id, after, until, limit)
    return [_bucket(row) for row in rows]


async def energy(
    conn: Connection, device_id: DeviceId, *, after: datetime, until: datetime, limit: int
) -> list[Slot]:
    """Return the slots that begin after `after` and before `until`, oldest first."""
    rows = await conn.fetch(_ENERGY, device_id, after, until, limit)
    return [
        Slot(
            slot_start=row["slot_start"],
            generated_wh=float(row["generated_wh"]),
            surplus_wh=float(row["surplus_wh"]),
            quality=Quality(row["quality"]),
            reasons=tuple(row["reasons"]),
        )
        for row in rows
    ]


async def rejections(
    conn: Connection, device_id: DeviceId, *, before_id: int, limit: int
) -> list[StoredRejection]:
    """Return rejected messages and readings of a device, newest first."""
    return [
        StoredRejection(r["id"], r["topic"], r["payload"], r["reason"], r["time"], r["received_at"])
        for r in await conn.fetch(_REJECTIONS, device_id, before_id, limit)
    ]


async def counts(conn: Connection, device_id: DeviceId) -> Counts:
    """Return the numbers of readings of a device."""
    row = await conn.fetchrow(_COUNTS, device_id)
    assert row is not None
    return Counts(**dict(row))


def _reading(row: Record) -> Reading:
    return Reading(
        time=row["time"],
        power_w=row["power_w"],
        energy_wh=row["energy_wh"],
        export_wh=row["export_wh"],
        import_wh=row["import_wh"],
        load_w=row["load_w"],
        voltage_v=row["voltage_v"],
        current_a=row["current_a"],
        frequency_hz=row["frequency_hz"],
        temperature_c=row["temperature_c"],
        battery_soc_pct=row["battery_soc_pct"],
    )


def _bucket(row: Record) -> Bucket:
    return Bucket(
        time=row["bucket"],
        power_w=row["power_w"],
        power_max_w=row["power_max_w"],
        load_w=row["load_w"],
        energy_wh=row["energy_wh"],
        export_wh=row["export_wh"],
        import_wh=row["import_wh"],
        battery_soc_pct=row["battery_soc_pct"],
        readings=row["readings"],
    )
