"""Whose session it is at the embedded broker: that of a user and a client id, proven first."""

import asyncio
from uuid import UUID, uuid4

import pytest

from db.pool import Pool
from tests.conftest import Broker
from tests.support.broker_clients import heard, hub
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


async def tell(broker: Broker, device_id: UUID, payload: str) -> None:
    async with hub(broker) as writer:
        await writer.publish(f"solar/{device_id}/ack", payload, qos=1)


async def told(client: RawClient) -> bytes:
    """The payload of the next message, which is acknowledged."""
    message = await client.expect(PUBLISH)
    client.send(packet(PUBACK, message.packet_id.to_bytes(2)))
    return message.payload


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("username", ["the victim", "the hub", "nobody"])
async def test_a_connect_with_a_wrong_password_changes_nothing_of_a_session(
    broker: Broker, device_id: UUID, username: str, clean: bool
) -> None:
    name = {"the victim": device_id, "the hub": "hub", "nobody": uuid4()}[username]
    will = Will(f"solar/{device_id}/status", b"mine")
    async with heard(broker, "#") as topics, raw(broker.port) as victim:
        await victim.connected(connect(device_id, DEVICE_PASSWORD, clean=False, will=will))
        await victim.subscribed(f"solar/{device_id}/ack")
        async with raw(broker.port) as stranger:
            forged = Will(telemetry(device_id), b"forged")
            attack = connect(name, "wrong", clean=clean, will=forged, keep_alive_s=1)
            assert await stranger.refused(attack) == NOT_AUTHORIZED
        await tell(broker, device_id, "still yours")
        assert await told(victim) == b"still yours"
        victim.send(DISCONNECT)
        assert await victim.closed()
        async with raw(broker.port) as victim:
            assert await victim.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
            await tell(broker, device_id, "and still")
            assert await told(victim) == b"and still"
            victim.abort()
    assert topics == [f"solar/{device_id}/ack"] * 2


@pytest.mark.parametrize("clean", [True, False])
async def test_the_same_client_id_of_another_user_is_another_session(
    broker: Broker, device_id: UUID, stranger_id: UUID, clean: bool
) -> None:
    async with raw(broker.port) as victim:
        await victim.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        await victim.subscribed(f"solar/{device_id}/ack")
        async with raw(broker.port) as stranger:
            assert not await stranger.connected(connect(stranger_id, DEVICE_PASSWORD, clean=clean))
            await tell(broker, device_id, "for the victim")
            assert await told(victim) == b"for the victim"
            assert await stranger.answers()


async def test_a_session_of_before_is_not_given_to_another_user(
    broker: Broker, device_id: UUID, stranger_id: UUID
) -> None:
    async with raw(broker.port) as victim:
        await victim.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        await victim.subscribed(f"solar/{device_id}/ack")
        victim.send(DISCONNECT)
        await victim.closed()
    await tell(broker, device_id, "kept")
    async with raw(broker.port) as stranger:
        assert not await stranger.connected(connect(stranger_id, DEVICE_PASSWORD, clean=False))
        assert await stranger.answers()
    async with raw(broker.port) as victim:
        assert await victim.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        assert await told(victim) == b"kept"


@pytest.mark.parametrize("clean", [True, False])
async def test_the_second_connection_ends_the_first(
    broker: Broker, device_id: UUID, clean: bool
) -> None:
    async with raw(broker.port) as first, raw(broker.port) as second:
        await first.connected(connect(device_id, DEVICE_PASSWORD, clean=clean))
        await second.connected(connect(device_id, DEVICE_PASSWORD, clean=clean))
        assert await first.closed()
        await second.subscribed(f"solar/{device_id}/ack")
        await tell(broker, device_id, "one reads it")
        assert await told(second) == b"one reads it"
        assert await second.answers()


async def test_of_many_connections_at_once_one_stays(broker: Broker, device_id: UUID) -> None:
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


async def test_a_clean_connect_forgets_the_session_of_before(
    broker: Broker, device_id: UUID
) -> None:
    async with raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        await device.subscribed(f"solar/{device_id}/ack")
        device.send(DISCONNECT)
        await device.closed()
    await tell(broker, device_id, "to be forgotten")
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


async def test_what_was_acknowledged_before_a_disconnect_is_delivered(
    broker: Broker, device_id: UUID
) -> None:
    async with heard(broker, "#") as topics, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        device.send(
            *(publish(telemetry(device_id), b"%d" % n, packet_id=n) for n in range(1, 101)),
            DISCONNECT,
        )
        for _ in range(100):
            await device.expect(PUBACK)
        assert await device.closed()
    assert len(topics) == 100
