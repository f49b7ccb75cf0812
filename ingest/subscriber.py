"""The connection to the broker: a persistent session that is read into batches."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from math import inf
from time import monotonic
from typing import Protocol

import aiomqtt
import structlog
from paho.mqtt.client import MQTTMessage

from core.settings import IngestSettings
from ingest.broker import Broker
from ingest.dialects.firmwares import FILTERS
from ingest.inbox import Inbox
from ingest.messages import Message, decode
from ingest.metrics import IngestMetrics

TOPICS = ("solar/+/telemetry", "solar/+/status", *FILTERS)
QOS = 1
_REFUSED = 128
_RECONNECT_FIRST_S = 0.2
_RECONNECT_MAX_S = 10.0
_LASTED_S = 10.0
_PUBLISH_S = 1.0

_log = structlog.get_logger()


class Sink(Protocol):
    """Where messages go; `put` waits while they can't be taken."""

    async def put(self, message: Message, /) -> None: ...


class Subscriber:
    """Reads messages into the batcher; `publish` answers devices while connected."""

    def __init__(self, settings: IngestSettings, batcher: Sink, metrics: IngestMetrics) -> None:
        self._broker = Broker.of(settings)
        self._client_id = settings.ingest_client_id
        group = settings.ingest_group
        self._topics = [f"$share/{group}/{t}" if group else t for t in TOPICS]
        self._batcher = batcher
        self._metrics = metrics
        self._client: aiomqtt.Client | None = None

    async def run(self, connected: asyncio.Event) -> None:
        """Stay connected until cancelled; `connected` is set once subscribed."""
        wait_s = _RECONNECT_FIRST_S
        while True:
            began_s = monotonic()
            try:
                async with self._session() as inbox:
                    connected.set()
                    await self._read(inbox)
            except aiomqtt.MqttError as error:
                # Soon after it began, it may be another who uses our client id: fight slowly.
                if monotonic() - began_s > _LASTED_S:
                    wait_s = _RECONNECT_FIRST_S
                self._metrics.reconnects.inc()
                _log.warning("broker_lost", error=str(error), retry_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _RECONNECT_MAX_S)

    async def inherit(self, connected: asyncio.Event) -> None:
        """Read what the broker keeps for an ingester that is gone; nothing new is dealt to it then.

        Raises aiomqtt.MqttError when the connection is lost, as it is when that ingester returns.
        """
        async with self._connection() as inbox:
            await inbox.client.unsubscribe(self._topics)
            connected.set()
            await self._read(inbox)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Inbox]:
        async with self._connection() as inbox:
            granted = await inbox.client.subscribe([(topic, QOS) for topic in self._topics])
            codes = [code if isinstance(code, int) else code.value for code in granted]
            if any(code >= _REFUSED for code in codes):
                raise aiomqtt.MqttError("the broker does not let us read what devices say")
            self._client = inbox.client
            try:
                yield inbox
            finally:
                self._client = None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Inbox]:
        client = self._broker.client(self._client_id, clean_session=False)
        # Before the connection: a persistent session may deliver before anything else is said.
        inbox = Inbox(client)
        async with client:
            yield inbox

    async def _read(self, inbox: Inbox) -> None:
        async for burst in inbox.bursts():
            received_at = datetime.now(UTC)
            for incoming in burst:
                acknowledge = partial(inbox.acknowledge, incoming.mid, incoming.qos)
                message = _decode(incoming, received_at, acknowledge)
                if message is None:
                    self._metrics.ignored.inc()
                    acknowledge()
                    continue
                await self._batcher.put(message)

    async def publish(self, topic: str, payload: str, qos: int = QOS) -> None:
        """Publish if connected; what a device is told is a courtesy, not a record."""
        if self._client is None:
            return
        try:
            # Not aiomqtt's own timeout: its wait_for can swallow our cancellation.
            async with asyncio.timeout(_PUBLISH_S):
                await self._client.publish(topic, payload, qos=qos, timeout=inf)
        except (aiomqtt.MqttError, TimeoutError) as error:
            _log.warning("answer_not_published", topic=topic, error=repr(error))


def _decode(
    incoming: MQTTMessage, received_at: datetime, acknowledge: Callable[[], None]
) -> Message | None:
    """None: a retained copy, or a topic that we don't listen to."""
    if incoming.retain or not isinstance(incoming.payload, bytes):
        return None
    try:
        topic = incoming.topic
    except UnicodeDecodeError:
        return None
    return decode(topic, incoming.payload, received_at=received_at, acknowledge=acknowledge)
