"""Last wills at the embedded broker: published like messages of the device, or refused."""

from uuid import UUID, uuid4

import pytest

from db.pool import Pool
from tests.conftest import Broker
from tests.support.broker_clients import hub, received
from tests.support.people import DEVICE_PASSWORD, add_device, add_user
from tests.support.raw_mqtt import (
    DISCONNECT,
    NOT_AUTHORIZED,
    Will,
    connect,
    raw,
    telemetry,
)


@pytest.fixture
async def device_id(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))


def status(device_id: UUID) -> str:
    return f"solar/{device_id}/status"


async def test_a_will_is_published_when_the_connection_breaks(
    broker: Broker, device_id: UUID
) -> None:
    async with received(broker, "#") as messages, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, will=Will(status(device_id))))
        device.abort()
    assert messages == [(status(device_id), b"offline")]


async def test_no_will_follows_a_disconnect(broker: Broker, device_id: UUID) -> None:
    async with received(broker, "#") as messages, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, will=Will(status(device_id))))
        device.send(DISCONNECT)
        assert await device.closed()
    assert messages == []


async def test_the_will_of_a_connection_is_that_of_its_own_connect(
    broker: Broker, device_id: UUID
) -> None:
    async with received(broker, "#") as messages:
        for will in (Will(status(device_id), b"first"), None, Will(status(device_id), b"third")):
            async with raw(broker.port) as device:
                await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False, will=will))
                device.abort()
    assert [payload for _, payload in messages] == [b"first", b"third"]


async def test_the_second_connection_publishes_the_will_of_the_first(
    broker: Broker, device_id: UUID
) -> None:
    async with (
        received(broker, "#") as messages,
        raw(broker.port) as first,
        raw(broker.port) as second,
    ):
        await first.connected(connect(device_id, DEVICE_PASSWORD, will=Will(status(device_id))))
        await second.connected(connect(device_id, DEVICE_PASSWORD))
        assert await first.closed()
    assert messages == [(status(device_id), b"offline")]


@pytest.mark.parametrize("topic", ["another's telemetry", "its own ack", "elsewhere", "$SYS/x"])
async def test_a_will_in_the_topic_of_another_device_is_refused(
    broker: Broker, device_id: UUID, topic: str
) -> None:
    named = {"another's telemetry": telemetry(uuid4()), "its own ack": f"solar/{device_id}/ack"}
    will = Will(named.get(topic, topic), b"forged")
    async with received(broker, "#") as messages, raw(broker.port) as device:
        refusal = await device.refused(connect(device_id, DEVICE_PASSWORD, will=will))
        assert refusal == NOT_AUTHORIZED
    assert messages == []


@pytest.mark.parametrize("clean", [True, False])
async def test_a_firmware_connects_without_a_will_that_is_not_allowed(
    broker: Broker, device_id: UUID, pool: Pool, clean: bool
) -> None:
    await pool.execute(
        "UPDATE devices SET dialect = 'tasmota', external_id = 'roof' WHERE id = $1", device_id
    )
    async with received(broker, "#") as messages:
        for topic in ("tele/roof/LWT", "tele/other/LWT"):
            async with raw(broker.port) as device:
                will = Will(topic, b"Offline")
                await device.connected(connect(device_id, DEVICE_PASSWORD, clean=clean, will=will))
                device.abort()
    assert messages == [("tele/roof/LWT", b"Offline")]


async def test_a_retained_will_is_delivered_to_later_subscribers(
    broker: Broker, device_id: UUID
) -> None:
    async with received(broker, "#") as messages, raw(broker.port) as device:
        will = Will(status(device_id), retain=True)
        await device.connected(connect(device_id, DEVICE_PASSWORD, will=will))
        device.abort()
    assert messages
    async with hub(broker) as later:
        await later.subscribe(status(device_id), qos=1)
        message = await anext(aiter(later.messages))
        assert (message.payload, message.retain) == (b"offline", True)
