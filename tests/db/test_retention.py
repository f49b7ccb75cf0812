"""Retention of readings: TimescaleDB compresses and drops old ones without a change of results.

On plain PostgreSQL the tests that are about TimescaleDB alone are skipped.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from core.settings import DatabaseSettings
from db import schema
from db.pool import Connection
from tests.support import people

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
# One day more than the late horizon of 7.
SETTLED = 8 * DAY

_HAS_TIMESCALEDB = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"
_STORE = """
INSERT INTO telemetry (device_id, time, power_w, energy_wh)
SELECT $1, unnest($2::timestamptz[]), 1000, 5 ON CONFLICT DO NOTHING RETURNING time
"""
_STORE_ALL = """
INSERT INTO telemetry (device_id, time, power_w, load_w, energy_wh, export_wh, import_wh,
                       battery_soc_pct)
SELECT $1, * FROM unnest($2::timestamptz[], $3::float8[], $4::float8[], $5::float8[], $6::float8[],
                         $7::float8[], $8::float8[])
"""
_STORE_INTERVALS = """
INSERT INTO energy_interval (device_id, slot_start, generated_wh, surplus_wh, quality)
SELECT $1, unnest($2::timestamptz[]), 5, 5, 'measured'
"""
_HOURLY = """
SELECT bucket, power_w, energy_wh, readings FROM telemetry_1h WHERE device_id = $1 ORDER BY bucket
"""
_COLUMNS = """
SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
 WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum
"""
_AGGREGATED = """
SELECT device_id, bucket, power_w, power_max_w, load_w, energy_wh, export_wh, import_wh,
       battery_soc_pct, readings FROM telemetry_1h ORDER BY 1, 2
"""
_FROM_READINGS = """
SELECT device_id, date_bin('1 hour', time, '2000-01-01Z') AS bucket, avg(power_w), max(power_w),
       avg(load_w), max(energy_wh), max(export_wh), max(import_wh), avg(battery_soc_pct), count(*)
  FROM telemetry GROUP BY 1, 2 ORDER BY 1, 2
"""

_CHUNKS = """
SELECT hypertable_name::text, range_start, range_end, is_compressed
  FROM timescaledb_information.chunks
 WHERE hypertable_name IN ('telemetry', 'energy_interval')
"""
_COMPRESS = "SELECT compress_chunk(c) FROM show_chunks($1::text::regclass) c"
_POLICIES = """
SELECT config->>'drop_after' AS dropped, config->>'compress_after' AS compressed,
       config->>'start_offset' AS first, config->>'end_offset' AS last
  FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL
