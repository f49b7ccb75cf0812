"""Delivery of messages at the embedded broker, from publishers to subscribers."""

import asyncio
import shutil
from uuid import UUID

import aiomqtt
import pytest

from db.pool import Pool
from tests.conftest import Broker, require
from tests.support.broker_clients import client, hub, received
from tests.support.people import DEVICE_PASSWORD, add_device, add_user
from tests.support.raw_mqtt import (
    CONNACK,
    DISCONNECT,
    PUBACK,
    PUBLISH,
    Packet,
    RawClient,
    connect,
    packet,
    publish,
    raw,
    telemetry,
)
from tests.support.waiting import eventually

_DUPLICATE = 0x08


@pytest.fixture
async def device_id(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))


def signing_in(broker: Broker) -> bytes:
    """Return the CONNECT of an ingester, with a persistent session."""
    return connect("hub", broker.hub_password, client_id="ingest", clean=False)


async def say(broker: Broker, device_id: UUID, *payloads: bytes) -> None:
    async with raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        for number, payload in enumerate(payloads, start=1):
            device.send(publish(telemetry(device_id), payload, packet_id=number))
            await device.expect(PUBACK)
        device.send(DISCONNECT)
        await device.closed()


async def messages(reader: RawClient, count: int) -> list[Packet]:
    return [await reader.expect(PUBLISH) for _ in range(count)]


def acknowledge(reader: RawClient, *taken: Packet) -> None:
    reader.send(*(packet(PUBACK, message.packet_id.to_bytes(2)) for message in taken))


async def test_a_message_that_waited_for_a_session_is_not_marked_as_retained(
    broker: Broker, device_id: UUID
) -> None:
    async with raw(broker.port) as ingester:
        await ingester.connected(signing_in(broker))
        await ingester.subscribed(telemetry(device_id))
        ingester.send(DISCONNECT)
        await ingester.closed()
    await say(broker, device_id, b"1", b"2", b"3")
    async with raw(broker.port) as ingester:
        assert await ingester.connected(signing_in(broker))
        waited = await messages(ingester, 3)
        assert {message.payload for message in waited} == {b"1", b"2", b"3"}
        assert not any(message.is_retained for message in waited)


async def test_unacknowledged_messages_are_sent_again_on_the_next_connection(
    broker: Broker, device_id: UUID
) -> None:
    async with raw(broker.port) as ingester:
        await ingester.connected(signing_in(broker))
        await ingester.subscribed(telemetry(device_id))
        await say(broker, device_id, b"1", b"2", b"3")
        first = await messages(ingester, 3)
        acknowledge(ingester, first[1])
        assert await ingester.answers()
        ingester.abort()
    for _ in range(2):
        async with raw(broker.port) as ingester:
            assert await ingester.connected(signing_in(broker))
            again = await messages(ingester, 2)
            assert [message.body for message in again] == [first[0].body, first[2].body]
            assert all(message.header & _DUPLICATE for message in again)
            ingester.abort()
    async with raw(broker.port) as ingester:
        assert await ingester.connected(signing_in(broker))
        acknowledge(ingester, *await messages(ingester, 2))
        assert await ingester.answers()
    async with raw(broker.port) as ingester:
        assert await ingester.connected(signing_in(broker))
        nothing: list[bytes] = []
        assert await ingester.answers(nothing)
        assert nothing == []


async def test_an_ingester_may_acknowledge_late(broker: Broker, device_id: UUID) -> None:
    async with raw(broker.port) as ingester:
        await ingester.connected(signing_in(broker))
        await ingester.subscribed(telemetry(device_id))
        await say(broker, device_id, b"1")
        await messages(ingester, 1)
        await asyncio.sleep(6)
        ingester.abort()
    async with raw(broker.port) as ingester:
        assert await ingester.connected(signing_in(broker))
        [again] = await messages(ingester, 1)
        assert again.payload == b"1"


async def test_no_message_is_lost_over_broken_connections(broker: Broker, device_id: UUID) -> None:
    said = {b"%d" % n for n in range(300)}
    taken: set[bytes] = set()
    async with raw(broker.port) as ingester:
        await ingester.connected(signing_in(broker))
        await ingester.subscribed(telemetry(device_id))
        ingester.abort()
    saying = asyncio.create_task(say(broker, device_id, *sorted(said)))
    while taken != said:
        async with raw(broker.port) as ingester:
            assert await ingester.connected(signing_in(broker))
            for _ in range(40):
                if taken == said:
                    break
                message = await ingester.expect(PUBLISH)
                taken.add(message.payload)
                acknowledge(ingester, message)
            ingester.abort()
    await saying


async def test_a_connection_that_breaks_at_once_leaves_a_usable_session(
    broker: Broker, device_id: UUID
) -> None:
    for clean in (True, False) * 5:
        async with raw(broker.port) as device:
            device.send(connect(device_id, DEVICE_PASSWORD, clean=clean))
    async with raw(broker.port) as device:
        device.send(connect(device_id, DEVICE_PASSWORD, clean=False), DISCONNECT)
        await device.expect(CONNACK)
        assert await device.closed()
    async with raw(broker.port) as device:
        assert await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        assert await device.answers()


