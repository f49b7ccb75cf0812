"""A subscriber with a slow writer, with brokers that refuse or fall silent, and cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry

from core.settings import IngestSettings
from ingest.broker import BrokerEndpoint
from ingest.messages import IngestMessage
from ingest.metrics import IngestMetrics
from ingest.mqtt.codec import CONNECT, SUBACK, SUBSCRIBE, SUBSCRIPTION_REFUSED, body_at
from ingest.mqtt.connection import MqttError
from ingest.mqtt.receive_buffer import HELD_MAX_BYTES
from ingest.subscriber import Subscriber
from tests.support.mosquitto import Mosquitto
from tests.support.mqtt_peers import ACCEPTED, scripted_broker
from tests.support.raw_mqtt import packet
from tests.support.waiting import eventually

PADDING_BYTES = 100_000
MESSAGES = 2 * HELD_MAX_BYTES // PADDING_BYTES


class Writer:
    """A queue that acknowledges no message before `commit`."""

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


@pytest.mark.parametrize("answer", [b"", ACCEPTED], ids=["connecting", "subscribing"])
async def test_cancelling_while_it_connects_or_subscribes_ends_it(answer: bytes) -> None:
    async with scripted_broker(lambda one: answer if one[0] == CONNECT else b"") as peer:
        settings = IngestSettings(mqtt_url=f"mqtt://127.0.0.1:{peer.endpoint.port}")
        subscriber = Subscriber(settings, Writer(), IngestMetrics(CollectorRegistry()))
        task = asyncio.create_task(subscriber.run(asyncio.Event()))
        await eventually(lambda: len(peer.packets) == (2 if answer else 1))
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()
        await eventually(lambda: peer.connections_open == 0)


async def test_the_answer_to_a_cancelled_subscription_is_no_error(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    broker = BrokerEndpoint.of(IngestSettings(mqtt_url=mosquitto.url))
    async with broker.connect("solarhub", clean_session=True) as connection:
        subscribing = asyncio.create_task(connection.subscribe([("solar/+/status", 1)]))
        await asyncio.sleep(0)
        subscribing.cancel()
        await asyncio.wait([subscribing])
        assert subscribing.cancelled()
        # The answer to this one comes after the other.
        await connection.subscribe([("solar/+/telemetry", 1)])
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_refused_filter_is_an_error() -> None:
    def reply(one: bytes) -> bytes | None:
        packet_id = one[body_at(one) :][:2]
        suback = packet(SUBACK, packet_id + bytes([1, SUBSCRIPTION_REFUSED]))
        return {CONNECT: ACCEPTED, SUBSCRIBE: suback}.get(one[0])

    async with scripted_broker(reply) as peer:
        settings = IngestSettings(mqtt_url=f"mqtt://127.0.0.1:{peer.endpoint.port}")
        subscriber = Subscriber(settings, Writer(), IngestMetrics(CollectorRegistry()))
        with pytest.raises(MqttError, match="does not allow the hub to read"):
            await subscriber.subscribe_only()


async def test_reconnecting_to_more_than_the_limit_pauses_and_continues(
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
        # The answer of the broker comes after all queued messages.
        assert not connected.is_set()
        writer.commit()
        await eventually(lambda: len(writer.taken) >= MESSAGES)
        await eventually(connected.is_set)
    counted = [reading.energy_wh for m in writer.taken for reading in m.decoded.readings]
    assert counted == list(range(MESSAGES))
