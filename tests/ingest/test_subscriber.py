"""A subscriber whose batches are not committed for a while, at a Mosquitto that has much for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry

from core.settings import IngestSettings
from ingest.broker import BrokerEndpoint, connection
from ingest.messages import IngestMessage
from ingest.metrics import IngestMetrics
from ingest.receive_buffer import HELD_MAX_BYTES
from ingest.subscriber import Subscriber
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

PADDING_BYTES = 100_000
MESSAGES = 2 * HELD_MAX_BYTES // PADDING_BYTES


class Writer:
    """Takes whatever comes, and commits nothing before it may."""

    def __init__(self) -> None:
        self.taken: list[IngestMessage] = []
        self._may_commit = False

    async def put(self, message: IngestMessage) -> None:
        self.taken.append(message)
        if self._may_commit:
            message.acknowledge()

    def commit(self) -> None:
        self._may_commit = True
        for message in self.taken:
            message.acknowledge()


@asynccontextmanager
async def subscribed(mosquitto: Mosquitto, writer: Writer) -> AsyncIterator[asyncio.Event]:
    connected = asyncio.Event()
    settings = IngestSettings(mqtt_url=mosquitto.url)
    subscriber = Subscriber(settings, writer, IngestMetrics(CollectorRegistry()))
    task = asyncio.create_task(subscriber.run(connected))
    try:
        yield connected
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


class Swallowing(aiomqtt.Client):
    """Connects, and swallows a cancellation that comes at that moment, as wait_for may."""

    async def __aenter__(self) -> Self:
        client = await super().__aenter__()
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return client


async def test_one_that_is_cancelled_while_it_connects_ends_all_the_same(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiomqtt, "Client", Swallowing)
    settings = IngestSettings(mqtt_url=mosquitto.url)
    subscriber = Subscriber(settings, Writer(), IngestMetrics(CollectorRegistry()))
    task = asyncio.create_task(subscriber.run(asyncio.Event()))
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()


async def test_an_answer_to_a_call_that_was_cancelled_is_no_error(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    broker = BrokerEndpoint.of(IngestSettings(mqtt_url=mosquitto.url))
    client = broker.client("solarhub", clean_session=True)
    async with connection(client):
        subscribing = asyncio.create_task(client.subscribe("solar/+/status"))
        await asyncio.sleep(0)
        subscribing.cancel()
        await asyncio.wait([subscribing])
        assert subscribing.cancelled()
        await client.subscribe("solar/+/telemetry")  # whose answer comes after the other
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_one_that_returns_to_more_than_it_may_hold_waits_and_goes_on(
    mosquitto: Mosquitto,
) -> None:
    async with subscribed(mosquitto, Writer()) as connected, asyncio.timeout(10):
        await connected.wait()
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for n in range(MESSAGES):
            payload = f'{{"energy_wh": {n}, "note": "{"x" * PADDING_BYTES}"}}'
            await client.publish("solar/a/telemetry", payload, qos=1)
    writer = Writer()
    async with subscribed(mosquitto, writer) as connected:
        held = HELD_MAX_BYTES // (PADDING_BYTES + 2_000)
        await eventually(lambda: len(writer.taken) >= held)
        assert len(writer.taken) < MESSAGES
        # The broker's answer is behind all that it has for us.
        assert not connected.is_set()
        writer.commit()
        await eventually(lambda: len(writer.taken) >= MESSAGES)
        await eventually(connected.is_set)
    counted = [reading.energy_wh for m in writer.taken for reading in m.decoded.readings]
    assert counted == list(range(MESSAGES))
