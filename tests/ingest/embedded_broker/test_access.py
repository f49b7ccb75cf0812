"""Access to the embedded broker, as devices and unknown clients attempt it."""

import asyncio
import contextlib
from uuid import UUID, uuid4

import aiomqtt
import pytest

from db.pool import Pool
from tests.conftest import Broker
from tests.support.broker_clients import client, hub, received_topics
from tests.support.people import DEVICE_PASSWORD, add_device, add_user
from tests.support.raw_mqtt import DISCONNECT, PUBLISH, connect, publish, raw, telemetry


@pytest.fixture
async def device_id(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))


async def test_an_unknown_user_is_refused(broker: Broker) -> None:
    for username in (uuid4(), "somebody", ""):
        with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
            await client(broker, username, DEVICE_PASSWORD).__aenter__()


async def test_a_wrong_password_is_refused(broker: Broker, device_id: UUID) -> None:
    for username in (device_id, "hub"):
        with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
            await client(broker, username, "wrong").__aenter__()


async def test_a_deleted_device_is_refused_at_its_next_connect(
    broker: Broker, device_id: UUID, pool: Pool
) -> None:
    async with client(broker, device_id, DEVICE_PASSWORD):
        await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", device_id)
    with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
        await client(broker, device_id, DEVICE_PASSWORD).__aenter__()


async def hung_up(device: aiomqtt.Client) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(aiomqtt.MqttError):
            async for _ in device.messages:
                pass


@pytest.mark.parametrize("change", ["deleted_at = now()", "credential_hash = sha256('another')"])
async def test_a_device_whose_access_is_revoked_is_disconnected_without_its_will(
    broker: Broker, device_id: UUID, pool: Pool, change: str
) -> None:
    other_id = await add_device(pool, await add_user(pool, "host"))
    will = aiomqtt.Will(f"solar/{device_id}/status", "offline", qos=1)
    device = await client(broker, device_id, DEVICE_PASSWORD, will).__aenter__()
    async with (
        received_topics(broker, "#") as topics,
        client(broker, other_id, DEVICE_PASSWORD) as other,
    ):
        await pool.execute(f"UPDATE devices SET {change} WHERE id = $1", device_id)
        await hung_up(device)
        await other.publish(f"solar/{other_id}/status", "online", qos=1)
    assert topics == [f"solar/{other_id}/status"]
    with contextlib.suppress(aiomqtt.MqttError):
        await device.__aexit__(None, None, None)
    with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
        await client(broker, device_id, DEVICE_PASSWORD).__aenter__()


async def test_devices_of_a_locked_host_are_disconnected_until_the_host_is_readmitted(
    broker: Broker, device_id: UUID, pool: Pool
) -> None:
    other_id = await add_device(pool, await add_user(pool, "host"))
    will = aiomqtt.Will(f"solar/{device_id}/status", "offline", qos=1)
    set_active = """
        UPDATE users SET is_active = $2 FROM devices WHERE users.id = owner_id AND devices.id = $1
    """
    device = await client(broker, device_id, DEVICE_PASSWORD, will).__aenter__()
    async with (
        received_topics(broker, "#") as topics,
        client(broker, other_id, DEVICE_PASSWORD) as other,
    ):
        await pool.execute(set_active, device_id, False)
        await hung_up(device)
        await other.publish(f"solar/{other_id}/status", "online", qos=1)
    assert topics == [f"solar/{other_id}/status"]
    with contextlib.suppress(aiomqtt.MqttError):
        await device.__aexit__(None, None, None)
    with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
        await client(broker, device_id, DEVICE_PASSWORD).__aenter__()
    await pool.execute(set_active, device_id, True)
    async with client(broker, device_id, DEVICE_PASSWORD):
        pass


async def test_a_device_of_a_firmware_has_the_topics_of_its_name(
    broker: Broker, device_id: UUID, pool: Pool
) -> None:
    await pool.execute(
        "UPDATE devices SET dialect = 'opendtu', external_id = '114182940773' WHERE id = $1",
        device_id,
    )
    own = "solar/114182940773/0/power"
    device = client(broker, device_id, DEVICE_PASSWORD)
    async with received_topics(broker, "#") as topics, device:
        for topic in ("solar/114182940774/0/power", f"solar/{device_id}/telemetry", own):
            await device.publish(topic, "1", qos=1)
        [granted] = await device.subscribe(f"solar/{device_id}/ack", qos=1)
        [refused] = await device.subscribe("solar/114182940774/cmd/#", qos=1)
    assert topics == [own]
    assert (granted.value, refused.value) == (1, 128)


async def test_a_device_publishes_its_own_topics_only(broker: Broker, device_id: UUID) -> None:
    own = [f"solar/{device_id}/telemetry", f"solar/{device_id}/status"]
    others = [
        f"solar/{uuid4()}/telemetry",
        f"solar/{device_id}/ack",
        f"solar/{device_id}/telemetry/more",
        "elsewhere",
    ]
    device = client(broker, device_id, DEVICE_PASSWORD)
    async with received_topics(broker, "#") as topics, device:
        for topic in others + own:
            await device.publish(topic, "{}", qos=1)
    assert topics == own


