"""Connections to a broker, as tests of the client use them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiomqtt

from core.settings import MqttSettings
from ingest.broker import BrokerEndpoint
from ingest.mqtt.codec import ReceivedPublish
from ingest.mqtt.connection import MqttConnection
from ingest.mqtt.receive_buffer import ReceiveBuffer
from tests.support.mosquitto import Mosquitto

HELD_MAX_BYTES = 1_000_000
# More than the buffers of the kernel on both sides hold.
MESSAGES, MESSAGE_BYTES = 400, 100_000
KEEP_ALIVE_S = 1


def endpoint_of(mosquitto: Mosquitto) -> BrokerEndpoint:
    return BrokerEndpoint.of(MqttSettings(mqtt_url=mosquitto.url))


@asynccontextmanager
async def subscribed(
    endpoint: BrokerEndpoint, buffer: ReceiveBuffer, *, clean_session: bool = True
) -> AsyncIterator[MqttConnection]:
    """Open a connection with all topics subscribed and a short keep-alive time."""
    async with endpoint.connect(
        "hub", clean_session=clean_session, buffer=buffer, keep_alive_s=KEEP_ALIVE_S
    ) as connection:
        await connection.subscribe([("#", 1)])
        yield connection


@asynccontextmanager
async def reading(
    endpoint: BrokerEndpoint,
) -> AsyncIterator[tuple[MqttConnection, ReceiveBuffer]]:
    """Open such a connection with a small buffer."""
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
    """Read this many messages without acknowledging them."""
    found: list[ReceivedPublish] = []
    async with asyncio.timeout(30):
        async for received in connection.messages():
            found.append(received)
            if len(found) == count:
                break
    return found


async def take(connection: MqttConnection, count: int) -> list[ReceivedPublish]:
    """Read and acknowledge this many messages, one by one."""
    found: list[ReceivedPublish] = []
    while len(found) < count:
        found += await read(connection, 1)
        acknowledge(connection, found[-1:])
    return found


async def publish(mosquitto: Mosquitto, *payloads: bytes, qos: int = 1) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for payload in payloads:
            await client.publish("solar/a/telemetry", payload, qos=qos)
