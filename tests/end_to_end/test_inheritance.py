"""Members that share a subscription: an heir that is killed while it takes what was left to it, at
a broker that lets nobody in without an account."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import aiomqtt
import pytest

from core.readings import Reading
from core.settings import DatabaseSettings
from db.pool import Pool
from simulators.dialects.native import payload
from tests.end_to_end.turmoil import Part
from tests.ingest.broker_accounts.support import SECRET, connected_device, register
from tests.support.audits import failed_checks
from tests.support.mosquitto import SecuredMosquitto
from tests.support.waiting import eventually

READINGS_LEFT = 600
READINGS_LATER = 60
BATCH_MAX = 5  # so that to take what is left takes a while
WELL_WITHIN_S = 60

_STORED = "SELECT coalesce(sum(stored), 0)::int FROM device_states"
_HELD_SESSIONS = "SELECT array_agg(client_id) FROM ingesters"


def member(name: str, mosquitto: SecuredMosquitto, database: DatabaseSettings, home: Path) -> Part:
    return Part(
        "ingest",
        home / f"{name}.log",
        {
            "SOLARHUB_DATABASE_URL": database.database_url,
            "SOLARHUB_MQTT_URL": mosquitto.url,
            "SOLARHUB_DEVICE_SECRET": SECRET.decode(),
            "SOLARHUB_INGEST_CLIENT_ID": name,
            "SOLARHUB_INGEST_GROUP": "hub",
            "SOLARHUB_INGEST_SHARED_SUBSCRIPTION": "true",
            "SOLARHUB_INGEST_GONE_AFTER": "2s",
            "SOLARHUB_INGEST_BATCH_MAX": str(BATCH_MAX),
        },
    )


async def tell(device: aiomqtt.Client, device_id: UUID, first: int, count: int) -> None:
    """Readings of a counter, one in each message, a second apart."""
    began_at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    for n in range(first, first + count):
        reading = Reading(began_at + timedelta(seconds=n), energy_wh=float(n))
        await device.publish(f"solar/{device_id}/telemetry", payload([reading]), qos=1)


@pytest.mark.slow
async def test_an_heir_that_is_killed_while_it_inherits_is_inherited_with_what_it_had_taken_over(
    database: DatabaseSettings, pool: Pool, secured: SecuredMosquitto, tmp_path: Path
) -> None:
    device_id, parts = await register(pool), []

    async def joins(name: str) -> Part:
        part = member(name, secured, database, tmp_path)
        await part.start()
        stack.push_async_callback(part.end)
        parts.append(part)
        await eventually(lambda: name.encode() in secured.saved(), within_s=WELL_WITHIN_S)
        return part

    async def has_begun() -> bool:
        return bool(await pool.fetchval(_STORED))

    async def only_one_is_left() -> bool:
        assert await pool.fetchval(_HELD_SESSIONS) == ["three"]
        return True

    async with AsyncExitStack() as stack:
        one = await joins("one")
        device = await stack.enter_async_context(connected_device(secured, device_id))
        await one.end()
        await tell(device, device_id, 0, READINGS_LEFT)
        two = await joins("two")
        await eventually(has_begun, within_s=WELL_WITHIN_S)
        await two.end()
        assert await pool.fetchval(_STORED) < READINGS_LEFT
        await tell(device, device_id, READINGS_LEFT, READINGS_LATER)
        await joins("three")
        await eventually(only_one_is_left, within_s=WELL_WITHIN_S)
    assert await pool.fetchval(_STORED) == READINGS_LEFT + READINGS_LATER
    async with pool.acquire() as conn:
        assert await failed_checks(conn, database) == []
    for part in parts:
        assert "Traceback" not in part.log.read_text()
