"""Limits of the embedded broker on packets: sizes, times and rates."""

import asyncio
import sys
from uuid import UUID

import pytest

from db.pool import Pool
from ingest.embedded_broker.limits import BrokerLimits
from tests.conftest import Broker
from tests.ingest.embedded_broker.limited_broker import limited
from tests.support.broker_clients import received
from tests.support.people import DEVICE_PASSWORD, add_device, add_user
from tests.support.raw_mqtt import BAD_CLIENT_ID, PUBACK, Will, connect, publish, raw, telemetry


@pytest.fixture
async def device_id(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))


def test_a_connect_has_ten_seconds() -> None:
    assert BrokerLimits().connect_within_s == 10


def test_a_process_keeps_open_files_for_other_things_than_connections() -> None:
    assert BrokerLimits().within(1024).connections_max == 768
    assert BrokerLimits().within(sys.maxsize).connections_max == BrokerLimits().connections_max


@pytest.mark.parametrize("sent", [b"", b"\x10", b"\x10\x30\x00\x04MQTT", "all but a byte"])
async def test_an_incomplete_connect_ends_in_time(
    pool: Pool, device_id: UUID, sent: bytes | str
) -> None:
    half = sent if isinstance(sent, bytes) else connect(device_id, DEVICE_PASSWORD)[:-1]
    async with limited(pool, connect_within_s=0.3) as broker, raw(broker.port) as client:
        client.send(half)
        assert await client.receive() is None


async def test_a_connect_sent_byte_by_byte_ends_in_time(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, connect_within_s=0.3) as broker, raw(broker.port) as client:
        for byte in connect(device_id, DEVICE_PASSWORD):
            client.send(bytes([byte]))
            await asyncio.sleep(0.02)
        assert await client.receive() is None


async def test_a_large_connect_ends_the_connection(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, connect_max_bytes=200) as broker, raw(broker.port) as client:
        will = Will(f"solar/{device_id}/status", bytes(200))
        client.send(connect(device_id, DEVICE_PASSWORD, will=will))
        assert await client.receive() is None


async def test_a_long_client_id_is_refused(broker: Broker, device_id: UUID) -> None:
    async with raw(broker.port) as client:
        refusal = await client.refused(connect(device_id, DEVICE_PASSWORD, client_id="x" * 257))
        assert refusal == BAD_CLIENT_ID
    async with raw(broker.port) as client:
        await client.connected(connect(device_id, DEVICE_PASSWORD, client_id="x" * 256))


async def test_a_silent_client_ends_after_its_keep_alive_time_and_its_will_is_published(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, keep_alive_grace=0.3) as broker:
        async with received(broker, "#") as messages, raw(broker.port) as device:
            will = Will(f"solar/{device_id}/status")
            await device.connected(connect(device_id, DEVICE_PASSWORD, keep_alive_s=1, will=will))
            assert await device.closed()
        assert messages == [(f"solar/{device_id}/status", b"offline")]


async def test_an_incomplete_packet_does_not_keep_a_connection_alive(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, keep_alive_grace=0.5) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, keep_alive_s=1))
        device.send(b"\x32\x7f")
        ended = asyncio.create_task(device.closed())
        while not ended.done():
            device.send(b"\x00")
            await asyncio.sleep(0.05)
        assert await ended


async def test_a_packet_must_be_complete_in_time(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, packet_within_s=0.3) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, keep_alive_s=0))
        device.send(publish(telemetry(device_id)), publish(telemetry(device_id))[:-1])
        await device.expect(PUBACK)
        assert await device.receive() is None


async def test_a_packet_that_is_too_large_ends_the_connection_at_its_header(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, packet_max_bytes=1000) as broker, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        device.send(publish(telemetry(device_id), bytes(900)))
        await device.expect(PUBACK)
        device.send(publish(telemetry(device_id), bytes(1000))[:10])
        assert await device.receive() is None


async def test_a_message_of_one_mebibyte_is_delivered(broker: Broker, device_id: UUID) -> None:
    async with received(broker, "#") as messages, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        device.send(publish(telemetry(device_id), bytes(1024 * 1024)))
        await device.expect(PUBACK)
    assert [len(payload) for _, payload in messages] == [1024 * 1024]


async def test_the_connection_with_the_largest_incomplete_packet_ends_first(
    pool: Pool, device_id: UUID
) -> None:
    async with (
        limited(pool, unfinished_max_bytes=50_000) as broker,
        raw(broker.port) as modest,
        raw(broker.port) as greedy,
    ):
        for client, size in ((modest, 20_000), (greedy, 40_000)):
            await client.connected(connect(device_id, DEVICE_PASSWORD, client_id=str(size)))
            client.send(publish(telemetry(device_id), bytes(size))[:-1])
        assert await greedy.closed()
        modest.send(b"\0")
        await modest.expect(PUBACK)


async def test_a_device_is_read_no_faster_than_its_rate(pool: Pool, device_id: UUID) -> None:
    async with (
        limited(pool, messages_per_device_per_s=50) as broker,
        received(broker, "#") as messages,
        raw(broker.port) as device,
    ):
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        began_s = asyncio.get_running_loop().time()
        for burst in range(3):
            numbers = range(burst * 50 + 1, burst * 50 + 51)
            device.send(*(publish(telemetry(device_id), packet_id=n) for n in numbers))
            for _ in numbers:
                await device.expect(PUBACK)
        assert asyncio.get_running_loop().time() - began_s > 0.9
    assert len(messages) == 150
