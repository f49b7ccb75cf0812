"""Packets that are not valid MQTT 3.1.1 end the connection, and none of them is routed."""

from uuid import UUID

import pytest

from db.pool import Pool
from tests.conftest import Broker
from tests.support.broker_clients import received_topics
from tests.support.people import DEVICE_PASSWORD, add_device, add_user
from tests.support.raw_mqtt import (
    BAD_CLIENT_ID,
    BAD_LEVEL,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    Will,
    connect,
    packet,
    publish,
    raw,
    subscribe,
    telemetry,
    text,
    unsubscribe,
)


@pytest.fixture
async def device_id(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))


@pytest.mark.parametrize(
    ("name", "level"),
    [(b"MQTT", 5), (b"MQTT", 0x85), (b"MQTT", 3), (b"MQTT", 0), (b"MQTT", 255), (b"MQIsdp", 3)],
)
async def test_another_level_of_the_protocol_is_refused_with_code_1(
    broker: Broker, device_id: UUID, name: bytes, level: int
) -> None:
    async with raw(broker.port) as device:
        refusal = await device.refused(connect(device_id, DEVICE_PASSWORD, name=name, level=level))
        assert refusal == BAD_LEVEL


async def test_mqtt_5_is_refused_before_its_connect_is_complete(broker: Broker) -> None:
    async with raw(broker.port) as device:
        assert await device.refused(b"\x10\x7f\x00\x04MQTT\x05") == BAD_LEVEL


async def test_the_level_of_a_bridge_is_accepted(broker: Broker, device_id: UUID) -> None:
    async with received_topics(broker, "#") as topics, raw(broker.port) as bridge:
        await bridge.connected(connect(device_id, DEVICE_PASSWORD, level=0x84))
        bridge.send(publish(telemetry(device_id)))
        await bridge.expect(PUBACK)
    assert topics == [telemetry(device_id)]


async def test_a_persistent_session_needs_a_client_id(broker: Broker, device_id: UUID) -> None:
    async with raw(broker.port) as device:
        refusal = await device.refused(
            connect(device_id, DEVICE_PASSWORD, client_id="", clean=False)
        )
        assert refusal == BAD_CLIENT_ID


_CREDENTIALS = text("roof") + text("user") + text("password")

NO_CONNECTS = {
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n",
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "a PUBLISH first": publish("elsewhere"),
    "a PINGREQ first": b"\xc0\x00",
    "flags in its header": connect("user", "password")[:0] + b"\x11" + connect("u", "p")[1:],
    "a length of five bytes": b"\x10\xff\xff\xff\xff\x01",
    "another protocol": connect("user", "password", name=b"AMQP"),
    "a protocol without a name": connect("user", "password", name=b""),
    "a long protocol name": b"\x10\xff\x7f\xff\xff",
    "the reserved flag": connect("user", "password", flags=0xC3),
    "a password without a user": connect("user", "password", flags=0x42),
    "a will QoS of 3": connect("user", "password", will=Will("a"), flags=0xDE),
    "a will QoS without a will": connect("user", "password", flags=0xCA),
    "a retained will without a will": connect("user", "password", flags=0xE2),
    "a will to everybody": connect("user", "password", will=Will("solar/+/telemetry")),
    "a will to nobody": connect("user", "password", will=Will("")),
    "a will that is no text": connect("user", "password", will=Will(b"\xff\xfe")),
    "a client id that is no text": connect("user", "password", client_id=b"\xc3\x28"),
    "a client id with a null": connect("user", "password", client_id=b"a\x00b"),
    "a client id with a line break": connect("user", "password", client_id=b"a\nb"),
    "a surrogate": connect("user", "password", client_id=b"\xed\xa0\x80"),
    "a client id over its end": packet(0x10, text("MQTT") + b"\x04\xc2\x00\x3c\x00\xffroof"),
    "no client id at all": packet(0x10, text("MQTT") + b"\x04\xc2\x00\x3c"),
    "no password": packet(0x10, text("MQTT") + b"\x04\xc2\x00\x3c" + text("a") + text("b")),
    "more than it says": packet(0x10, text("MQTT") + b"\4\xc2\0\x3c" + _CREDENTIALS + b"x"),
    "no bytes at all": packet(0x10),
}  # fmt: skip


@pytest.mark.parametrize("data", NO_CONNECTS.values(), ids=NO_CONNECTS.keys())
async def test_an_invalid_connect_ends_the_connection_without_an_answer(
    broker: Broker, data: bytes
) -> None:
    async with raw(broker.port) as stranger:
        stranger.send(data)
        assert await stranger.receive() is None


async def test_a_connect_that_is_too_large_ends_the_connection_at_its_header(
    broker: Broker,
) -> None:
    async with raw(broker.port) as stranger:
        stranger.send(b"\x10\xff\xff\xff\x7f" + text("MQTT") + b"\x04\xc2\x00\x3c")
        assert await stranger.receive() is None


