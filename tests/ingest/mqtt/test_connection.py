"""Connections that open, are refused, get lost and close."""

import asyncio
from dataclasses import replace

import pytest

import ingest.broker
from ingest.mqtt.codec import CONNECT, DISCONNECT, PINGREQ, PINGRESP_PACKET
from ingest.mqtt.connection import ConnectionLost, ConnectionRefusedByBroker, MqttError
from tests.ingest.mqtt.connections import (
    KEEP_ALIVE_S,
    MESSAGES,
    endpoint_of,
    message,
    number_of,
    publish,
    read,
    reading,
    take,
)
from tests.support.mosquitto import Mosquitto, SecuredMosquitto
from tests.support.mqtt_peers import ACCEPTED, scripted_broker, tapped
from tests.support.raw_mqtt import packet
from tests.support.waiting import eventually


async def test_a_wrong_password_is_a_refusal_with_a_reason(secured: SecuredMosquitto) -> None:
    wrong = replace(endpoint_of(secured), password="wrong")
    with pytest.raises(
        ConnectionRefusedByBroker, match=r"refuses the connection: (not authorized|wrong user name)"
    ):
        async with wrong.connect("hub", clean_session=True):
            pass


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, "it does not support MQTT 3.1.1"),
        (2, "it does not allow the client id"),
        (3, "it is unavailable"),
        (4, "wrong user name or password"),
        (5, "not authorized"),
    ],
)
async def test_each_refusal_has_a_reason_and_closes_the_connection(code: int, reason: str) -> None:
    async with scripted_broker(lambda one: packet(0x20, bytes([0, code]))) as peer:
        with pytest.raises(ConnectionRefusedByBroker, match=f"connection: {reason}"):
            async with peer.endpoint.connect("hub", clean_session=True):
                pass
        await eventually(lambda: peer.connections_open == 0)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x46", "malformed MQTT"),  # an alert of TLS
        (PINGRESP_PACKET, "malformed MQTT: a first packet that is no CONNACK"),
        (b"\xff\xff\xff\xff\xff\xff", "malformed MQTT: a remaining length"),
        (None, "the broker closed the connection"),
    ],
)
async def test_a_first_answer_that_is_no_mqtt_is_a_lost_connection(
    answer: bytes | None, error: str
) -> None:
    async with scripted_broker(lambda one: answer) as peer:
        with pytest.raises(ConnectionLost, match=error):
            async with peer.endpoint.connect("hub", clean_session=True):
                pass
        await eventually(lambda: peer.connections_open == 0)


async def test_nonsense_later_ends_the_connection_too() -> None:
    def reply(one: bytes) -> bytes:
        return ACCEPTED if one[0] == CONNECT else packet(0x34, b"\x00\x01a\x00\x01")

    async with (
        scripted_broker(reply) as peer,
        peer.endpoint.connect("hub", clean_session=True) as connection,
    ):
        with pytest.raises(ConnectionLost, match="a PUBLISH at QoS 2"):
            await connection.publish("solar/a/ack", "")


async def test_the_error_names_a_broker_that_cannot_be_reached(mosquitto: Mosquitto) -> None:
    mosquitto.kill()
    with pytest.raises(MqttError, match=f"the broker at 127.0.0.1:{mosquitto.port} cannot be"):
        async with endpoint_of(mosquitto).connect("hub", clean_session=True):
            pass


async def test_a_connect_without_an_answer_times_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest.broker, "_CONNECT_S", 0.2)
    async with scripted_broker(lambda one: b"") as peer:
        with pytest.raises(MqttError, match=r"does not answer within 0\.2 s"):
            async with peer.endpoint.connect("hub", clean_session=True):
                pass
        await eventually(lambda: peer.connections_open == 0)


async def test_a_silent_broker_is_a_lost_connection() -> None:
    async with (
        scripted_broker() as peer,
        peer.endpoint.connect("hub", clean_session=True, keep_alive_s=KEEP_ALIVE_S) as connection,
    ):
        with pytest.raises(ConnectionLost, match="the broker does not answer"):
            await read(connection, 1)
        assert len(peer.sent(PINGREQ)) == 1


async def test_a_killed_broker_is_a_lost_connection(mosquitto: Mosquitto) -> None:
    async with reading(endpoint_of(mosquitto)) as (connection, _):
        mosquitto.kill()
        with pytest.raises(ConnectionLost):
            await take(connection, 1)


async def test_a_second_connection_of_the_same_client_id_ends_the_first(
    mosquitto: Mosquitto,
) -> None:
    async with (
        reading(endpoint_of(mosquitto)) as (first, _),
        reading(endpoint_of(mosquitto)) as (second, _),
    ):
        with pytest.raises(ConnectionLost):
            await read(first, 1)
        await publish(mosquitto, b"1 ")
        assert [number_of(one) for one in await read(second, 1)] == [1]


async def test_closing_sends_disconnect_last(mosquitto: Mosquitto) -> None:
    async with tapped(mosquitto.port) as tap:
        async with reading(tap.endpoint) as (connection, _):
            pass
        assert tap.packets[-1][0] == DISCONNECT
        await eventually(lambda: tap.connections_open == 0)
        with pytest.raises(ConnectionLost, match="the hub closed the connection"):
            await connection.publish("solar/a/ack", "")


async def test_closing_waits_a_limited_time_for_the_broker() -> None:
    async with scripted_broker(closes=False) as peer:
        began = asyncio.get_running_loop().time()
        async with peer.endpoint.connect("hub", clean_session=True):
            pass
        assert 1 < asyncio.get_running_loop().time() - began < 5
        await eventually(lambda: peer.connections_open == 0)


async def test_closing_with_a_full_buffer_does_not_wait_for_the_deadline(
    mosquitto: Mosquitto,
) -> None:
    async with reading(endpoint_of(mosquitto)) as (connection, _):
        await publish(mosquitto, *map(message, range(MESSAGES)))
        await eventually(lambda: not connection.is_reading)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 1.5


@pytest.mark.parametrize("answer", [b"", ACCEPTED], ids=["connecting", "connected"])
async def test_cancelling_at_any_moment_leaves_no_connection(
    answer: bytes,
) -> None:
    async def connect() -> None:
        async with peer.endpoint.connect("hub", clean_session=True):
            await asyncio.Event().wait()

    async with scripted_broker(lambda one: answer if one[0] == CONNECT else None) as peer:
        for steps in range(0, 40, 3):
            task = asyncio.create_task(connect())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=5)
            assert task.cancelled()
        await eventually(lambda: peer.connections_open == 0)
