"""A device's connection, against real brokers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from uuid import uuid4

import aiomqtt

from core.readings import Reading
from db.pool import Pool
from simulators.device_connection import (
    ConnectionTally,
    Credentials,
    DeviceConnection,
    DeviceConnector,
    Publisher,
)
from simulators.hub_client import BrokerAddress
from tests import conftest
from tests.support import people
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

READING = Reading(time=datetime(2026, 3, 1, tzinfo=UTC), energy_wh=1000.0)
ANYONE = Credentials(str(uuid4()), "unused")


@asynccontextmanager
async def subscribed(url: str) -> AsyncIterator[list[tuple[str, str, bool]]]:
    """Collect all messages of devices: last part of the topic, payload, retain flag."""
    received: list[tuple[str, str, bool]] = []

    async def collect(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            kind = message.topic.value.rsplit("/", 1)[1]
            received.append((kind, message.payload.decode(), message.retain))

    broker = BrokerAddress.of(url)
    user, _, password = url.removeprefix("mqtt://").partition("@")[0].partition(":")
    async with (
        aiomqtt.Client(broker.host, broker.port, username=user, password=password) as client,
        asyncio.TaskGroup() as tasks,
    ):
        await client.subscribe("solar/#", qos=1)
        collecting = tasks.create_task(collect(client))
        yield received
        collecting.cancel()


@asynccontextmanager
async def connected(
    broker: BrokerAddress, device: Credentials, publish: Publisher, tally: ConnectionTally
) -> AsyncIterator[asyncio.Task[None]]:
    """Run a device's connection in a task, which is cancelled at the end."""
    task = asyncio.create_task(DeviceConnector(broker, Random(1), tally).run(device, publish))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def publish_once(connection: DeviceConnection) -> None:
    await connection.send([READING])


async def publish_and_stay(connection: DeviceConnection) -> None:
    await connection.send([READING])
    await asyncio.Event().wait()


def values(received: list[tuple[str, str, bool]]) -> list[str]:
    """Return the counters and statuses that were received, in order."""
    return [
        json.loads(payload)["energy_wh"] if kind == "telemetry" else payload
        for kind, payload, _ in received
    ]


async def test_a_device_publishes_online_its_readings_and_offline(
    pool: Pool, broker: conftest.Broker
) -> None:
    device_id = await people.add_device(pool, await people.add_user(pool, "host"))
    device = Credentials(str(device_id), people.DEVICE_PASSWORD)
    tally = ConnectionTally()
    async with subscribed(broker.url) as received:
        async with connected(BrokerAddress.of(broker.url), device, publish_once, tally) as task:
            await task
        await eventually(lambda: values(received) == ["online", 1000.0, "offline"])
    assert (tally.connected, tally.lost) == (0, 0)


async def test_a_cancelled_device_publishes_offline_too(
    pool: Pool, broker: conftest.Broker
) -> None:
    device_id = await people.add_device(pool, await people.add_user(pool, "host"))
    device = Credentials(str(device_id), people.DEVICE_PASSWORD)
    async with subscribed(broker.url) as received:
        async with connected(
            BrokerAddress.of(broker.url), device, publish_and_stay, ConnectionTally()
        ):
            await eventually(lambda: values(received) == ["online", 1000.0])
        await eventually(lambda: values(received) == ["online", 1000.0, "offline"])


async def test_a_device_with_a_wrong_password_retries_and_records_the_error(
    pool: Pool, broker: conftest.Broker
) -> None:
    device_id = await people.add_device(pool, await people.add_user(pool, "host"))
    tally = ConnectionTally()
    device = Credentials(str(device_id), "wrong")
    async with connected(BrokerAddress.of(broker.url), device, publish_once, tally):
        await eventually(lambda: tally.lost >= 2)
    assert tally.connected == 0
    assert tally.last_error


async def test_the_broker_publishes_the_last_will_of_a_device_that_disappears(
    mosquitto: Mosquitto,
) -> None:
    async def disappear(connection: DeviceConnection) -> None:
        connection.client._client.socket().close()  # type: ignore[union-attr]
        await asyncio.Event().wait()

    async with (
        subscribed(mosquitto.url) as received,
        connected(BrokerAddress.of(mosquitto.url), ANYONE, disappear, ConnectionTally()),
    ):
        await eventually(lambda: values(received)[:2] == ["online", "offline"])


async def test_a_device_reconnects_after_a_broker_restart_and_sends_the_rest(
    mosquitto: Mosquitto,
) -> None:
    remaining, tally = [READING, READING], ConnectionTally()

    async def publish_all(connection: DeviceConnection) -> None:
        while remaining:
            await connection.send(remaining[:1])
            remaining.pop()
            if len(remaining) == 1:
                mosquitto.kill()
                mosquitto.start()

    async with connected(BrokerAddress.of(mosquitto.url), ANYONE, publish_all, tally) as task:
        await asyncio.wait_for(task, 10)
    assert not remaining
    assert tally.lost >= 1


async def test_the_status_of_a_device_is_retained_at_the_broker(mosquitto: Mosquitto) -> None:
    broker = BrokerAddress.of(mosquitto.url)
    async with connected(broker, ANYONE, publish_once, ConnectionTally()) as task:
        await task
    async with subscribed(mosquitto.url) as received:
        await eventually(lambda: received == [("status", "offline", True)])


async def test_a_cancelled_connect_leaves_no_socket_open() -> None:
    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        writer.close()

    accepted = asyncio.Event()
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    broker = BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1])
    async with server, connected(broker, ANYONE, publish_once, ConnectionTally()) as task:
        await accepted.wait()
    assert task.cancelled()


async def test_many_busy_devices_all_stop_when_cancelled(mosquitto: Mosquitto) -> None:
    async def publish_for_ever(connection: DeviceConnection) -> None:
        while True:
            await connection.send([READING])

    tally = ConnectionTally()
    connector = DeviceConnector(BrokerAddress.of(mosquitto.url), Random(1), tally)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        devices = [
            tasks.create_task(connector.run(Credentials(str(uuid4()), "unused"), publish_for_ever))
            for _ in range(150)
        ]
        await eventually(lambda: tally.connected == len(devices))
        for device in devices:
            device.cancel()
    assert all(device.cancelled() for device in devices)
    assert (tally.connected, tally.lost) == (0, 0)
