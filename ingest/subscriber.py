"""The connection to the broker: a persistent session that is read into batches."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from sys import maxsize
from time import monotonic
from typing import Protocol

import aiomqtt
import structlog

from core.settings import IngestSettings
from ingest.broker import BrokerEndpoint, connection
from ingest.dialects.firmwares import FILTERS
from ingest.messages import IngestMessage, decode
from ingest.metrics import IngestMetrics
from ingest.packets import ReceivedPublish
from ingest.receive_buffer import ReceiveBuffer
from ingest.share_inbox import ShareInbox
from ingest.shares import Share

TOPICS = ("solar/+/telemetry", "solar/+/status", *FILTERS)
QOS = 1
_REFUSED = 128
_RECONNECT_FIRST_S = 0.2
_RECONNECT_MAX_S = 10.0
_LASTED_S = 10.0
_PUBLISH_S = 1.0
_NOTHING_CAME_S = 5.0
_NOTHING = "solar/nothing"  # which nobody subscribes to
_UNCONFIRMED_MAX = 100  # of what we publish

_log = structlog.get_logger()


class Sink(Protocol):
    """Where messages go; `put` waits while they can't be taken."""

    async def put(self, message: IngestMessage, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Session:
    """A persistent session at the broker. With a `share`, only that of what comes is stored."""

    client_id: str
    filters: tuple[str, ...] = TOPICS
    share: Share | None = None


def shared(group: str) -> tuple[str, ...]:
    """What the members of a group subscribe to, for a broker that deals each message to one."""
    return tuple(f"$share/{group}/{topic}" for topic in TOPICS)


def own_session(settings: IngestSettings) -> Session:
    """That of an ingester which is alone, or shares a subscription."""
    group = settings.ingest_group
    return Session(settings.ingest_client_id, shared(group) if group else TOPICS)


async def _at_once() -> None:
    return


class Subscriber:
    """Reads messages into the batcher; `publish` answers devices while connected."""

    def __init__(
        self,
        settings: IngestSettings,
        batcher: Sink,
        metrics: IngestMetrics,
        session: Session | None = None,
    ) -> None:
        self._broker = BrokerEndpoint.of(settings)
        self._session = session or own_session(settings)
        self._batcher = batcher
        self._metrics = metrics
        self._client: aiomqtt.Client | None = None
        self._inbox: ReceiveBuffer | None = None
        self._is_unsubscribed = False

    async def run(
        self,
        connected: asyncio.Event,
        may_return: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        """Stay connected until cancelled; `connected` is set once subscribed.

        `may_return` is awaited before each connection but the first.
        """
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
            await may_return()

    async def subscribe_only(self) -> None:
        """Have the broker keep what the session is to read. Raises aiomqtt.MqttError."""
        client = self._make_client()
        ReceiveBuffer(
            client, held_max_bytes=maxsize
        )  # which acknowledges nothing of what comes meanwhile
        async with connection(client):
            await self._subscribe(client)

    async def read_what_is_left(self, connected: asyncio.Event) -> None:
        """Read what the broker keeps for the session, which it adds nothing to.

        Raises a group of aiomqtt.MqttError when the connection is lost, as it is when somebody else
        connects under the session's name.
        """
        await self._attend(self._unsubscribe, connected)

    def is_exhausted(self) -> bool:
        """Whether the broker adds nothing, and all that it kept is committed, as far as one sees:
        nothing has come for a while."""
        inbox = self._inbox
        return self._is_unsubscribed and inbox is not None and inbox.quiet_s > _NOTHING_CAME_S

    async def finish(self) -> None:
        """Take nothing more, and wait until the broker knows that all that came is committed.

        Of a session with a share. Raises aiomqtt.MqttError.
        """
        if self._client is not None and isinstance(self._inbox, ShareInbox):
            await self._inbox.finish()
            # It answers in turn; a connection that is closed sooner takes what we said with it.
            await self._client.unsubscribe(_NOTHING, timeout=inf)

    async def _attend(
        self, ask: Callable[[aiomqtt.Client], Awaitable[None]], connected: asyncio.Event
    ) -> None:
        """Connect, and read while we ask and from then on: the answer is behind what is queued."""
        client = self._make_client()
        # Before the connection: a persistent session may deliver before anything else is said.
        share = self._session.share
        inbox = ReceiveBuffer(client) if share is None else ShareInbox(client, share)
        try:
            async with connection(client), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(inbox))
                await ask(client)
                self._client, self._inbox = client, inbox
                connected.set()
        finally:
            self._client = self._inbox = None

    def _make_client(self) -> aiomqtt.Client:
        return self._broker.client(
            self._session.client_id,
            clean_session=False,
            max_queued_outgoing_messages=_UNCONFIRMED_MAX,
        )

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        self._is_unsubscribed = False
        wanted = [(topic, QOS) for topic in self._session.filters]
        granted = await client.subscribe(wanted, timeout=inf)
        codes = [code if isinstance(code, int) else code.value for code in granted]
        if any(code >= _REFUSED for code in codes):
            raise aiomqtt.MqttError("the broker does not let us read what devices say")

    async def _unsubscribe(self, client: aiomqtt.Client) -> None:
        await client.unsubscribe(list(self._session.filters), timeout=inf)
        self._is_unsubscribed = True

    async def _read(self, inbox: ReceiveBuffer) -> None:
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

    @property
    def is_connected(self) -> bool:
        return self._client is not None

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


def _decode(incoming: ReceivedPublish, acknowledge: Callable[[], None]) -> IngestMessage | None:
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
