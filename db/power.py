"""The current power of devices that sent something since an instant."""

from dataclasses import dataclass
from datetime import datetime

from core.ids import DeviceId
from db.pool import Connection

_NOW = "SELECT clock_timestamp()"

# By the time of receipt. Callers query overlapping periods, since a batch is visible only after its
# commit.
_SINCE = """
SELECT s.device_id, t.time, t.power_w
  FROM device_states s JOIN devices d ON d.id = s.device_id
 CROSS JOIN LATERAL (
       SELECT time, power_w FROM telemetry WHERE device_id = s.device_id
        ORDER BY time DESC LIMIT 1) AS t
 WHERE s.last_seen_at > $1 AND d.deleted_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Power:
    """The power of a device in its newest reading by measurement time."""

    device_id: DeviceId
    time: datetime
    # None: that reading has no power.
    power_w: float | None


async def now(conn: Connection) -> datetime:
    """Return the time of the database's clock."""
    at: datetime = await conn.fetchval(_NOW)
    return at


async def since(conn: Connection, at: datetime) -> list[Power]:
    """Return the power of each device that sent something since an instant."""
    return [Power(r["device_id"], r["time"], r["power_w"]) for r in await conn.fetch(_SINCE, at)]
