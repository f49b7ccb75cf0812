"""Messages of a real Mosquitto: the bound on what is held, and acknowledgements."""

import asyncio

import pytest

from ingest.dialects.native import MESSAGE_MAX_BYTES
from ingest.mqtt.codec import PINGREQ
from ingest.mqtt.connection import CHUNK_BYTES, ConnectionLost
from ingest.mqtt.receive_buffer import PACKET_MAX_BYTES, ReceiveBuffer
from tests.ingest.mqtt.connections import (
    HELD_MAX_BYTES,
    MESSAGE_BYTES,
    MESSAGES,
    acknowledge,
    endpoint_of,
    message,
    number_of,
    publish,
    read,
    reading,
    subscribed,
    take,
)
from tests.support.mosquitto import Mosquitto
from tests.support.mqtt_peers import tapped
from tests.support.waiting import eventually


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