def broken(device_id: UUID) -> dict[str, bytes]:
    """Return invalid packets, each with a message behind it that must not be published."""
    own = telemetry(device_id)
    hidden = publish("solar/hidden/telemetry")
    return {
        "a wildcard +": publish("solar/+/telemetry"),
        "a wildcard #": publish("solar/#"),
        "a wildcard of its own": publish(f"solar/{device_id}/#"),
        "a wildcard at QoS 0": publish("solar/#", qos=0),
        "a wildcard at QoS 2": publish("solar/#", qos=2),
        "an empty topic": publish(""),
        "a topic with a null": publish(b"solar/\x00"),
        "a topic that is no text": publish(b"solar/\xff"),
        "a topic with a surrogate": publish(b"\xed\xa0\x80" + b"x" * 30),
        "QoS 3": publish(own, qos=3),
        "an id of 0": publish(own, packet_id=0),
        "a topic over its end": packet(0x32, b"\xff\xff" + own.encode()),
        "no id": packet(0x32, text(own)),
        "an empty PUBLISH": packet(0x32),
        "another CONNECT": connect(device_id, DEVICE_PASSWORD),
        "a CONNACK": packet(0x20, b"\0\0"),
        "a SUBACK": packet(0x90, b"\0\1\0"),
        "an UNSUBACK": packet(0xB0, b"\0\1"),
        "a PINGRESP": packet(0xD0),
        "type 0": packet(0x00),
        "type 15": packet(0xF0),
        "a length of five bytes": b"\x32\xff\xff\xff\xff\x01",
        "a PUBACK with a message in it": packet(0x40, b"\0\1" + hidden),
        "a PUBREL with a message in it": packet(0x62, b"\0\1" + hidden),
        "a PINGREQ with a message in it": packet(0xC0, hidden),
        "a DISCONNECT with a message in it": packet(0xE0, hidden),
        "a PUBACK of nothing": packet(0x40, b"\0"),
        "a PUBREL with wrong flags": packet(0x60, b"\0\1"),
        "a SUBSCRIBE with wrong flags": packet(0x80, b"\0\1" + text(own) + b"\1"),
        "a SUBSCRIBE to nothing": packet(0x82, b"\0\1"),
        "a SUBSCRIBE to an empty filter": subscribe(""),
        "a SUBSCRIBE with an id of 0": subscribe(own, packet_id=0),
        "a SUBSCRIBE without a QoS": packet(0x82, b"\0\1" + text(own)),
        "a SUBSCRIBE with QoS 3": subscribe(own, qos=3),
        "a SUBSCRIBE with a filter over its end": packet(0x82, b"\0\1\xff\xff" + own.encode()),
        "a SUBSCRIBE with a message in it": packet(0x82, b"\0\1" + text(own) + b"\1" + hidden),
        "an UNSUBSCRIBE from nothing": packet(0xA2, b"\0\1"),
        "an UNSUBSCRIBE with wrong flags": packet(0xA0, b"\0\1" + text(own)),
    }


@pytest.mark.parametrize("case", broken(UUID(int=0)))
async def test_a_packet_that_violates_the_protocol_ends_the_connection(
    broker: Broker, device_id: UUID, case: str
) -> None:
    own = telemetry(device_id)
    async with received_topics(broker, "#") as topics, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        device.send(publish(own), broken(device_id)[case], publish(own, packet_id=2))
        assert await device.closed()
    assert topics == [own]


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_message_in_the_topic_of_another_device_is_acknowledged_and_dropped(
    broker: Broker, device_id: UUID, qos: int
) -> None:
    own = telemetry(device_id)
    async with received_topics(broker, "#") as topics, raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        for number, topic in enumerate(("elsewhere", "$SYS/broker", "/", own), start=1):
            device.send(publish(topic, qos=qos, packet_id=number))
            if qos == 1:
                assert (await device.expect(PUBACK)).body == number.to_bytes(2)
            if qos == 2:
                assert (await device.expect(PUBREC)).body == number.to_bytes(2)
                device.send(packet(0x62, number.to_bytes(2)))
                assert (await device.expect(PUBCOMP)).body == number.to_bytes(2)
        assert await device.answers()
    assert topics == [own]


async def test_a_repeated_message_at_qos_2_is_routed_once(broker: Broker, device_id: UUID) -> None:
    own = telemetry(device_id)
    async with received_topics(broker, "#") as topics:
        for _ in range(2):
            async with raw(broker.port) as device:
                await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
                for _ in range(3):
                    device.send(publish(own, qos=2, packet_id=7))
                    await device.expect(PUBREC)
                device.abort()
        async with raw(broker.port) as device:
            await device.connected(connect(device_id, DEVICE_PASSWORD, clean=False))
            for _ in range(2):
                device.send(packet(0x62, (7).to_bytes(2)))
                await device.expect(PUBCOMP)
            device.send(publish(own, qos=2, packet_id=7))
            await device.expect(PUBREC)
    assert topics == [own, own]


async def test_filters_are_granted_one_by_one(broker: Broker, device_id: UUID) -> None:
    filters = {
        f"solar/{device_id}/ack": 1,
        "solar/#": 0x80,
        f"solar/{device_id}/command": 1,
        f"solar/{device_id}/+": 0x80,
        "a#": 0x80,
        "#/a": 0x80,
        "a/+b": 0x80,
        "$SYS/#": 0x80,
        "+": 0x80,
    }
    async with raw(broker.port) as device:
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        assert await device.subscribed(*filters) == list(filters.values())
        device.send(unsubscribe(*filters, packet_id=9))
        assert (await device.expect(0xB0)).body == b"\0\x09"


async def test_a_message_is_delivered_at_the_granted_qos(broker: Broker, device_id: UUID) -> None:
    ack = f"solar/{device_id}/ack"
    async with raw(broker.port) as device, raw(broker.port) as hub:
        await hub.connected(connect("hub", broker.hub_password))
        await device.connected(connect(device_id, DEVICE_PASSWORD))
        for qos in (0, 1, 2):
            granted = min(qos, 1)
            assert await device.subscribed(ack, qos=qos, packet_id=qos + 1) == [granted]
            hub.send(publish(ack, b"%d" % qos, packet_id=qos + 1))
            await hub.expect(PUBACK)
            message = await device.expect(PUBLISH)
            assert (message.header & 0x06, message.payload) == (granted << 1, b"%d" % qos)
            if granted:
                device.send(packet(PUBACK, message.packet_id.to_bytes(2)))
            device.send(unsubscribe(ack, packet_id=9))
            await device.expect(0xB0)
