"""`device:<id>` tells its owner how a device is and what it measures."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from core.events import Event, EventType, device_channel, user_channel
from db.pool import Pool
from tests.realtime.announcing import announce
from tests.realtime.client import open_client
from tests.support.people import Person, add_device, add_user

_MEASURE = "INSERT INTO telemetry (device_id, time, power_w, energy_wh) VALUES ($1, $2, $3, 1000)"


@pytest.fixture
async def host(pool: Pool) -> Person:
    return await add_user(pool, "host")


@pytest.fixture
async def device_id(pool: Pool, host: Person) -> UUID:
    return await add_device(pool, host)


async def test_a_device_is_its_owners(feed: str, pool: Pool, host: Person, device_id: UUID) -> None:
    channel = f"device:{device_id}"
    async with open_client(feed, host.id) as owner, open_client(feed) as neighbour:
        await neighbour.say(op="subscribe", channel=channel)
        assert (await neighbour.hear_op("error"))["code"] == "forbidden"
        await owner.subscribe(channel)
        data = {"device_id": str(device_id), "status": "online"}
        channels = (device_channel(device_id), user_channel(host.id))
        await announce(pool, Event(EventType.DEVICE_STATUS, channels, data))
        event = await owner.event()
        assert (event["channel"], event["type"]) == (channel, "device.status")
        assert await neighbour.quiet()


async def test_the_last_reading_is_told_and_earlier_ones_are_not(
    feed: str, pool: Pool, host: Person, device_id: UUID
) -> None:
    now = datetime.now(UTC)
    await pool.execute(_MEASURE, device_id, now - timedelta(seconds=60), 900.0)
    async with open_client(feed, host.id) as owner:
        subscribed = await owner.subscribe(f"device:{device_id}")
        readings = [(device_id, now - timedelta(seconds=30 - n), 1000.0 + n) for n in range(10)]
        await pool.executemany(_MEASURE, readings)
        event = await owner.event()
        assert event["type"] == "device.telemetry"
        assert event["data"]["device_id"] == str(device_id)
        assert event["data"]["power_w"] == 1009.0
        assert event["data"]["voltage_v"] is None
        assert event["data"]["time"].endswith("Z")
        assert await owner.quiet()
    # What is live is not replayed, and does not stand in the way of what is.
    async with open_client(feed, host.id) as owner:
        for position in (subscribed["position"], event["position"]):
            again = await owner.subscribe(f"device:{device_id}", position=position)
            assert again["recovered"] is True
        assert await owner.quiet()
