"""Connections to a real Mosquitto, and to brokers that refuse, fall silent or send nonsense."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import aiomqtt
import pytest

import ingest.broker
from core.settings import MqttSettings
from ingest.broker import BrokerEndpoint
from ingest.dialects.native import MESSAGE_MAX_BYTES
from ingest.mqtt.codec import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PINGRESP_PACKET,
    PUBACK,
    ReceivedPublish,
)
from ingest.mqtt.connection import (
    CHUNK_BYTES,
    UNANSWERED_MAX,
    ConnectionLost,
    ConnectionRefusedByBroker,
    MqttConnection,
    MqttError,
)
from ingest.mqtt.receive_buffer import PACKET_MAX_BYTES, ReceiveBuffer
from tests.support.mosquitto import Mosquitto, SecuredMosquitto
from tests.support.mqtt_peers import ACCEPTED, scripted_broker, tapped
from tests.support.raw_mqtt import packet
from tests.support.waiting import eventually

HELD_MAX_BYTES = 1_000_000
# More than what the kernel's buffers on both sides take.
MESSAGES, MESSAGE_BYTES = 400, 100_000
KEEP_ALIVE_S = 1


def endpoint_of(mosquitto: Mosquitto) -> BrokerEndpoint:
    return BrokerEndpoint.of(MqttSettings(mqtt_url=mosquitto.url))


@asynccontextmanager
async def subscribed(
    endpoint: BrokerEndpoint, buffer: ReceiveBuffer, *, clean_session: bool = True
) -> AsyncIterator[MqttConnection]:
    """A connection that is subscribed to everything, with a short keep-alive time."""
    async with endpoint.connect(
        "hub", clean_session=clean_session, buffer=buffer, keep_alive_s=KEEP_ALIVE_S
    ) as connection:
        await connection.subscribe([("#", 1)])
        yield connection


@asynccontextmanager
async def reading(
    endpoint: BrokerEndpoint,
) -> AsyncIterator[tuple[MqttConnection, ReceiveBuffer]]:
    """The same with a small buffer."""
    buffer = ReceiveBuffer(HELD_MAX_BYTES)
    async with subscribed(endpoint, buffer) as connection:
        yield connection, buffer


def message(number: int, size_bytes: int = MESSAGE_BYTES) -> bytes:
    return f"{number} ".encode().ljust(size_bytes, b"x")


def number_of(received: ReceivedPublish) -> int:
    return int(received.payload.split(b" ", 1)[0])


def acknowledge(connection: MqttConnection, received: Iterable[ReceivedPublish]) -> None:
    for one in received:
        connection.acknowledge(one.packet_id, one.size_bytes)


async def read(connection: MqttConnection, count: int) -> list[ReceivedPublish]:
    """Read so many messages; none is acknowledged."""
    found: list[ReceivedPublish] = []
    async with asyncio.timeout(30):
        async for received in connection.messages():
            found.append(received)
            if len(found) == count:
                break
    return found


async def take(connection: MqttConnection, count: int) -> list[ReceivedPublish]:
    """Read and acknowledge so many messages, one by one."""
    found: list[ReceivedPublish] = []
    while len(found) < count:
        found += await read(connection, 1)
        acknowledge(connection, found[-1:])
    return found


async def publish(mosquitto: Mosquitto, *payloads: bytes, qos: int = 1) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for payload in payloads:
            await client.publish("solar/a/telemetry", payload, qos=qos)


# What is held ----------------------------------------------------------------------------------


async def test_reading_stops_at_the_limit_and_continues_in_order_once_there_is_room(
    mosquitto: Mosquitto,
) -> None:
    async with reading(endpoint_of(mosquitto)) as (connection, buffer):
        await publish(mosquitto, *map(message, range(MESSAGES)))
        await eventually(lambda: not connection.is_reading)
        assert HELD_MAX_BYTES <= buffer.held_bytes < HELD_MAX_BYTES + 2 * MESSAGE_BYTES
        taken = await take(connection, MESSAGES)
        assert [number_of(one) for one in taken] == list(range(MESSAGES))
        assert buffer.held_bytes == 0


async def test_messages_at_qos_0_free_their_room_too(mosquitto: Mosquitto) -> None:
    async with reading(endpoint_of(mosquitto)) as (connection, _):
        await publish(mosquitto, *map(message, range(50)), qos=0)
        await eventually(lambda: not connection.is_reading)
        taken = await take(connection, 50)
        assert [number_of(one) for one in taken] == list(range(50))


async def test_many_tiny_messages_are_bounded_too(mosquitto: Mosquitto) -> None:
    async with reading(endpoint_of(mosquitto)) as (connection, buffer):
        await publish(mosquitto, *(f"{n} ".encode() for n in range(1_200)))
        await eventually(lambda: not connection.is_reading)
        # What one chunk may hold of them exceeds the limit, and no more.
        assert len(buffer.unread) < HELD_MAX_BYTES / 1024 + CHUNK_BYTES / 20


async def test_a_long_pause_in_reading_does_not_end_the_connection(
    mosquitto: Mosquitto,
) -> None:
    async with tapped(mosquitto.port) as tap, reading(tap.endpoint) as (connection, _):
        await publish(mosquitto, *map(message, range(MESSAGES)))
        await eventually(lambda: not connection.is_reading)
        before = len(tap.sent(PINGREQ))
        # Without pings, or if their answers were expected, either side would have closed by then.
        await eventually(lambda: len(tap.sent(PINGREQ)) >= before + 4, within_s=30)
        assert len(await take(connection, MESSAGES)) == MESSAGES


async def test_a_message_larger_than_the_buffer_is_received(mosquitto: Mosquitto) -> None:
    async with reading(endpoint_of(mosquitto)) as (connection, _):
        await publish(mosquitto, message(0, MESSAGE_MAX_BYTES), message(1))
        taken = await take(connection, 2)
        assert [len(one.payload) for one in taken] == [MESSAGE_MAX_BYTES, MESSAGE_BYTES]


async def test_the_beginning_of_a_message_that_is_too_large_is_kept(mosquitto: Mosquitto) -> None:
    async with reading(endpoint_of(mosquitto)) as (connection, _):
        await publish(mosquitto, message(0, 50_000_000), message(1))
        taken = await take(connection, 2)
        assert [number_of(one) for one in taken] == [0, 1]
        assert MESSAGE_MAX_BYTES < len(taken[0].payload) < PACKET_MAX_BYTES


# Acknowledgements ------------------------------------------------------------------------------


async def test_a_batch_is_acknowledged_in_order_and_no_message_unasked(
    mosquitto: Mosquitto,
) -> None:
    async with tapped(mosquitto.port) as tap, reading(tap.endpoint) as (connection, _):
        await publish(mosquitto, *map(message, range(5)))
        found = await read(connection, 5)
        acknowledge(connection, found[:3])
        await eventually(lambda: len(tap.acknowledged()) >= 3)
        assert tap.acknowledged() == [one.packet_id for one in found[:3]]


async def test_the_last_acknowledgements_reach_a_broker_that_still_has_much_to_send(
    mosquitto: Mosquitto,
) -> None:
    async def session(held_max_bytes: int) -> list[int]:
        """The first messages of the session, acknowledged just before it is closed."""
        buffer = ReceiveBuffer(held_max_bytes)
        async with subscribed(endpoint, buffer, clean_session=False) as connection:
            if not buffer.unread:
                await publish(mosquitto, *map(message, range(MESSAGES)))
                await eventually(lambda: not connection.is_reading)
            found = await read(connection, 5)
            acknowledge(connection, found)
        return [number_of(one) for one in found]

    endpoint = endpoint_of(mosquitto)
    assert await session(HELD_MAX_BYTES) == [0, 1, 2, 3, 4]
    # Enough for all that comes before the answer to SUBSCRIBE.
    assert await session(2 * MESSAGES * MESSAGE_BYTES) == [5, 6, 7, 8, 9]


async def test_after_the_connection_is_lost_an_acknowledgement_does_nothing(
    mosquitto: Mosquitto,
) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, failure: failures.append(failure))
    async with reading(endpoint_of(mosquitto)) as (connection, buffer):
        await publish(mosquitto, b"1", b"2")
        found = await read(connection, 2)
        acknowledge(connection, found[:1])
        connection.abort()
        await asyncio.sleep(0)
        acknowledge(connection, found[1:])
        with pytest.raises(ConnectionLost):
            await read(connection, 1)
        assert buffer.held_bytes == 0
    assert failures == []


async def test_messages_that_arrived_before_the_loss_are_read_first(
    mosquitto: Mosquitto,
) -> None:
    async with reading(endpoint_of(mosquitto)) as (connection, buffer):
        await publish(mosquitto, b"1 ", b"2 ", qos=0)
        await eventually(lambda: len(buffer.unread) == 2)
        mosquitto.kill()
        found = await read(connection, 2)
        assert [number_of(one) for one in found] == [1, 2]
        with pytest.raises(ConnectionLost):
            await read(connection, 1)


# Requests --------------------------------------------------------------------------------------


async def test_it_publishes_at_both_qualities_of_service(mosquitto: Mosquitto) -> None:
    async with tapped(mosquitto.port) as tap, reading(tap.endpoint) as (connection, _):
        await connection.publish("solar/a/ack", "first", qos=0)
        await connection.publish("solar/a/ack", "second")
        found = await read(connection, 2)
        assert [(one.topic, one.payload) for one in found] == [
            (b"solar/a/ack", b"first"), (b"solar/a/ack", b"second"),
        ]  # fmt: skip
        assert [bool(one.packet_id) for one in found] == [False, True]


async def test_after_an_unsubscription_nothing_more_comes(mosquitto: Mosquitto) -> None:
    async with reading(endpoint_of(mosquitto)) as (connection, buffer):
        await connection.unsubscribe(["#"])
        await publish(mosquitto, b"1")
        await connection.publish("solar/a/ack", "answered after all that came before")
        assert not buffer.unread


async def test_an_answer_to_a_request_that_was_cancelled_is_no_error(mosquitto: Mosquitto) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, failure: failures.append(failure))
    async with endpoint_of(mosquitto).connect("hub", clean_session=True) as connection:
        subscribing = asyncio.create_task(connection.subscribe([("solar/+/status", 1)]))
        await asyncio.sleep(0)
        subscribing.cancel()
        await asyncio.wait([subscribing])
        assert subscribing.cancelled()
        # The answer to this one comes after the other.
        assert await connection.subscribe([("solar/+/telemetry", 1)]) == (1,)
    assert failures == []


async def test_the_number_of_unanswered_requests_is_limited() -> None:
    async with scripted_broker() as peer, peer.endpoint.connect("a", clean_session=True) as hub:
        for _ in range(UNANSWERED_MAX):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await hub.publish("solar/a/ack", "refused")
        with pytest.raises(MqttError, match="has not answered 100 requests"):
            await hub.publish("solar/a/ack", "refused")


async def test_an_answer_to_no_request_or_to_another_kind_is_ignored() -> None:
    strange = [packet(PUBACK, b"\x00\x09"), packet(PUBACK, b"\x00\x01")]

    def reply(one: bytes) -> bytes:
        suback = packet(0x90, b"\x00\x01\x01")
        return ACCEPTED if one[0] == CONNECT else b"".join([*strange, suback])

    async with (
        scripted_broker(reply) as peer,
        peer.endpoint.connect("hub", clean_session=True) as connection,
    ):
        assert await connection.subscribe([("#", 1)]) == (1,)


async def test_every_waiting_call_fails_when_the_connection_is_lost(
    mosquitto: Mosquitto,
) -> None:
    async with (
        scripted_broker(lambda one: ACCEPTED if one[0] == CONNECT else None) as peer,
        peer.endpoint.connect("hub", clean_session=True) as connection,
    ):
        waiting = (
            read(connection, 1), connection.publish("solar/a/ack", ""),
            connection.subscribe([("#", 1)]), connection.unsubscribe(["#"]),
        )  # fmt: skip
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == 4 * [ConnectionLost]
        with pytest.raises(ConnectionLost, match="the broker closed the connection"):
            await connection.publish("solar/a/ack", "", qos=0)


# The beginning and the end ---------------------------------------------------------------------


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