async def test_packets_that_arrive_with_the_connect_count(broker: Broker, device_id: UUID) -> None:
    async with received(broker, "#") as messages, raw(broker.port) as device:
        device.send(
            connect(device_id, DEVICE_PASSWORD),
            *(publish(telemetry(device_id), b"%d" % n, packet_id=n) for n in range(1, 4)),
        )
        await device.expect(CONNACK)
        for _ in range(3):
            await device.expect(PUBACK)
    assert [payload for _, payload in messages] == [b"1", b"2", b"3"]


async def test_a_retained_message_is_delivered_with_each_subscription(
    broker: Broker, device_id: UUID
) -> None:
    status = f"solar/{device_id}/status"
    async with raw(broker.port) as device, raw(broker.port) as reader:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        device.send(publish(status, b"online", retain=True))
        await device.expect(PUBACK)
        await reader.connected(signing_in(broker))
        for topic_filter, qos in ((status, 1), ("solar/+/status", 0), ("#", 1)):
            await reader.subscribed(topic_filter, qos=qos)
            [kept] = await messages(reader, 1)
            assert (kept.payload, kept.is_retained, kept.header >> 1 & 3) == (b"online", True, qos)
            if qos:
                acknowledge(reader, kept)
        reader.send(DISCONNECT)
        await reader.closed()
        async with raw(broker.port) as reader:
            assert await reader.connected(signing_in(broker))
            device.send(publish(status, b"", retain=True))
            await device.expect(PUBACK)
            live = await reader.expect(PUBLISH)
            assert (live.payload, live.is_retained) == (b"", False)
        async with raw(broker.port) as reader:
            await reader.connected(connect("hub", broker.hub_password))
            await reader.subscribed(status)
            nothing: list[bytes] = []
            assert await reader.answers(nothing)
            assert nothing == []


async def test_retained_messages_of_a_deleted_device_are_removed(
    broker: Broker, device_id: UUID, pool: Pool
) -> None:
    status = f"solar/{device_id}/status"
    async with client(broker, device_id, DEVICE_PASSWORD) as device:
        await device.publish(status, "online", qos=1, retain=True)
    await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", device_id)

    async def is_forgotten() -> bool:
        async with raw(broker.port) as reader:
            await reader.connected(connect("hub", broker.hub_password))
            await reader.subscribed(status)
            kept: list[bytes] = []
            assert await reader.answers(kept)
            return not kept

    assert await eventually(is_forgotten)


async def test_a_client_library_can_publish_and_subscribe(broker: Broker, device_id: UUID) -> None:
    ack, own = f"solar/{device_id}/ack", telemetry(device_id)
    async with client(broker, device_id, DEVICE_PASSWORD) as device, hub(broker) as reader:
        for qos in (0, 1, 2):
            [granted] = await device.subscribe(ack, qos=qos)
            assert granted.value == min(qos, 1)
            await reader.subscribe(own, qos=qos)
            await device.publish(own, f"{qos}", qos=qos)
            await reader.publish(ack, f"{qos}", qos=qos)
            for reading in (device, reader):
                message = await anext(aiter(reading.messages))
                assert message.payload == b"%d" % qos
            await device.unsubscribe(ack)
            await reader.unsubscribe(own)


async def test_a_client_library_with_mqtt_5_receives_a_refusal(
    broker: Broker, device_id: UUID
) -> None:
    device = aiomqtt.Client(
        "127.0.0.1", broker.port, username=str(device_id), password=DEVICE_PASSWORD, timeout=5,
        protocol=aiomqtt.ProtocolVersion.V5,
    )  # fmt: skip
    with pytest.raises(aiomqtt.MqttError):
        await device.__aenter__()


async def test_the_clients_of_mosquitto_can_publish_and_subscribe(
    broker: Broker, device_id: UUID
) -> None:
    publisher = require("mosquitto_pub", shutil.which("mosquitto_pub"))
    subscriber = require("mosquitto_sub", shutil.which("mosquitto_sub"))
    # mosquitto_sub buffers what it writes to a pipe, and would report its subscription at its end.
    unbuffered = require("stdbuf", shutil.which("stdbuf"))
    own = telemetry(device_id)
    at = ("-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-t", own)
    reading = await asyncio.create_subprocess_exec(
        unbuffered, "-oL", subscriber, *at, "-u", "hub", "-P", broker.hub_password,
        "-C", "3", "-W", "20", "-i", "reader", "-d", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert reading.stdout is not None
    while b"SUBACK" not in await reading.stdout.readline():
        pass
    for version, message in (("311", "1"), ("311", "2"), ("311", "3")):
        sending = await asyncio.create_subprocess_exec(
            publisher, *at, "-u", str(device_id), "-P", DEVICE_PASSWORD, "-V", version,
            "-m", message, "--will-topic", f"solar/{device_id}/status",
        )  # fmt: skip
        assert await sending.wait() == 0
    lines = (await reading.stdout.read()).decode().splitlines()
    assert [line for line in lines if line in ("1", "2", "3")] == ["1", "2", "3"]
    assert await reading.wait() == 0
