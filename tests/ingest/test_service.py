"""The ingest process against real brokers: from topic to table, and back on `ack`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry

from core.settings import DatabaseSettings, IngestSettings
from core.units import rfc3339
from db.pool import Pool
from ingest import service
from tests.conftest import Broker
from tests.ingest.world import add_device, add_following_listing
from tests.support.market import add_dynamic_listing
from tests.support.mosquitto import Mosquitto
from tests.support.people import DEVICE_PASSWORD, add_user
from tests.support.shortages import lacking
from tests.support.waiting import eventually

NOW = datetime.now(UTC)


@asynccontextmanager
async def ingesting(
    mqtt_url: str, database: DatabaseSettings, **settings: object
) -> AsyncIterator[CollectorRegistry]:
    registry, started = CollectorRegistry(), asyncio.Event()
    ingest_settings = IngestSettings(mqtt_url=mqtt_url, **settings)
    task = asyncio.create_task(
        service.run(ingest_settings, database, registry=registry, started=started)
    )
    async with asyncio.timeout(10):
        await started.wait()
    try:
        yield registry
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def telemetry(device: UUID, minutes_ago: float, energy_wh: float) -> tuple[str, str]:
    at = rfc3339(NOW - timedelta(minutes=minutes_ago))
    return f"solar/{device}/telemetry", json.dumps({"time": at, "energy_wh": energy_wh})


async def holds(pool: Pool, query: str, value: object) -> None:
    async def check() -> bool:
        found = await pool.fetchval(query)
        assert found == value
        return True

    await eventually(check)


async def test_a_device_publishes_and_its_listing_follows(
    pool: Pool, database: DatabaseSettings, broker: Broker
) -> None:
    device = await add_device(pool)
    await add_following_listing(pool, device, NOW - timedelta(hours=1))
    async with (
        ingesting(broker.url, database),
        aiomqtt.Client(
            "127.0.0.1", broker.port, username=str(device), password=DEVICE_PASSWORD
        ) as client,
    ):
        await client.publish(*telemetry(device, 4, 1000), qos=1)
        await client.publish(*telemetry(device, 2, 1100), qos=1)
        await holds(pool, "SELECT energy_amount_kwh::text FROM energy_listings", "0.100")


async def test_garbage_of_any_kind_does_not_stop_the_stream(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device = await add_device(pool)
    async with (
        ingesting(mosquitto.url, database) as registry,
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        topic = f"solar/{device}/telemetry"
        for payload in (b"", b"{", b'{"power_w": "much"}', b'{"power_w": NaN}', b"x" * 10_000_000):
            await client.publish(topic, payload, qos=1)
        await client.publish("solar/nobody/telemetry", b'{"power_w": 1}', qos=1)
        await client.publish(*telemetry(device, 1, 1000), qos=1)
        await holds(pool, "SELECT count(*) FROM telemetry", 1)
        await holds(pool, "SELECT count(*) FROM rejections", 6)
        rejected = registry.get_sample_value(
            "solarhub_readings_rejected_total", {"reason": "malformed"}
        )
        assert rejected == 2
        assert registry.get_sample_value("solarhub_readings_received_total") == 7


async def test_a_device_receives_notices_of_its_rejected_readings(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device = await add_device(pool)
    async with (
        ingesting(mosquitto.url, database),
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        await client.subscribe(f"solar/{device}/ack", qos=1)
        old = NOW - timedelta(days=30)
        payload = json.dumps({"time": rfc3339(old), "power_w": 1})
        await client.publish(f"solar/{device}/telemetry", payload, qos=1)
        async with asyncio.timeout(10):
            answer = await anext(aiter(client.messages))
        assert json.loads(answer.payload) == {
            "rejected": [{"time": rfc3339(old), "reason": "too_old"}]
        }


REFUSE_666 = "ALTER TABLE telemetry ADD CHECK (voltage_v IS DISTINCT FROM 666)"
IDENTITY = "SELECT received::int, stored::int, duplicate::int, rejected::int FROM device_states"


async def test_every_reading_of_a_message_that_the_database_refuses_is_counted(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device = await add_device(pool)
    await pool.execute(REFUSE_666)
    async with (
        ingesting(mosquitto.url, database) as registry,
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        times = [rfc3339(NOW - timedelta(minutes=n)) for n in range(5)]
        bad = [{"time": at, "energy_wh": 5, "voltage_v": 666 - n} for n, at in enumerate(times)]
        await client.subscribe(f"solar/{device}/ack", qos=1)
        await client.publish(*telemetry(device, 9, 1), qos=1)
        bad_and_worse = json.dumps([*bad, {"power_w": "much"}])
        await client.publish(f"solar/{device}/telemetry", bad_and_worse, qos=1)
        await client.publish(*telemetry(device, 8, 2), qos=1)
        await holds(pool, "SELECT stored::int FROM device_states", 2)
        async with asyncio.timeout(10):
            answer = json.loads((await anext(aiter(client.messages))).payload)
    assert tuple(await pool.fetchrow(IDENTITY) or ()) == (8, 2, 0, 6)
    reported = [(r["time"], r["reason"]) for r in answer["rejected"]]
    assert reported[1:] == [(at, "unstorable: CheckViolationError") for at in times]
    rejected = {
        reason: registry.get_sample_value("solarhub_readings_rejected_total", {"reason": reason})
        for reason in ("unstorable", "bad_value")
    }
    assert rejected == {"unstorable": 5, "bad_value": 1}
    assert registry.get_sample_value("solarhub_readings_received_total") == 8


FAIL_AT_666 = """
CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'stumbled' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER stumble BEFORE INSERT ON telemetry
    FOR EACH ROW WHEN (NEW.voltage_v = 666) EXECUTE FUNCTION stumble();