"""
_JOBS = "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = $1 ORDER BY 1"
_COUNT = "SELECT count(*) FROM "


async def a_device(conn: Connection) -> UUID:
    return await people.add_device(conn, await people.add_user(conn, "host"))


async def need_timescaledb(conn: Connection) -> None:
    if not await conn.fetchval(_HAS_TIMESCALEDB):
        pytest.skip("the test server has no TimescaleDB")


async def store(conn: Connection, device_id: UUID, times: Sequence[datetime]) -> None:
    """Add a reading, and energy in its slot, at each of these times."""
    await conn.execute(_STORE, device_id, times)
    slots = {at.replace(minute=0, second=0, microsecond=0) for at in times}
    await conn.execute(_STORE_INTERVALS, device_id, sorted(slots))


async def tonight(conn: Connection, policy: str) -> None:
    """Run the jobs of a policy now, as the scheduler does later."""
    jobs = await conn.fetch(_JOBS, policy)
    assert jobs
    for job in jobs:
        await conn.execute(f"CALL run_job({job['job_id']})")


async def counts(conn: Connection, *tables: str) -> list[int]:
    return [await conn.fetchval(_COUNT + table) for table in tables]


async def test_hours_and_days_aggregate_all_readings(conn: Connection) -> None:
    device_id = await a_device(conn)
    await conn.execute(_STORE, device_id, [NOON, NOON + HOUR / 2, NOON + HOUR, NOON + 12 * HOUR])
    assert [tuple(row) for row in await conn.fetch(_HOURLY, device_id)] == [
        (NOON, 1000, 5, 2),
        (NOON + HOUR, 1000, 5, 1),
        (NOON + 12 * HOUR, 1000, 5, 1),
    ]
    daily = _HOURLY.replace("telemetry_1h", "telemetry_1d")
    assert [row["readings"] for row in await conn.fetch(daily, device_id)] == [3, 1]


async def test_hours_and_days_have_the_same_columns_on_every_server(conn: Connection) -> None:
    for name in ("telemetry_1h", "telemetry_1d"):
        assert [tuple(row) for row in await conn.fetch(_COLUMNS, name)] == [
            ("device_id", "uuid"),
            ("bucket", "timestamp with time zone"),
            ("power_w", "double precision"),
            ("power_max_w", "double precision"),
            ("load_w", "double precision"),
            ("energy_wh", "double precision"),
            ("export_wh", "double precision"),
            ("import_wh", "double precision"),
            ("battery_soc_pct", "double precision"),
            ("readings", "bigint"),
        ]


async def test_hours_and_days_equal_their_readings_materialized_or_not(
    conn: Connection,
) -> None:
    chance, now = Random(1), datetime.now(UTC)
    for _ in range(3):
        device_id = await a_device(conn)
        times = [now - n * 5 * HOUR - chance.random() * 4 * HOUR for n in range(200)]
        # Whole numbers, whose averages do not depend on the order of addition.
        values = [[chance.choice([None, chance.randint(0, 9999)]) for _ in times] for _ in range(6)]
        await conn.execute(_STORE_ALL, device_id, times, *values)
    if await conn.fetchval(_HAS_TIMESCALEDB):
        await tonight(conn, "policy_refresh_continuous_aggregate")
    for view, bucket in (("telemetry_1h", "1 hour"), ("telemetry_1d", "1 day")):
        aggregated = await conn.fetch(_AGGREGATED.replace("telemetry_1h", view))
        assert len(aggregated) > 100
        assert [tuple(row) for row in aggregated] == [
            tuple(row) for row in await conn.fetch(_FROM_READINGS.replace("1 hour", bucket))
        ]


async def test_readings_are_stored_in_chunks_of_a_day(conn: Connection) -> None:
    await need_timescaledb(conn)
    await store(conn, await a_device(conn), [NOON, NOON + DAY, NOON + DAY + HOUR])
    midnight = NOON - 12 * HOUR
    for table in ("telemetry", "energy_interval"):
        chunks = [c for c in await conn.fetch(_CHUNKS) if c["hypertable_name"] == table]
        assert {(c["range_start"], c["range_end"]) for c in chunks} == {
            (midnight, midnight + DAY),
            (midnight + DAY, midnight + 2 * DAY),
        }


async def test_compression_leaves_out_data_that_a_late_reading_may_change(
    conn: Connection,
) -> None:
    await need_timescaledb(conn)
    now = datetime.now(UTC)
    await store(conn, await a_device(conn), [now - n * DAY for n in range(20)])
    await tonight(conn, "policy_compression")
    for chunk in await conn.fetch(_CHUNKS):
        assert chunk["is_compressed"] is (chunk["range_end"] <= now - SETTLED), chunk


async def test_retention_drops_readings_and_retains_derived_data(
    conn: Connection,
) -> None:
    await need_timescaledb(conn)
    now = datetime.now(UTC)
    device_id = await a_device(conn)
    old = [now - 80 * DAY, now - 85 * DAY]
    await store(conn, device_id, [*old, now - DAY])
    await tonight(conn, "policy_refresh_continuous_aggregate")
    await tonight(conn, "policy_compression")
    # The same state as after 20 days.
    settings = {"retention_raw": timedelta(days=70), "late_horizon": timedelta(days=7)}
    await conn.execute("SELECT apply_retention($1, $2)", *settings.values())
    hours = await conn.fetch(_HOURLY, device_id)
    for _ in range(2):
        await tonight(conn, "policy_retention")
        await tonight(conn, "policy_refresh_continuous_aggregate")
        assert await counts(conn, "telemetry", "energy_interval") == [1, 3]
        assert await conn.fetch(_HOURLY, device_id) == hours
        assert len(hours) == 3


async def test_a_compressed_reading_is_stored_once_and_deleted_with_its_owner(
    conn: Connection,
) -> None:
    await need_timescaledb(conn)
    device_id, other_id = await a_device(conn), await a_device(conn)
    at = datetime.now(UTC) - 9 * DAY
    await store(conn, device_id, [at])
    await store(conn, other_id, [at])
    for table in ("telemetry", "energy_interval"):
        await conn.execute(_COMPRESS, table)
    added = await conn.fetch(_STORE, device_id, [at, at + timedelta(seconds=1)])
    assert [row["time"] for row in added] == [at + timedelta(seconds=1)]
    await conn.execute("DELETE FROM devices WHERE id = $1", device_id)
    assert await counts(conn, "telemetry", "energy_interval") == [1, 1]
    await conn.execute("DELETE FROM users")
    assert await counts(conn, "telemetry", "energy_interval") == [0, 0]


async def test_each_migration_sets_the_policies_of_the_settings_and_keeps_rows(
    conn: Connection, database: DatabaseSettings
) -> None:
    await need_timescaledb(conn)
    await store(conn, await a_device(conn), [datetime.now(UTC) - n * DAY for n in range(20)])
    await conn.execute(_COMPRESS, "telemetry")
    settings = {"retention_raw": timedelta(days=40), "late_horizon": timedelta(days=3)}
    for _ in range(2):
        await schema.migrate(database.model_copy(update=settings))
    policies = [tuple(row) for row in await conn.fetch(_POLICIES)]
    assert len(policies) == 5
    assert {p[0] for p in policies} == {"40 days", None}
    assert {p[1] for p in policies} == {"4 days", None}
    assert {p[2:] for p in policies} == {("40 days", "4 days"), (None, None)}
    assert await counts(conn, "telemetry", "energy_interval") == [20, 20]
