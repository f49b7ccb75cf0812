"""The connection to the broker: a persistent session that is read into batches."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from time import monotonic
from typing import Protocol

import aiomqtt
import structlog

from core.settings import IngestSettings
from ingest.broker import Broker
from ingest.dialects.firmwares import FILTERS
from ingest.inbox import Inbox
from ingest.messages import Message, decode
from ingest.metrics import IngestMetrics
from ingest.packets import Publication

TOPICS = ("solar/+/telemetry", "solar/+/status", *FILTERS)
QOS = 1
_REFUSED = 128
_RECONNECT_FIRST_S = 0.2
_RECONNECT_MAX_S = 10.0
_LASTED_S = 10.0
_PUBLISH_S = 1.0
_UNCONFIRMED_MAX = 100  # of what we publish

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
                await self._attend(self._subscribe, connected)
            except* aiomqtt.MqttError as errors:
                # Soon after it began, it may be another who uses our client id: fight slowly.
                if monotonic() - began_s > _LASTED_S:
                    wait_s = _RECONNECT_FIRST_S
                self._metrics.reconnects.inc()
                _log.warning("broker_lost", error=first(errors), retry_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _RECONNECT_MAX_S)

    async def inherit(self, connected: asyncio.Event) -> None:
        """Read what the broker keeps for an ingester that is gone; nothing new is dealt to it then.

        Raises a group of aiomqtt.MqttError when the connection is lost, as it is when that ingester
        returns.
        """
        await self._attend(self._unsubscribe, connected)

    async def _attend(
        self, ask: Callable[[aiomqtt.Client], Awaitable[None]], connected: asyncio.Event
    ) -> None:
        """Connect, and read while we ask and from then on: the answer is behind what is queued."""
        client = self._broker.client(
            self._client_id, clean_session=False, max_queued_outgoing_messages=_UNCONFIRMED_MAX
        )
        # Before the connection: a persistent session may deliver before anything else is said.
        inbox = Inbox(client)
        try:
            async with client, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(inbox))
                await ask(client)
                self._client = client
                connected.set()
        finally:
            self._client = None

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        granted = await client.subscribe([(topic, QOS) for topic in self._topics], timeout=inf)
        codes = [code if isinstance(code, int) else code.value for code in granted]
        if any(code >= _REFUSED for code in codes):
            raise aiomqtt.MqttError("the broker does not let us read what devices say")

    async def _unsubscribe(self, client: aiomqtt.Client) -> None:
        await client.unsubscribe(self._topics, timeout=inf)

    async def _read(self, inbox: Inbox) -> None:
        async for arrived in inbox.arrivals():
            while arrived:
                incoming = arrived.popleft()
                acknowledge = partial(
                    inbox.acknowledge, incoming.message_id, incoming.qos, incoming.size_bytes
                )
                message = _decode(incoming, acknowledge)
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


def first(errors: BaseExceptionGroup[BaseException]) -> str:
    """What the first of them says, however deep it is."""
    error = errors.exceptions[0]
    return first(error) if isinstance(error, BaseExceptionGroup) else str(error)


def _decode(incoming: Publication, acknowledge: Callable[[], None]) -> Message | None:
    """None: a retained copy, or a topic that we don't listen to."""
    if incoming.is_retained:
        return None
    try:
        topic = incoming.topic.decode()
    except UnicodeDecodeError:
        return None
    return decode(
        topic, incoming.payload, received_at=incoming.received_at, acknowledge=acknowledge
    )
