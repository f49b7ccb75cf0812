"""Presence of devices: status messages, last wills and silence, also through a broker."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from uuid import UUID

import aiomqtt
import pytest
from structlog.testing import capture_logs

from core.readings import Reading
from core.settings import DatabaseSettings
from db.pool import Pool
from ingest import presence
from ingest.presence import take_silent_devices_offline
from tests.ingest.followed_devices import (
    START,
    add_followed_device,
    listing_of,
    reading,
    status,
    take_events,
)
from tests.ingest.test_service import holds, ingesting
from tests.ingest.test_writer import ingest
from tests.ingest.world import add_device, add_following_listing, counting, telemetry
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

SILENT = timedelta(minutes=5)
LONG_AGO = timedelta(minutes=6)
_STATE = "SELECT status, fault_code, last_seen_at FROM device_states WHERE device_id = $1"


async def state_of(pool: Pool, device: UUID) -> tuple[str, str | None]:
    row = await pool.fetchrow(_STATE, device)
    assert row is not None
    return row["status"], row["fault_code"]


async def test_a_last_will_pauses_a_listing_and_an_online_status_resumes_it(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    seen_at = (await pool.fetchrow(_STATE, device))["last_seen_at"]
    await ingest(pool, status(device, "offline"))
    assert await state_of(pool, device) == ("offline", None)
    # The broker sends a last will, so it does not show that the device was seen.
    assert (await pool.fetchrow(_STATE, device))["last_seen_at"] == seen_at
    assert (await listing_of(pool, listing_id)).paused_by == "device"
    assert await take_events(pool) == ["listing.paused", "device.status"]
    await ingest(pool, status(device, "online"))
    assert (await listing_of(pool, listing_id)).status == "active"
    assert await take_events(pool) == ["listing.resumed", "device.status"]


async def test_a_reading_brings_a_device_online(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    await ingest(pool, status(device, "offline"))
    await ingest(pool, reading(device, 30))
    assert await state_of(pool, device) == ("online", None)
    assert (await listing_of(pool, listing_id)).status == "active"


async def test_a_late_reading_brings_a_device_online(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    await ingest(pool, status(device, "offline"))
    await ingest(pool, telemetry(device, Reading(START - timedelta(days=9), power_w=1.0)))
    assert await state_of(pool, device) == ("online", None)
    assert (await listing_of(pool, listing_id)).status == "active"


async def test_a_fault_is_announced_with_its_code_and_pauses_the_listing(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    await ingest(pool, status(device, "fault", code="E07"))
    assert (await listing_of(pool, listing_id)).status == "paused"
    [event] = await pool.fetch("SELECT channels, data FROM outbox WHERE type = 'device.status'")
    assert (event["data"]["status"], event["data"]["fault_code"]) == ("fault", "E07")
    assert event["channels"][0] == f"device:{device}"
    await take_events(pool)
    await ingest(pool, status(device, "fault", code="E08"))
    assert await take_events(pool) == ["device.status"]
    await ingest(pool, status(device, "fault", code="E08"))
    assert await take_events(pool) == []


async def test_a_status_ends_a_fault_and_a_reading_does_not(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    await ingest(pool, status(device, "fault", code="E07"))
    await ingest(pool, reading(device, 30))
    assert await state_of(pool, device) == ("fault", "E07")
    found = await listing_of(pool, listing_id)
    # Energy that it measures meanwhile is for sale later.
    assert (found.status, found.measured_wh) == ("paused", 300)
    await ingest(pool, status(device, "online"))
    assert await state_of(pool, device) == ("online", None)
    assert (await listing_of(pool, listing_id)).status == "active"


async def test_many_reconnects_in_one_batch_are_at_most_one_event(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    flaps = [status(device, reported) for reported in 50 * ("offline", "online")]
    await ingest(pool, *flaps)
    assert await take_events(pool) == []
    await ingest(pool, *flaps, status(device, "offline"))
    assert await take_events(pool) == ["listing.paused", "device.status"]
    assert (await listing_of(pool, listing_id)).version == 3


async def test_the_later_of_two_statuses_counts_in_any_order_of_commits(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    will, back = status(device, "offline", ago=timedelta(seconds=-1)), status(
        device, "online", ago=timedelta(seconds=-2)
    )  # fmt: skip
    await ingest(pool, back)
    await ingest(pool, will)
    assert await state_of(pool, device) == ("online", None)
    assert (await listing_of(pool, listing_id)).status == "active"


async def test_a_silent_device_goes_offline_and_is_announced_once(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    assert await take_silent_devices_offline(pool, SILENT) == 0
    await pool.execute("UPDATE device_states SET last_seen_at = now() - $1::interval", LONG_AGO)
    marked = await asyncio.gather(*(take_silent_devices_offline(pool, SILENT) for _ in range(4)))
    assert sum(marked) == 1
    assert await state_of(pool, device) == ("offline", None)
    assert (await listing_of(pool, listing_id)).paused_by == "device"
    assert await take_events(pool) == ["listing.paused", "device.status"]


async def test_a_device_that_sent_only_a_status_goes_offline_when_silent(pool: Pool) -> None:
    device = await add_device(pool)
    await ingest(pool, status(device, "online", ago=LONG_AGO))
    assert await take_silent_devices_offline(pool, SILENT) == 1
    assert await state_of(pool, device) == ("offline", None)


@pytest.mark.parametrize("reported", ["offline", "fault"])
async def test_silence_changes_no_device_that_is_not_online(pool: Pool, reported: str) -> None:
    device = await add_device(pool)
    never_seen = await add_device(pool)
    await ingest(pool, status(device, reported, ago=LONG_AGO))
    assert await take_silent_devices_offline(pool, SILENT) == 0
    assert (await state_of(pool, device))[0] == reported
    assert (await state_of(pool, never_seen))[0] == "pending"


async def test_old_readings_that_arrive_now_show_presence(pool: Pool) -> None:
    device, _ = await add_followed_device(pool)
    old = counting(START - timedelta(days=2), range(100, 200, 10))
    await ingest(pool, telemetry(device, *old))
    assert await take_silent_devices_offline(pool, SILENT) == 0
    newest = "SELECT max(time) FROM telemetry WHERE device_id = $1"
    assert await pool.fetchval(newest, device) == START + timedelta(minutes=5)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def watching(pool: Pool, clock: Clock) -> AsyncIterator[None]:
    task = asyncio.create_task(presence.watch(pool, SILENT, every_s=0.01, monotonic_s=clock))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_after_an_outage_devices_have_the_whole_time_to_report(pool: Pool) -> None:
    device, _ = await add_followed_device(pool)
    await pool.execute("UPDATE device_states SET last_seen_at = now() - $1::interval", LONG_AGO)
    clock, expiring = Clock(), await add_following_listing(pool, await add_device(pool), START)

    async def has_checked() -> None:
        """Wait for a check: it expires a listing whose window has passed."""
        await pool.execute(
            "UPDATE energy_listings SET status = 'active', closed_at = NULL, available_to = now()"
            " WHERE id = $1", expiring,
        )  # fmt: skip
        await eventually(expired)

    async def expired() -> bool:
        return (await listing_of(pool, expiring)).status == "expired"

    async def offline() -> bool:
        return (await state_of(pool, device))[0] == "offline"

    async with watching(pool, clock):
        await has_checked()
        assert not await offline()
        clock.now_s = 299
        with capture_logs() as logs:
            await pool.execute("ALTER TABLE device_states RENAME TO away")
            clock.now_s = 301
            await eventually(lambda: "presence_not_checked" in {line["event"] for line in logs})
            await pool.execute("ALTER TABLE away RENAME TO device_states")
        await has_checked()
        assert not await offline()
        clock.now_s = 602
        await eventually(offline)


async def test_a_lost_connection_publishes_the_last_will(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device, _ = await add_followed_device(pool)
    topic = f"solar/{device}/status"
    will = aiomqtt.Will(topic, "offline", qos=1, retain=True)
    async with ingesting(mosquitto.url, database):
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, will=will) as client:
            await client.publish(topic, "online", qos=1, retain=True)
            # The connection is cut without a DISCONNECT.
            client._client.socket().shutdown(socket.SHUT_RDWR)
            await holds(pool, "SELECT status FROM energy_listings", "paused")
            assert client._disconnected.exception() is not None
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, will=will) as client:
            await client.publish(topic, "online", qos=1, retain=True)
            await holds(pool, "SELECT status FROM energy_listings", "active")


async def test_a_retained_status_that_is_delivered_again_changes_nothing(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    device, listing_id = await add_followed_device(pool)
    topic = f"solar/{device}/status"
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish(topic, "offline", qos=1, retain=True)
        # Two new ingesters: each one subscribes and receives the retained copy.
        for name in ("one", "two"):
            async with ingesting(mosquitto.url, database, ingest_client_id=name) as registry:
                await eventually(
                    lambda r=registry: r.get_sample_value("solarhub_messages_ignored_total") == 1
                )
        assert (await listing_of(pool, listing_id)).status == "active"
        async with ingesting(mosquitto.url, database, ingest_client_id="one"):
            await client.publish(topic, "offline", qos=1, retain=True)
            await holds(pool, "SELECT status FROM energy_listings", "paused")
    assert await take_events(pool) == ["listing.paused", "device.status"]


async def test_several_ingesters_write_one_event_per_last_will(
    pool: Pool, database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    devices = [(await add_followed_device(pool))[0] for _ in range(6)]
    shared = {"ingest_group": "hub", "ingest_shared_subscription": True, "offline_after": "1h"}
    async with (
        ingesting(mosquitto.url, database, ingest_client_id="one", **shared),
        ingesting(mosquitto.url, database, ingest_client_id="two", **shared),
        aiomqtt.Client("127.0.0.1", mosquitto.port) as client,
    ):
        for device in devices:
            await client.publish(f"solar/{device}/status", "offline", qos=1)
        paused = "SELECT count(*) FROM energy_listings WHERE status = 'paused'"
        await holds(pool, paused, len(devices))
    found = await take_events(pool)
    assert sorted(found) == 6 * ["device.status"] + 6 * ["listing.paused"]
