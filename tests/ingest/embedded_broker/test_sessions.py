"""Sessions of the embedded broker: each belongs to an authenticated user and a client id."""

import asyncio
from uuid import UUID, uuid4

import pytest

from db.pool import Pool
from tests.conftest import Broker
from tests.support.broker_clients import hub, received_topics
from tests.support.people import DEVICE_PASSWORD, add_device, add_user
from tests.support.raw_mqtt import (
    DISCONNECT,
    NOT_AUTHORIZED,
    PUBACK,
    PUBLISH,
    RawClient,
    Will,
    connect,
    packet,
    publish,
    raw,
    telemetry,
)


@pytest.fixture
async def device_id(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))


@pytest.fixture
async def stranger_id(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))


async def publish_to(broker: Broker, device_id: UUID, payload: str) -> None:
    async with hub(broker) as writer:
        await writer.publish(f"solar/{device_id}/ack", payload, qos=1)


async def next_message(client: RawClient) -> bytes:
    """Acknowledge the next message, and return its payload."""
    message = await client.expect(PUBLISH)
    client.send(packet(PUBACK, message.packet_id.to_bytes(2)))
    return message.payload


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("username", ["the device", "the hub", "unknown"])
async def test_a_connect_with_a_wrong_password_changes_nothing_of_a_session(
    broker: Broker, device_id: UUID, username: str, clean: bool
) -> None:
    name = {"the device": device_id, "the hub": "hub", "unknown": uuid4()}[username]
    will = Will(f"solar/{device_id}/status", b"mine")
    async with received_topics(broker, "#") as topics, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False, will=will))
        await device.subscribed(f"solar/{device_id}/ack")
        async with raw(broker.port) as attacker:
            forged = Will(telemetry(device_id), b"forged")
            attack = connect(name, "wrong", clean=clean, will=forged, keep_alive_s=1)
            assert await attacker.refused(attack) == NOT_AUTHORIZED
        await publish_to(broker, device_id, "still yours")
        assert await next_message(device) == b"still yours"
        device.send(DISCONNECT)
        assert await device.closed()
        async with raw(broker.port) as device:
            assert await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
            await publish_to(broker, device_id, "and still")
            assert await next_message(device) == b"and still"
            device.abort()
    assert topics == [f"solar/{device_id}/ack"] * 2


@pytest.mark.parametrize("clean", [True, False])
async def test_the_same_client_id_of_another_user_is_another_session(
    broker: Broker, device_id: UUID, stranger_id: UUID, clean: bool
) -> None:
    async with raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        await device.subscribed(f"solar/{device_id}/ack")
        async with raw(broker.port) as attacker:
            assert not await attacker.connected(connect(stranger_id, DEVICE_PASSWORD, clean=clean))
            await publish_to(broker, device_id, "for the device")
            assert await next_message(device) == b"for the device"
            assert await attacker.answers()


async def test_an_earlier_session_is_not_given_to_another_user(
    broker: Broker, device_id: UUID, stranger_id: UUID
) -> None:
    async with raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        await device.subscribed(f"solar/{device_id}/ack")
        device.send(DISCONNECT)
        await device.closed()
    await publish_to(broker, device_id, "kept")
    async with raw(broker.port) as attacker:
        assert not await attacker.connected(connect(stranger_id, DEVICE_PASSWORD, clean=False))
        assert await attacker.answers()
    async with raw(broker.port) as device:
        assert await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        assert await next_message(device) == b"kept"


@pytest.mark.parametrize("clean", [True, False])
async def test_the_second_connection_ends_the_first(
    broker: Broker, device_id: UUID, clean: bool
) -> None:
    async with raw(broker.port) as first, raw(broker.port) as second:
        await first.connected(connect(device_id, DEVICE_PASSWORD, clean=clean))
        await second.connected(connect(device_id, DEVICE_PASSWORD, clean=clean))
        assert await first.closed()
        await second.subscribed(f"solar/{device_id}/ack")
        await publish_to(broker, device_id, "one reads it")
        assert await next_message(second) == b"one reads it"
        assert await second.answers()


async def test_of_many_concurrent_connections_one_remains(broker: Broker, device_id: UUID) -> None:
    clients = [await RawClient.open(broker.port) for _ in range(8)]
    for client in clients:
        client.send(connect(device_id, DEVICE_PASSWORD, clean=False))
    reading = {asyncio.create_task(client.closed()): client for client in clients}
    ended = asyncio.as_completed(reading)
    for _ in clients[1:]:
        assert await next(ended)
    [(still_reading, served)] = [(task, c) for task, c in reading.items() if not task.done()]
    still_reading.cancel()
    await asyncio.wait({still_reading})
    assert await served.answers()
    for client in clients:
        client.abort()


async def test_a_clean_connect_drops_the_earlier_session(broker: Broker, device_id: UUID) -> None:
    async with raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        await device.subscribed(f"solar/{device_id}/ack")
        device.send(DISCONNECT)
        await device.closed()
    await publish_to(broker, device_id, "to be forgotten")
    async with raw(broker.port) as device:
        assert not await device.connected(connect(device_id, DEVICE_PASSWORD, clean=True))
        device.send(DISCONNECT)
        await device.closed()
    async with raw(broker.port) as device:
        assert not await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        await device.subscribed(f"solar/{device_id}/command")
        device.send(DISCONNECT)
        await device.closed()
    async with raw(broker.port) as device:
        assert await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        assert await device.answers()


async def test_a_device_without_a_client_id_gets_a_session_for_this_connection(
    broker: Broker, device_id: UUID
) -> None:
    async with raw(broker.port) as one, raw(broker.port) as other:
        for device in (one, other):
            assert not await device.connected(connect(device_id, DEVICE_PASSWORD, client_id=""))
        assert await one.answers()
        assert await other.answers()


async def test_messages_acknowledged_before_a_disconnect_are_delivered(
    broker: Broker, device_id: UUID
) -> None:
    async with received_topics(broker, "#") as topics, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        device.send(
            *(publish(telemetry(device_id), b"%d" % n, packet_id=n) for n in range(1, 101)),
            DISCONNECT,
        )
        for _ in range(100):
            await device.expect(PUBACK)
        assert await device.closed()
    assert len(topics) == 100
