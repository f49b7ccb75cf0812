"""Killed at any moment, the ingester loses nothing and counts nothing twice."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import aiomqtt

from core.settings import DatabaseSettings
from core.units import rfc3339, slot_of
from db.audit import audit
from db.pool import Pool
from tests.ingest.world import add_device, add_following_listing
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

DEVICES = 10
READINGS_EACH = 400
EVERY = timedelta(seconds=20)
WATT_HOURS_EACH = 7.25
KILLS = 3


@asynccontextmanager
async def ingester(
    database: DatabaseSettings, mosquitto: Mosquitto
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`solarhub ingest` as its own process; killed when the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "solarhub", "ingest",
        env={
            **os.environ,
            "SOLARHUB_DATABASE_URL": database.database_url,
            "SOLARHUB_MQTT_URL": mosquitto.url,
            "SOLARHUB_INGEST_BATCH_MAX": "200",
        },
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def publish_history(mosquitto: Mosquitto, devices: list[UUID], start: datetime) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, identifier="fleet") as client:
        for n in range(READINGS_EACH):
            reading = {"time": rfc3339(start + n * EVERY), "energy_wh": 5e6 + n * WATT_HOURS_EACH}
            payload = json.dumps(reading)
            for device in devices:
                await client.publish(f"solar/{device}/telemetry", payload, qos=1)


async def stored_at_least(pool: Pool, count: int) -> bool:
    return bool(await pool.fetchval("SELECT count(*) FROM telemetry") >= count)


async def has_subscribed(pool: Pool, mosquitto: Mosquitto) -> bool:
    """Whether a message gets through; a stranger's, which leaves its rejection."""
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish("solar/stranger/telemetry", "{}", qos=1)
    return bool(await pool.fetchval("SELECT count(*) FROM rejections"))


async def test_killing_the_ingester_changes_no_total(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    start = slot_of(datetime.now(UTC)) - timedelta(hours=4)
    devices = [await add_device(pool, capacity_w=50_000) for _ in range(DEVICES)]
    for device in devices:
        await add_following_listing(pool, device, start)
    total = DEVICES * READINGS_EACH
    # From here on the broker keeps the session, and what comes while nobody is there.
    async with ingester(database, mosquitto):
        await eventually(lambda: has_subscribed(pool, mosquitto), within_s=30)
    publishing = asyncio.create_task(publish_history(mosquitto, devices, start))
    for killed_at in range(total // (KILLS + 1), total, total // (KILLS + 1)):
        async with ingester(database, mosquitto):
            await eventually(partial(stored_at_least, pool, killed_at), within_s=60)
    async with ingester(database, mosquitto):
        await publishing
        await eventually(partial(stored_at_least, pool, total), within_s=60)
    assert await pool.fetchval("SELECT count(*) FROM telemetry") == total
    energy = await pool.fetch(
        "SELECT DISTINCT sum(generated_wh)::float8 FROM energy_interval GROUP BY device_id"
    )
    assert energy == [((READINGS_EACH - 1) * WATT_HOURS_EACH,)]
    left = await pool.fetch("SELECT DISTINCT energy_amount_kwh::text FROM energy_listings")
    assert left == [("2.892",)]
    async with pool.acquire() as conn:
        assert [c.name async for c in audit(conn, database) if not c.ok] == []
