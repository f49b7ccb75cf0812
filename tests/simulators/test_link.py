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
from simulators.hub_addresses import BrokerAddress
from simulators.link import Credentials, Line, Links, LinkTally, Speech
from tests import conftest
from tests.support import people
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

READING = Reading(time=datetime(2026, 3, 1, tzinfo=UTC), energy_wh=1000.0)
ANYONE = Credentials(str(uuid4()), "unused")


@asynccontextmanager
async def overhearing(url: str) -> AsyncIterator[list[tuple[str, str, bool]]]:
    """All that devices say: the last word of the topic, the payload, whether it was kept."""
    heard: list[tuple[str, str, bool]] = []

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            word = message.topic.value.rsplit("/", 1)[1]
            heard.append((word, message.payload.decode(), message.retain))

    broker = BrokerAddress.of(url)
    user, _, password = url.removeprefix("mqtt://").partition("@")[0].partition(":")
    async with (
        aiomqtt.Client(broker.host, broker.port, username=user, password=password) as client,
        asyncio.TaskGroup() as tasks,
    ):
        await client.subscribe("solar/#", qos=1)
        listening = tasks.create_task(listen(client))
        yield heard
        listening.cancel()


@asynccontextmanager
async def linked(
    broker: BrokerAddress, device: Credentials, speak: Speech, tally: LinkTally
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(Links(broker, Random(1), tally).run(device, speak))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def once(line: Line) -> None:
    await line.send([READING])


async def forever(line: Line) -> None:
    await line.send([READING])
    await asyncio.Event().wait()


def said(heard: list[tuple[str, str, bool]]) -> list[str]:
    return [
        json.loads(what)["energy_wh"] if word == "telemetry" else what for word, what, _ in heard
    ]


async def test_a_device_says_hello_measures_and_says_goodbye(
    pool: Pool, broker: conftest.Broker
) -> None:
    device_id = await people.add_device(pool, await people.add_user(pool, "host"))
    device = Credentials(str(device_id), people.DEVICE_PASSWORD)
    tally = LinkTally()
    async with overhearing(broker.url) as heard:
        async with linked(BrokerAddress.of(broker.url), device, once, tally) as task:
            await task
        await eventually(lambda: said(heard) == ["online", 1000.0, "offline"])
    assert (tally.connected, tally.lost) == (0, 0)


async def test_a_device_that_is_cancelled_says_goodbye_too(
    pool: Pool, broker: conftest.Broker
) -> None:
    device_id = await people.add_device(pool, await people.add_user(pool, "host"))
    device = Credentials(str(device_id), people.DEVICE_PASSWORD)
    async with overhearing(broker.url) as heard:
        async with linked(BrokerAddress.of(broker.url), device, forever, LinkTally()):
            await eventually(lambda: said(heard) == ["online", 1000.0])
        await eventually(lambda: said(heard) == ["online", 1000.0, "offline"])


async def test_a_device_with_a_wrong_password_tries_again_and_says_why(
    pool: Pool, broker: conftest.Broker
) -> None:
    device_id = await people.add_device(pool, await people.add_user(pool, "host"))
    tally = LinkTally()
    device = Credentials(str(device_id), "wrong")
    async with linked(BrokerAddress.of(broker.url), device, once, tally):
        await eventually(lambda: tally.lost >= 2)
    assert tally.connected == 0
    assert tally.last_error


async def test_a_device_that_hangs_up_without_a_word_is_told_of_by_its_last_will(
    mosquitto: Mosquitto,
) -> None:
    async def hang_up(line: Line) -> None:
        line.client._client.socket().close()  # type: ignore[union-attr]
        await asyncio.Event().wait()

    async with (
        overhearing(mosquitto.url) as heard,
        linked(BrokerAddress.of(mosquitto.url), ANYONE, hang_up, LinkTally()),
    ):
        await eventually(lambda: said(heard)[:2] == ["online", "offline"])


async def test_a_device_comes_back_when_its_broker_does_and_sends_what_is_left(
    mosquitto: Mosquitto,
) -> None:
    left, tally = [READING, READING], LinkTally()

    async def send_all(line: Line) -> None:
        while left:
            await line.send(left[:1])
            left.pop()
            if len(left) == 1:
                mosquitto.kill()
                mosquitto.start()

    async with linked(BrokerAddress.of(mosquitto.url), ANYONE, send_all, tally) as task:
        await asyncio.wait_for(task, 10)
    assert not left
    assert tally.lost >= 1


async def test_what_a_device_is_stays_known_at_the_broker(mosquitto: Mosquitto) -> None:
    async with linked(BrokerAddress.of(mosquitto.url), ANYONE, once, LinkTally()) as task:
        await task
    async with overhearing(mosquitto.url) as heard:
        await eventually(lambda: heard == [("status", "offline", True)])


async def test_cancelling_a_connect_leaves_nothing_open() -> None:
    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        writer.close()

    accepted = asyncio.Event()
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, linked(BrokerAddress("127.0.0.1", port), ANYONE, once, LinkTally()) as task:
        await accepted.wait()
    assert task.cancelled()


async def test_many_devices_that_are_busy_all_stop_at_once(mosquitto: Mosquitto) -> None:
    async def chatter(line: Line) -> None:
        while True:
            await line.send([READING])

    tally = LinkTally()
    links = Links(BrokerAddress.of(mosquitto.url), Random(1), tally)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        devices = [
            tasks.create_task(links.run(Credentials(str(uuid4()), "unused"), chatter))
            for _ in range(150)
        ]
        await eventually(lambda: tally.connected == len(devices))
        for device in devices:
            device.cancel()
    assert all(device.cancelled() for device in devices)
    assert (tally.connected, tally.lost) == (0, 0)
