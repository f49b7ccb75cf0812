"""The newest readings and the current power of devices, for the live feed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from core.ids import DeviceId, UserId
from core.readings import FIELDS, Reading
from db.pool import Connection

_LAST = """
SELECT owner_id, (SELECT max(time) FROM telemetry WHERE device_id = d.id) AS last_at
  FROM devices d WHERE id = $1 AND deleted_at IS NULL
"""

_NEWER = """
SELECT subscribed.device_id, t.time, t.power_w, t.energy_wh, t.export_wh, t.import_wh, t.load_w,
       t.voltage_v, t.current_a, t.frequency_hz, t.temperature_c, t.battery_soc_pct
  FROM unnest($1::uuid[], $2::timestamptz[]) AS subscribed (device_id, known_until)
 CROSS JOIN LATERAL (
       SELECT time, power_w, energy_wh, export_wh, import_wh, load_w, voltage_v, current_a,
              frequency_hz, temperature_c, battery_soc_pct
         FROM telemetry
        WHERE device_id = subscribed.device_id
          AND time > coalesce(subscribed.known_until, '-infinity')
        ORDER BY time DESC LIMIT 1) AS t
"""

_NOW = "SELECT clock_timestamp()"

# By the time of receipt. Callers query overlapping periods, since a batch is visible only after its
# commit.
_POWER_SINCE = """
SELECT s.device_id, t.time, t.power_w
  FROM device_states s JOIN devices d ON d.id = s.device_id
 CROSS JOIN LATERAL (
       SELECT time, power_w FROM telemetry WHERE device_id = s.device_id
        ORDER BY time DESC LIMIT 1) AS t
 WHERE s.last_seen_at > $1 AND d.deleted_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class LastReading:
    """The owner of a device, and the time of its newest reading."""

    owner_id: UserId
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Power:
    """The power of a device in its newest reading by measurement time."""

    device_id: DeviceId
    time: datetime
    # None: that reading has no power.
    power_w: float | None


async def last(conn: Connection, device_id: DeviceId) -> LastReading | None:
    """Return the owner and last reading time of a registered device."""
    row = await conn.fetchrow(_LAST, device_id)
    return LastReading(row["owner_id"], row["last_at"]) if row else None


async def newer(
    conn: Connection, known_until: Mapping[DeviceId, datetime | None]
) -> dict[DeviceId, Reading]:
    """Return the newest reading of each device that has one after its known time."""
    rows = await conn.fetch(_NEWER, list(known_until), list(known_until.values()))
    return {row["device_id"]: Reading(**{name: row[name] for name in FIELDS}) for row in rows}


async def now(conn: Connection) -> datetime:
    """Return the real time by the database's clock."""
    at: datetime = await conn.fetchval(_NOW)
    return at


async def power_since(conn: Connection, at: datetime) -> list[Power]:
    """Return the power of each device that sent something since an instant."""
    rows = await conn.fetch(_POWER_SINCE, at)
    return [Power(row["device_id"], row["time"], row["power_w"]) for row in rows]
