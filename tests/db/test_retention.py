"""How raw readings age: what TimescaleDB does to old ones shows in no answer."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from core.settings import DatabaseSettings
from db import schema
from db.pool import Connection
from tests.support import people

HOUR = timedelta(hours=1)
_HAS_TIMESCALEDB = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"
_STORE = """
INSERT INTO telemetry (device_id, time, power_w, energy_wh)
SELECT $1, unnest($2::timestamptz[]), 1000, 5 ON CONFLICT DO NOTHING RETURNING time
"""
_HOURLY = """
SELECT bucket, power_w, energy_wh, readings FROM telemetry_1h WHERE device_id = $1 ORDER BY bucket
"""
_COMPRESS = "SELECT compress_chunk(c) FROM show_chunks('telemetry') c"
_POLICIES = """
SELECT config->>'drop_after' AS dropped, config->>'compress_after' AS compressed,
       config->>'start_offset' AS first, config->>'end_offset' AS last
  FROM timescaledb_information.jobs WHERE proc_name <> 'policy_job_stat_history_retention'
"""


async def a_device(conn: Connection) -> UUID:
    return await people.add_device(conn, await people.add_user(conn, "host"))


async def need_timescaledb(conn: Connection) -> None:
    if not await conn.fetchval(_HAS_TIMESCALEDB):
        pytest.skip("the test server has no TimescaleDB")


async def test_hours_and_days_add_up_what_was_read(conn: Connection) -> None:
    device_id = await a_device(conn)
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    await conn.execute(_STORE, device_id, [noon, noon + HOUR / 2, noon + HOUR, noon + 12 * HOUR])
    assert [tuple(row) for row in await conn.fetch(_HOURLY, device_id)] == [
        (noon, 1000, 5, 2),
        (noon + HOUR, 1000, 5, 1),
        (noon + 12 * HOUR, 1000, 5, 1),
    ]
    daily = _HOURLY.replace("telemetry_1h", "telemetry_1d")
    assert [row["readings"] for row in await conn.fetch(daily, device_id)] == [3, 1]


async def test_a_compressed_reading_is_still_stored_once_and_goes_with_its_owner(
    conn: Connection,
) -> None:
    await need_timescaledb(conn)
    device_id = await a_device(conn)
    at = datetime.now(UTC) - timedelta(days=9)
    await conn.execute(_STORE, device_id, [at])
    await conn.execute(_COMPRESS)
    added = await conn.fetch(_STORE, device_id, [at, at + timedelta(seconds=1)])
    assert [row["time"] for row in added] == [at + timedelta(seconds=1)]
    await conn.execute("DELETE FROM users")
    assert await conn.fetchval("SELECT count(*) FROM telemetry") == 0


async def test_what_a_late_reading_may_change_is_neither_compressed_nor_materialized(
    conn: Connection, database: DatabaseSettings
) -> None:
    await need_timescaledb(conn)
    settings = {"retention_raw": timedelta(days=40), "late_horizon": timedelta(days=3)}
    await schema.migrate(database.model_copy(update=settings))
    policies = [tuple(row) for row in await conn.fetch(_POLICIES)]
    assert len(policies) == 5
    assert {p[0] for p in policies} == {"40 days", None}
    assert {p[1] for p in policies} == {"4 days", None}
    assert {p[2:] for p in policies} == {("40 days", "4 days"), (None, None)}
