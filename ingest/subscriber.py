"""The reader of one persistent session at the broker: it puts messages into the batcher."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Protocol

import structlog

from core.clock import REAL_TIME, Clock
from core.exceptions import root_cause
from core.retry import Backoff
from core.settings import IngestSettings
from ingest.broker import BrokerEndpoint
from ingest.dialects.firmwares import FILTERS
from ingest.messages import IngestMessage, decode
from ingest.metrics import IngestMetrics
from ingest.mqtt.codec import SUBSCRIPTION_REFUSED, ReceivedPublish
from ingest.mqtt.connection import MqttConnection, MqttError
from ingest.mqtt.receive_buffer import ReceiveBuffer
from ingest.shares import Share, ShareBuffer

TOPIC_FILTERS = ("solar/+/telemetry", "solar/+/status", *FILTERS)
QOS = 1
_RECONNECT_FIRST_S = 0.2
_RECONNECT_MAX_S = 10.0
# A connection that lasted so long resets the wait. One that ends sooner may have been ended by
# another client with our client id: the two must not end each other's in a tight loop.
_LASTED_S = 10.0
_PUBLISH_WITHIN_S = 1.0
# A session that gets no new messages is read to its end once nothing arrived for so long.
_EXHAUSTED_AFTER_S = 5.0

_log = structlog.get_logger()


class MessageQueue(Protocol):
    """A queue of messages; `put` waits while it is full."""

    async def put(self, message: IngestMessage, /) -> None: ...


@dataclass(frozen=True, slots=True)
class MqttSession:
    """A persistent session at the broker; with a `share`, it stores messages of that share only."""

    client_id: str
    filters: tuple[str, ...] = TOPIC_FILTERS
    share: Share | None = None


def shared_filters(group: str) -> tuple[str, ...]:
    """Return the filters of a shared subscription: each message goes to one member of a group."""
    return tuple(f"$share/{group}/{topic}" for topic in TOPIC_FILTERS)


def own_session(settings: IngestSettings) -> MqttSession:
    """Return the session of an ingester that is alone, or shares a subscription."""
    group = settings.ingest_group
    filters = shared_filters(group) if group else TOPIC_FILTERS
    return MqttSession(settings.ingest_client_id, filters)


async def _at_once() -> None:
    return


class Subscriber:
    """Reads a session into the queue, over one connection after the other."""

    def __init__(
        self,
        settings: IngestSettings,
        queue: MessageQueue,
        metrics: IngestMetrics,
        session: MqttSession | None = None,
        clock: Clock = REAL_TIME,
    ) -> None:
        self._broker = BrokerEndpoint.of(settings)
        self._session = session or own_session(settings)
        self._queue = queue
        self._metrics = metrics
        self._clock = clock
        self._connection: MqttConnection | None = None
        self._is_unsubscribed = False

    async def run(
        self,
        connected: asyncio.Event,
        may_reconnect: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        """Stay connected until cancelled; `connected` is set once subscribed.

        `may_reconnect` is awaited before each connection but the first.
        """
        backoff = Backoff(_RECONNECT_FIRST_S, _RECONNECT_MAX_S)
        while True:
            began_s = monotonic()
            try:
                await self._read_session(self._subscribe, connected)
            except* MqttError as errors:
                if monotonic() - began_s > _LASTED_S:
                    backoff.reset()
                self._metrics.reconnects.inc()
                _log.warning(
                    "broker_lost", error=str(root_cause(errors)), retry_in_s=backoff.delay_s
                )
            await asyncio.sleep(backoff.next_s())
            await may_reconnect()

    async def subscribe_only(self) -> None:
        """Make the broker queue messages for the session, without reading any. Raises MqttError."""
        # The answer to SUBSCRIBE comes after messages that are queued already: they are dropped
        # here, and sent again to whoever reads the session.
        buffer = ReceiveBuffer()
        buffer.close()
        async with self._connect(buffer) as connection:
            await self._subscribe(connection)

    async def read_remaining(self, connected: asyncio.Event) -> None:
        """Unsubscribe, and read what the broker has queued for the session until cancelled.

        Raises a group of MqttError when the connection is lost, as when another client connects
        with the same client id.
        """
        await self._read_session(self._unsubscribe, connected)

    def is_exhausted(self) -> bool:
        """Return True once the session gets no new messages and all queued ones are committed.

        The broker does not announce the last one: this is so when nothing arrived for a while.
        """
        connection = self._connection
        if connection is None or not self._is_unsubscribed:
            return False
        return connection.quiet_s > _EXHAUSTED_AFTER_S

    async def finish(self) -> None:
        """Accept no more messages, and wait until all accepted ones are committed.

        Raises MqttError.
        """
        if self._connection is not None:
            await self._connection.finish()

    async def publish(self, topic: str, payload: str, qos: int = QOS) -> None:
        """Publish if connected. A failure is logged: no message to a device is guaranteed."""
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(_PUBLISH_WITHIN_S):
                await self._connection.publish(topic, payload, qos)
        except (MqttError, TimeoutError) as error:
            _log.warning("not_published", topic=topic, error=repr(error))

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def _read_session(
        self, prepare: Callable[[MqttConnection], Awaitable[None]], connected: asyncio.Event
    ) -> None:
        share = self._session.share
        buffer = ReceiveBuffer() if share is None else ShareBuffer(share)
        try:
            async with self._connect(buffer) as connection, asyncio.TaskGroup() as tasks:
                # It reads from the start: the answer to `prepare` comes after all that is queued.
                tasks.create_task(self._read(connection))
                await prepare(connection)
                self._connection = connection
                connected.set()
        finally:
            self._connection = None

    def _connect(self, buffer: ReceiveBuffer) -> AbstractAsyncContextManager[MqttConnection]:
        return self._broker.connect(self._session.client_id, clean_session=False, buffer=buffer)

    async def _subscribe(self, connection: MqttConnection) -> None:
        self._is_unsubscribed = False
        codes = await connection.subscribe([(topic, QOS) for topic in self._session.filters])
        if any(code >= SUBSCRIPTION_REFUSED for code in codes):
            raise MqttError("the broker does not allow the hub to read the devices' topics")

    async def _unsubscribe(self, connection: MqttConnection) -> None:
        await connection.unsubscribe(self._session.filters)
        self._is_unsubscribed = True

    async def _read(self, connection: MqttConnection) -> None:
        async for received in connection.messages():
            # Not the message itself: its payload would be held until the commit.
            acknowledge = partial(connection.acknowledge, received.packet_id, received.size_bytes)
            message = _decode(received, acknowledge, self._clock)
            if message is None:
                self._metrics.ignored.inc()
                acknowledge()
            else:
                await self._queue.put(message)


def _decode(
    received: ReceivedPublish, acknowledge: Callable[[], None], clock: Clock
) -> IngestMessage | None:
    """Return None for a retained message, and for a topic that the hub does not read."""
    if received.is_retained:
        return None
    try:
        topic = received.topic.decode()
    except UnicodeDecodeError:
        return None
    received_at = clock.at(received.received_at)
    return decode(topic, received.payload, received_at=received_at, acknowledge=acknowledge)
