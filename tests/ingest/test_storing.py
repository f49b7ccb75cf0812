"""Storing of readings that are new for certain or must be checked, and their deletion."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.readings import FIELDS, Reading
from core.settings import DatabaseSettings
from core.units import slot_of
from db import device_states, readings
from db.pool import Pool
from ingest.writer import write
from tests.ingest.world import add_device, counting, intervals_of, telemetry
from tests.support.audits import failed_checks
from tests.support.waiting import eventually

HORIZON = timedelta(days=7)
START = slot_of(datetime.now(UTC)) - timedelta(hours=3)

_WAITS = """
SELECT count(*) > 0 FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'DELETE FROM users%'
"""


async def stored(pool: Pool, device: UUID) -> list[Reading]:
    rows = await pool.fetch("SELECT * FROM telemetry WHERE device_id = $1 ORDER BY time", device)
    return [Reading(**{name: row[name] for name in FIELDS}) for row in rows]


async def test_new_known_and_late_readings_of_several_devices_share_a_batch(
    pool: Pool, database: DatabaseSettings
) -> None:
    new, known, late, alone = [await add_device(pool) for _ in range(4)]
    history = counting(START, range(1000, 2000, 50), timedelta(minutes=2))
    await write(pool, [telemetry(alone, *history)], HORIZON)
    await write(pool, [telemetry(known, *history[:12]), telemetry(late, *history[::2])], HORIZON)
    written = await write(
        pool,
        [
            telemetry(new, *history),
            telemetry(known, *history[8:]),
            telemetry(late, *history[1::2]),
            telemetry(new, history[3]),
        ],
        HORIZON,
    )
    assert (written.received, written.stored, written.duplicate) == (43, 38, 5)
    for device in (new, known, late):
        assert await stored(pool, device) == history
        assert await intervals_of(pool, device) == await intervals_of(pool, alone)
    async with pool.acquire() as conn:
        assert await failed_checks(conn, database) == []


async def test_every_field_of_a_new_reading_is_stored_and_absent_fields_stay_absent(
    pool: Pool,
) -> None:
    device = await add_device(pool)
    full = Reading(START, 3120.5, 1e9, 9e8, 120.0, 640.0, 231.2, 13.5, 50.01, -48.2, 76.0)
    bare = Reading(START + timedelta(minutes=1), power_w=0.0)
    await write(pool, [telemetry(device, full, bare)], HORIZON)
    assert await stored(pool, device) == [full, bare]


async def test_deleting_a_device_deletes_its_readings(pool: Pool) -> None:
    other, deleted = [await add_device(pool) for _ in range(2)]
    history = counting(START, [1000, 1250, 1500])
    await write(pool, [telemetry(other, *history), telemetry(deleted, *history)], HORIZON)
    await pool.execute("DELETE FROM devices WHERE id = $1", deleted)
    rows = await pool.fetch("SELECT DISTINCT device_id FROM telemetry")
    assert [row["device_id"] for row in rows] == [other]


async def test_readings_stored_while_the_owner_is_deleted_are_deleted_too(pool: Pool) -> None:
    device = await add_device(pool)
    owner = await pool.fetchval("SELECT owner_id FROM devices WHERE id = $1", device)
    async with pool.acquire() as conn, conn.transaction():
        await device_states.lock(conn, [device])
        await readings.append(conn, [(device, Reading(START, power_w=1.0))])
        deletion = asyncio.create_task(pool.execute("DELETE FROM users WHERE id = $1", owner))
        await eventually(lambda: pool.fetchval(_WAITS))
    await deletion
    assert await pool.fetchval("SELECT count(*) FROM telemetry") == 0
