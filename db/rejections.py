"""What is kept of what was refused: the newest records of each device, and the count of all."""

from core.ids import DeviceId
from db.pool import Connection

_CROWDED = """
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

_DROP_OF_STRANGERS = """
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


async def crowded(conn: Connection, kept: int, limit: int) -> list[DeviceId]:
    """Devices of which more than `kept` records are there."""
    return [row["device_id"] for row in await conn.fetch(_CROWDED, kept, limit)]


async def drop(conn: Connection, device_id: DeviceId, *, kept: int, limit: int) -> int:
    """Drop records of a device but for the newest, and count them. Returns how many went."""
    return int(await conn.fetchval(_DROP, device_id, kept, limit))


async def drop_of_strangers(conn: Connection, *, kept: int, limit: int) -> int:
    """The same, of all devices that we don't know."""
    return int(await conn.fetchval(_DROP_OF_STRANGERS, kept, limit))
