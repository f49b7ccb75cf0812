"""What an inbox holds of what Mosquitto sends it, and what becomes of the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiomqtt
import pytest
from paho.mqtt.enums import MQTTErrorCode

from ingest.dialects.native import MESSAGE_MAX_BYTES
from ingest.packets import ReceivedPublish
from ingest.receive_buffer import PACKET_MAX_BYTES, ReceiveBuffer
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

HELD_MAX_BYTES = 1_000_000
# More than what the kernel's buffers on both sides take.
MESSAGES, MESSAGE_BYTES = 400, 100_000
KEEPALIVE_S = 1


@asynccontextmanager
async def inbox_at(mosquitto: Mosquitto) -> AsyncIterator[ReceiveBuffer]:
    """Subscribed to everything; it holds little, and must show often that it is there."""
    client = aiomqtt.Client(
        "127.0.0.1", urlsplit(mosquitto.url).port or 0, keepalive=KEEPALIVE_S, timeout=5
    )
    inbox = ReceiveBuffer(client, HELD_MAX_BYTES)
    async with client:
        await client.subscribe("#", qos=1)
        yield inbox


def message(number: int, size_bytes: int = MESSAGE_BYTES) -> bytes:
    return f"{number} ".encode().ljust(size_bytes, b"x")


def number_of(publication: ReceivedPublish) -> int:
    return int(publication.payload.split(b" ", 1)[0])


def acknowledge(inbox: ReceiveBuffer, *publications: ReceivedPublish) -> None:
    for one in publications:
        inbox.acknowledge(one.message_id, one.qos, one.size_bytes)


async def take(inbox: ReceiveBuffer, count: int, into: list[ReceivedPublish]) -> None:
    """Take and acknowledge at least so many."""
    async with asyncio.timeout(30):
        async for arrived in inbox.arrivals():
            while arrived:
                into.append(arrived.popleft())
                acknowledge(inbox, into[-1])
            if len(into) >= count:
                return


async def publish(mosquitto: Mosquitto, *payloads: bytes, qos: int = 1) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for payload in payloads:
            await client.publish("solar/a/telemetry", payload, qos=qos)


async def test_no_more_is_read_than_may_be_held_and_all_comes_in_order_once_there_is_room(
    mosquitto: Mosquitto,
) -> None:
    async with inbox_at(mosquitto) as inbox:
        await publish(mosquitto, *map(message, range(MESSAGES)))
        await eventually(lambda: not inbox.is_reading)
        assert HELD_MAX_BYTES <= inbox.held_bytes < HELD_MAX_BYTES + 2 * MESSAGE_BYTES
        taken: list[ReceivedPublish] = []
        await take(inbox, MESSAGES, taken)
        assert [number_of(one) for one in taken] == list(range(MESSAGES))
        assert inbox.held_bytes == 0


async def test_messages_without_acknowledgement_make_room_as_well(mosquitto: Mosquitto) -> None:
    async with inbox_at(mosquitto) as inbox:
        await publish(mosquitto, *map(message, range(50)), qos=0)
        await eventually(lambda: not inbox.is_reading)
        taken: list[ReceivedPublish] = []
        await take(inbox, 50, taken)
        assert [number_of(one) for one in taken] == list(range(50))


async def test_a_broker_that_is_not_read_from_for_long_is_not_taken_for_gone(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbox_at(mosquitto) as inbox:
        pings = 0
        paho = inbox.client._client
        send_ping = paho._send_pingreq

        def count_ping() -> object:
            nonlocal pings
            pings += 1
            return send_ping()

        await publish(mosquitto, *map(message, range(MESSAGES)))
        await eventually(lambda: not inbox.is_reading)
        monkeypatch.setattr(paho, "_send_pingreq", count_ping)
        # Either side would have given the other up after two.
        await eventually(lambda: pings >= 4, within_s=30)
        taken: list[ReceivedPublish] = []
        await take(inbox, MESSAGES, taken)
        assert len(taken) == MESSAGES


async def test_a_message_that_is_larger_than_what_may_be_held_passes(mosquitto: Mosquitto) -> None:
    async with inbox_at(mosquitto) as inbox:
        await publish(mosquitto, message(0, MESSAGE_MAX_BYTES), message(1))
        taken: list[ReceivedPublish] = []
        await take(inbox, 2, taken)
        assert [len(one.payload) for one in taken] == [MESSAGE_MAX_BYTES, MESSAGE_BYTES]


async def test_of_a_message_that_is_too_large_its_beginning_is_kept(mosquitto: Mosquitto) -> None:
    async with inbox_at(mosquitto) as inbox:
        await publish(mosquitto, message(0, 50_000_000), message(1))
        taken: list[ReceivedPublish] = []
        await take(inbox, 2, taken)
        assert [number_of(one) for one in taken] == [0, 1]
        assert MESSAGE_MAX_BYTES < len(taken[0].payload) < PACKET_MAX_BYTES


async def test_a_connection_that_is_lost_before_it_is_written_to_is_left_alone(
    mosquitto: Mosquitto,
) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, failure: failures.append(failure))
    async with inbox_at(mosquitto) as inbox:
        await publish(mosquitto, b"1")
        acknowledge(inbox, *(await anext(inbox.arrivals())))
        inbox._settle()
        inbox._paho._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        await asyncio.sleep(0)
        with pytest.raises(aiomqtt.MqttError):
            await anext(inbox.arrivals())
    assert failures == []


async def test_a_broker_that_goes_is_noticed(mosquitto: Mosquitto) -> None:
    async with inbox_at(mosquitto) as inbox:
        mosquitto.kill()
        with pytest.raises(aiomqtt.MqttError):
            await take(inbox, 1, [])
