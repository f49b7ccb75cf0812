"""Late readings and long silences after TimescaleDB has compressed old chunks.

The outcome is that of plain PostgreSQL, which runs the same tests without compressing anything.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg.connection import LoggedQuery

from core.settings import DatabaseSettings
from core.units import slot_of
from db import intervals
from db.pool import Pool
from ingest.writer import write
from tests.ingest.world import add_device, counting, intervals_of, telemetry
from tests.support.audits import failed_checks

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
HORIZON = timedelta(days=7)

_JOBS = """
SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression'
"""
_HAS_TIMESCALEDB = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"
_CHUNKS = """
SELECT is_compressed, range_start, range_end FROM timescaledb_information.chunks
 WHERE hypertable_name IN ('telemetry', 'energy_interval')
"""


async def compress(pool: Pool) -> bool:
    """Run the nightly jobs, if the database has any."""
    if not await pool.fetchval(_HAS_TIMESCALEDB):
        return False
    for job in await pool.fetch(_JOBS):
        await pool.execute(f"CALL run_job({job['job_id']})")
    assert {chunk["is_compressed"] for chunk in await pool.fetch(_CHUNKS)} == {True, False}
    return True


async def history(pool: Pool, device: UUID, start: datetime, days: int) -> None:
    """Return the readings of a counter on one day, at the same time every day."""
    for n in range(days):
        at = start + n * DAY
        readings = counting(at, [1000 + 100 * n + 10 * k for k in range(4)])
        await write(pool, [telemetry(device, *readings, received_at=at + 20 * MINUTE)], HORIZON)


async def test_a_reading_at_the_late_horizon_meets_no_compressed_chunk(
    pool: Pool, database: DatabaseSettings
) -> None:
    device, now = await add_device(pool), datetime.now(UTC)
    start = slot_of(now - 12 * DAY)
    await history(pool, device, start, 12)
    compressed = await compress(pool)
    latest = now - HORIZON + MINUTE
    if compressed:
        for chunk in await pool.fetch(_CHUNKS):
            assert not chunk["is_compressed"] or chunk["range_end"] < latest
    [late] = counting(latest, [1000 + 100 * 5 + 35])
    written = await write(pool, [telemetry(device, late, received_at=now)], HORIZON)
    assert (written.received, written.stored) == (1, 1)
    async with pool.acquire() as conn:
        assert await failed_checks(conn, database) == []


async def test_a_silence_longer_than_the_late_horizon_is_filled_also_in_compressed_chunks(
    pool: Pool, database: DatabaseSettings
) -> None:
    device, other = await add_device(pool), await add_device(pool)
    now = datetime.now(UTC)
    start = slot_of(now - 12 * DAY)
    await history(pool, device, start, 1)
    await history(pool, other, start, 12)
    await compress(pool)
    [returns] = counting(start + 15 * MINUTE + 11 * DAY, [1030 + 11 * 96 * 4])
    await write(pool, [telemetry(device, returns, received_at=now)], HORIZON)
    slots = await intervals_of(pool, device)
    assert sum(slot["generated_wh"] for slot in slots) == 30 + 11 * 96 * 4
    assert [slot["reasons"] for slot in slots[1:]] == [["gap"]] * (11 * 96)
    # A late reading in the middle replaces all of these intervals.
    [late] = counting(now - 6 * DAY, [1500])
    await write(pool, [telemetry(device, late, received_at=now)], HORIZON)
    slots = await intervals_of(pool, device)
    assert sum(slot["generated_wh"] for slot in slots) == 30 + 11 * 96 * 4
    async with pool.acquire() as conn:
        assert await failed_checks(conn, database) == []


async def test_years_of_silence_are_filled_by_statements_that_each_end_in_time(
    pool: Pool, database: DatabaseSettings
) -> None:
    device, now = await add_device(pool), datetime.now(UTC)
    [before] = counting(now - 400 * DAY, [1000.0])
    [returns] = counting(now, [9000.0])
    await write(pool, [telemetry(device, before, received_at=before.time)], HORIZON)
    asked: list[LoggedQuery] = []
    conn = await pool.acquire()
    conn.add_query_logger(asked.append)
    await pool.release(conn)
    await write(pool, [telemetry(device, returns, received_at=now)], HORIZON)
    slots = await intervals_of(pool, device)
    assert len(slots) >= 400 * 96
    assert sum(slot["generated_wh"] for slot in slots) == 8000
    filled = [query for query in asked if "INSERT INTO energy_interval" in query.query]
    assert len(filled) == -(-len(slots) // intervals.ADDED_AT_ONCE)