"""


@pytest.mark.parametrize("code", ["XX000", "P0001", "54000"])
async def test_a_reading_that_makes_the_database_fail_stops_no_other(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto, code: str
) -> None:
    """The error does not show that the data are the cause, so the batch was retried for ever."""
    devices = [await add_device(pool) for _ in range(4)]
    await pool.execute(FAIL_AT_666.format(code=code))
    async with (
        ingesting(mosquitto.url, database),
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        bad = json.dumps({"time": rfc3339(NOW), "energy_wh": 5, "voltage_v": 666})
        await client.publish(f"solar/{devices[0]}/telemetry", bad, qos=1)
        for device in devices:
            await client.publish(*telemetry(device, 8, 2), qos=1)
        await holds(pool, "SELECT sum(stored)::int FROM device_states", 4)
        await holds(pool, "SELECT sum(rejected)::int FROM device_states", 1)
    reason = await pool.fetchval("SELECT reason FROM rejections")
    assert reason.startswith("unstorable: ")


async def test_retained_copies_are_not_counted_again(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device = await add_device(pool)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish(*telemetry(device, 3, 1000), qos=1, retain=True)
        async with ingesting(mosquitto.url, database) as registry:
            await client.publish(*telemetry(device, 1, 1010), qos=1)
            await holds(pool, "SELECT count(*) FROM telemetry", 1)
            assert registry.get_sample_value("solarhub_messages_ignored_total") == 1


async def test_messages_published_during_an_outage_are_stored_afterwards(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device = await add_device(pool)
    async with ingesting(mosquitto.url, database):
        pass
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish(*telemetry(device, 3, 1000), qos=1)
    async with ingesting(mosquitto.url, database):
        await holds(pool, "SELECT count(*) FROM telemetry", 1)


async def test_the_ingester_waits_for_a_broker_that_restarts(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device = await add_device(pool)
    async with ingesting(mosquitto.url, database):
        mosquitto.stop()
        mosquitto.start()

        async def published_and_stored() -> bool:
            async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
                await client.publish(*telemetry(device, 1, 1000), qos=1)
            return bool(await pool.fetchval("SELECT count(*) FROM telemetry"))

        await eventually(published_and_stored)


async def test_silence_takes_a_device_offline_and_pauses_its_listing(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device = await add_device(pool)
    await add_following_listing(pool, device, NOW - timedelta(hours=1))
    async with (
        ingesting(mosquitto.url, database, offline_after="200ms"),
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        await client.publish(*telemetry(device, 1, 1000), qos=1)
        await holds(pool, "SELECT status FROM device_states", "offline")
        await holds(pool, "SELECT status FROM energy_listings", "paused")
        await client.publish(*telemetry(device, 0, 1010), qos=1)
        await holds(pool, "SELECT count(*) FROM outbox WHERE type = 'listing.resumed'", 1)


async def test_listings_are_repriced_and_surplus_rejections_deleted(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    host = await add_user(pool, "host")
    await add_dynamic_listing(pool, host, price_per_kwh=5)
    await pool.execute("UPDATE energy_listings SET price_slot = price_slot - interval '1 hour'")
    await pool.execute(
        "INSERT INTO rejections (topic, payload, reason)"
        " SELECT 'solar/nobody/telemetry', '', 'unknown_device' FROM generate_series(1, 10100)"
    )
    prices = {"grid_retail_price": "9", "grid_export_price": "2.5"}
    async with ingesting(mosquitto.url, database, **prices):
        await holds(pool, "SELECT price_per_kwh::text FROM energy_listings", "2.5000")
        await holds(pool, "SELECT readings FROM rejections_dropped", 100)
        await holds(pool, "SELECT count(*) FROM rejections", 10_000)


async def test_a_listing_whose_window_has_passed_expires(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device = await add_device(pool)
    await add_following_listing(pool, device, NOW - timedelta(hours=1))
    async with ingesting(mosquitto.url, database):
        await pool.execute("UPDATE energy_listings SET available_to = now()")
        await holds(pool, "SELECT status FROM energy_listings", "expired")
        await holds(pool, "SELECT type FROM outbox", "listing.expired")


async def test_readings_wait_while_the_disk_is_full_and_none_is_rejected(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device = await add_device(pool)
    async with (
        ingesting(mosquitto.url, database) as registry,
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):

        def tried_again() -> bool:
            return (registry.get_sample_value("solarhub_ingest_retries_total") or 0) > 1

        async with lacking(pool, "telemetry"):
            for minutes in (3, 2, 1):
                await client.publish(*telemetry(device, minutes, 1000 - minutes), qos=1)
            await eventually(tried_again)
            assert await pool.fetchval("SELECT count(*) FROM rejections") == 0
        await holds(pool, "SELECT count(*) FROM telemetry", 3)
        assert await pool.fetchval("SELECT count(*) FROM rejections") == 0
