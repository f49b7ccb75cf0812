"""What devices generate right now: of those that said something since one looked last."""

from dataclasses import dataclass
from datetime import datetime

from core.ids import DeviceId
from db.pool import Connection

_NOW = "SELECT clock_timestamp()"

# By the time of receipt, in overlapping looks: a batch is seen when it commits.
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
    """`power_w` as the newest reading by measurement time has it; None: it did not say."""

    device_id: DeviceId
    time: datetime
    power_w: float | None


async def now(conn: Connection) -> datetime:
    """The database's clock."""
    at: datetime = await conn.fetchval(_NOW)
    return at


async def since(conn: Connection, at: datetime) -> list[Power]:
    return [Power(r["device_id"], r["time"], r["power_w"]) for r in await conn.fetch(_SINCE, at)]
