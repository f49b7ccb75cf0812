"""The newest readings of devices that somebody watches."""

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
SELECT watched.device_id, t.time, t.power_w, t.energy_wh, t.export_wh, t.import_wh, t.load_w,
       t.voltage_v, t.current_a, t.frequency_hz, t.temperature_c, t.battery_soc_pct
  FROM unnest($1::uuid[], $2::timestamptz[]) AS watched (device_id, known_until)
 CROSS JOIN LATERAL (
       SELECT time, power_w, energy_wh, export_wh, import_wh, load_w, voltage_v, current_a,
              frequency_hz, temperature_c, battery_soc_pct
         FROM telemetry
        WHERE device_id = watched.device_id
          AND time > coalesce(watched.known_until, '-infinity')
        ORDER BY time DESC LIMIT 1) AS t
"""


@dataclass(frozen=True, slots=True)
class Last:
    """Whose a device is, and when it last measured."""

    owner_id: UserId
    last_at: datetime | None


async def last(conn: Connection, device_id: DeviceId) -> Last | None:
    row = await conn.fetchrow(_LAST, device_id)
    return Last(row["owner_id"], row["last_at"]) if row else None


async def newer(
    conn: Connection, known_until: Mapping[DeviceId, datetime | None]
) -> dict[DeviceId, Reading]:
    """The newest reading of each device that measured something after what is known of it."""
    rows = await conn.fetch(_NEWER, list(known_until), list(known_until.values()))
    return {row["device_id"]: Reading(**{name: row[name] for name in FIELDS}) for row in rows}
