"""Limits of the embedded broker on sessions: filters, requests and waiting messages."""

import asyncio
from uuid import UUID

import pytest

from db.pool import Pool
from tests.conftest import Broker
from tests.ingest.embedded_broker.limited_broker import limited
from tests.support.people import DEVICE_PASSWORD, add_device, add_user
from tests.support.raw_mqtt import (
    PUBACK,
    PUBLISH,
    PUBREC,
    connect,
    packet,
    publish,
    raw,
    subscribe,
    telemetry,
    text,
)
from tests.support.waiting import eventually


@pytest.fixture
async def device_id(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))


async def test_the_least_recently_used_session_over_the_limit_ends(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, sessions_per_device_max=2) as broker:
        async with raw(broker.port) as first, raw(broker.port) as second:
            for client, name in ((first, "first"), (second, "second")):
                await client.connected(
                    connect(device_id, DEVICE_PASSWORD, client_id=name, clean=False)
                )
            async with raw(broker.port) as third:
                await third.connected(connect(device_id, DEVICE_PASSWORD, client_id="third"))
                assert await first.closed()
                assert await second.answers()
        async with raw(broker.port) as first:
            assert not await first.connected(
                connect(device_id, DEVICE_PASSWORD, client_id="first", clean=False)
            )


async def test_filters_over_the_limit_of_a_session_are_refused(pool: Pool, device_id: UUID) -> None:
    await pool.execute(
        "UPDATE devices SET dialect = 'tasmota', external_id = 'roof' WHERE id = $1", device_id
    )
    async with limited(pool, filters_per_session_max=3) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        filters = [f"cmnd/roof/{n}" for n in range(5)]
        assert await device.subscribed(*filters) == [1, 1, 1, 0x80, 0x80]
        assert await device.subscribed(filters[0]) == [1]
        assert await device.subscribed("cmnd/roof/" + "x" * 1024) == [0x80]
        device.send(packet(0xA2, b"\0\1" + text(filters[0])))
        await device.expect(0xB0)
        assert await device.subscribed(filters[4], filters[0]) == [1, 0x80]


async def test_too_many_unanswered_requests_end_the_connection(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, unanswered_max=3) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        ack = f"solar/{device_id}/ack"
        device.send(*(subscribe(ack, packet_id=n) for n in range(1, 2000)))
        assert await device.closed()


async def test_too_many_unreleased_messages_at_qos_2_end_the_connection(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, received_max=3) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        for number in range(1, 5):
            device.send(publish(telemetry(device_id), qos=2, packet_id=number))
        for _ in range(3):
            await device.expect(PUBREC)
        assert await device.receive() is None


async def publish_many(broker: Broker, device_id: UUID, messages: int, size: int = 1) -> None:
    async with raw(broker.port) as hub:
        await hub.connected(connect("hub", broker.hub_password, client_id="publisher"))
        for number in range(1, messages + 1):
            hub.send(publish(f"solar/{device_id}/ack", bytes(size), packet_id=number))
            await hub.expect(PUBACK)


async def test_a_disconnected_session_is_dropped_when_too_many_messages_wait(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, waiting_messages_max=10) as broker:
        signing_in = connect(device_id, DEVICE_PASSWORD, clean=False)

        async def has_a_session() -> bool:
            async with raw(broker.port) as device:
                return await device.connected(signing_in)

        async with raw(broker.port) as device:
            await device.connected(signing_in)
            await device.subscribed(f"solar/{device_id}/ack")
        await publish_many(broker, device_id, 5)
        assert await has_a_session()
        await publish_many(broker, device_id, 5)

        async def is_dropped() -> bool:
            return not await has_a_session()

        assert await eventually(is_dropped)


async def test_a_session_that_is_disconnected_for_long_is_dropped(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, session_expires_after_s=0.3) as broker:
        signing_in = connect(device_id, DEVICE_PASSWORD, clean=False)

        async def has_expired() -> bool:
            async with raw(broker.port) as device:
                present = await device.connected(signing_in)
            await asyncio.sleep(0.5)
            return not present

        assert await eventually(has_expired)
        assert await eventually(has_expired)


async def test_a_device_that_does_not_read_is_disconnected(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, unread_max_bytes=100_000) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        await device.subscribed(f"solar/{device_id}/ack", qos=0)
        publishing = asyncio.create_task(publish_many(broker, device_id, 200, 100_000))
        await publishing
        sizes = []
        while (message := await device.receive()) is not None:
            sizes.append(len(message.payload))
        assert len(sizes) < 200


async def test_a_device_that_does_not_acknowledge_is_disconnected(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, waiting_messages_max=10) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        await device.subscribed(f"solar/{device_id}/ack")
        await publish_many(broker, device_id, 20)
        for _ in range(10):
            await device.expect(PUBLISH)
        assert await device.receive() is None