async def test_a_device_reads_its_own_topics_only(broker: Broker, device_id: UUID) -> None:
    refused = [f"solar/{uuid4()}/ack", f"solar/{device_id}/telemetry", "solar/#", "#", "$SYS/#"]
    async with client(broker, device_id, DEVICE_PASSWORD) as device:
        for topic in refused:
            assert [code.value for code in await device.subscribe(topic, qos=1)] == [128]
        await device.subscribe(f"solar/{device_id}/ack", qos=1)
        async with hub(broker) as mouth:
            await mouth.publish(f"solar/{device_id}/ack", "yours", qos=1)
        message = await anext(aiter(device.messages))
        assert message.payload == b"yours"


async def test_a_last_will_in_the_topic_of_another_device_is_refused(
    broker: Broker, device_id: UUID
) -> None:
    will = aiomqtt.Will(f"solar/{uuid4()}/status", "offline", qos=1)
    with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
        await client(broker, device_id, DEVICE_PASSWORD, will).__aenter__()


async def test_messages_after_the_revocation_of_access_have_no_effect(
    broker: Broker, device_id: UUID, pool: Pool
) -> None:
    own = telemetry(device_id)
    sent = 0
    async with raw(broker.port) as reader, raw(broker.port) as device:
        await reader.connected(connect("hub", broker.hub_password, client_id="reader"))
        await reader.subscribed(own, qos=0)
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        await pool.execute(
            "UPDATE devices SET credential_hash = sha256('another') WHERE id = $1", device_id
        )
        with contextlib.suppress(ConnectionError):
            ended = asyncio.create_task(device.closed(10))
            while not ended.done():
                sent += 1
                device.send(publish(own, b"%d" % sent, qos=0))
                await asyncio.sleep(0.001)
        assert await ended
        device.send(*(publish(own, b"late", qos=0) for _ in range(100)))
        await asyncio.sleep(0.2)
        received: list[bytes] = []
        assert await reader.answers(received)
    assert b"late" not in received
    assert received == [b"%d" % n for n in range(1, len(received) + 1)]


async def test_a_session_ends_when_the_topics_of_its_device_change(
    broker: Broker, device_id: UUID, pool: Pool
) -> None:
    rename = "UPDATE devices SET dialect = 'tasmota', external_id = $2 WHERE id = $1"
    await pool.execute(rename, device_id, "roof")
    signing_in = connect(device_id, DEVICE_PASSWORD, clean=False)
    async with raw(broker.port) as device:
        await device.connected(signing_in)
        assert await device.subscribed("cmnd/roof/#") == [1]
        device.send(DISCONNECT)
        await device.closed()
    await pool.execute(rename, device_id, "barn")
    async with hub(broker) as writer:
        await writer.publish("cmnd/roof/Power", "for whoever is the roof now", qos=1)
    async with raw(broker.port) as device:
        assert not await device.connected(signing_in)
        assert await device.answers()


async def test_a_device_with_a_new_password_resumes_its_session(
    broker: Broker, device_id: UUID, pool: Pool
) -> None:
    ack = f"solar/{device_id}/ack"
    async with raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
        await device.subscribed(ack)
        await pool.execute(
            "UPDATE devices SET credential_hash = sha256('another') WHERE id = $1", device_id
        )
        assert await device.closed(10)
    async with hub(broker) as writer:
        await writer.publish(ack, "kept", qos=1)
    async with raw(broker.port) as device:
        assert await device.connected(connect(device_id, "another", clean=False))
        assert (await device.expect(PUBLISH)).payload == b"kept"


async def test_the_hub_receives_the_messages_of_every_device(
    broker: Broker, device_id: UUID
) -> None:
    device = client(broker, device_id, DEVICE_PASSWORD)
    async with received_topics(broker, "solar/+/telemetry") as topics, device:
        await device.publish(f"solar/{device_id}/telemetry", "{}", qos=1)
    assert topics == [f"solar/{device_id}/telemetry"]


async def test_clients_that_connect_and_disconnect_do_not_affect_each_other(broker: Broker) -> None:
    async def come_and_go(number: int) -> None:
        for attempt in range(20):
            async with hub(broker) as passer_by:
                await passer_by.subscribe(f"passing/{number}/{attempt}")

    async with hub(broker) as listening:
        await listening.subscribe("solar/+/status")
        for _ in range(5):
            await listening.publish(f"solar/{uuid4()}/status", "online", qos=1, retain=True)
        await asyncio.gather(*(come_and_go(number) for number in range(8)))


async def test_a_device_receives_no_retained_messages_of_others(
    broker: Broker, device_id: UUID
) -> None:
    async with hub(broker) as listening:
        await listening.subscribe("solar/+/status", qos=1)
        await listening.publish(f"solar/{uuid4()}/status", "offline", qos=1, retain=True)
        async with client(broker, device_id, DEVICE_PASSWORD) as device:
            await device.subscribe(f"solar/{device_id}/command", qos=1)
            async with hub(broker) as mouth:
                await mouth.publish(f"solar/{device_id}/command", "report", qos=1)
            first = await anext(aiter(device.messages))
            assert first.topic.value == f"solar/{device_id}/command"
