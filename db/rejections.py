"""Retention of rejections: the newest of each device stay, and deleted ones are counted."""

from core.ids import DeviceId
from db.pool import Connection

_OVER_LIMIT = """
SELECT s.device_id FROM device_states s LEFT JOIN rejections_dropped d USING (device_id)
 WHERE s.rejected - coalesce(d.readings, 0) > $1 LIMIT $2
"""

_DROP = """
WITH dropped AS (
    DELETE FROM rejections WHERE id IN (
           SELECT id FROM rejections WHERE device_id = $1 ORDER BY id DESC OFFSET $2 LIMIT $3)
    RETURNING readings
), counted AS (
    INSERT INTO rejections_dropped AS d (device_id, readings)
    SELECT $1, sum(readings) FROM dropped HAVING count(*) > 0
        ON CONFLICT (device_id) DO UPDATE SET readings = d.readings + excluded.readings
)
SELECT count(*) FROM dropped
"""

_DROP_OF_UNKNOWN = """
WITH dropped AS (
    DELETE FROM rejections WHERE id IN (
           SELECT id FROM rejections WHERE device_id IS NULL ORDER BY id DESC OFFSET $1 LIMIT $2)
    RETURNING readings
), counted AS (
    INSERT INTO rejections_dropped AS d (device_id, readings)
    SELECT NULL, sum(readings) FROM dropped HAVING count(*) > 0
        ON CONFLICT (device_id) DO UPDATE SET readings = d.readings + excluded.readings
)
SELECT count(*) FROM dropped
"""


async def over_limit(conn: Connection, kept_max: int, limit: int) -> list[DeviceId]:
    """Return devices that have more than `kept_max` rejections."""
    return [row["device_id"] for row in await conn.fetch(_OVER_LIMIT, kept_max, limit)]


async def drop(conn: Connection, device_id: DeviceId, *, kept_max: int, limit: int) -> int:
    """Delete all but the newest rejections of a device, and count them. Return their number."""
    return int(await conn.fetchval(_DROP, device_id, kept_max, limit))


async def drop_of_unknown(conn: Connection, *, kept_max: int, limit: int) -> int:
    """Delete and count rejections of unknown devices, as `drop` does for one device."""
    return int(await conn.fetchval(_DROP_OF_UNKNOWN, kept_max, limit))
