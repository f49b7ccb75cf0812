"""The router of messages to subscribers: amqtt behind the listener.

amqtt opens no socket. Each session of the listener has a session in amqtt, which is always
connected, at QoS 0, with packets that the listener encodes. The listener does everything else that
an MQTT session guarantees. Only amqtt's public interface is used: an external listener, adapters,
and `internal_message_broadcast`.

The listener checks topics, so amqtt has no topic plugin, and it retains nothing. Therefore amqtt
never awaits while it iterates over subscriptions; it would fail if one were added meanwhile.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import structlog
from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from ingest.embedded_broker import client_packets as packets
from ingest.mqtt import codec

_LISTENER = "default"
_PACKET_ID_MAX = 65_535
# After this many messages the router sends a mark, which returns once they are all routed.
_MARK_EVERY = 64
# The memory of a message's task in amqtt, beside its bytes.
_OVERHEAD_BYTES = 1024
_MARK_TOPIC = "$router/mark"

Deliver = Callable[[str, bytes], None]

_log = structlog.get_logger()


class SignedInBefore(BaseAuthPlugin):
    """Accepts every session: the listener has authenticated its client before."""

    @dataclass
    class Config:
        pass

    async def authenticate(self, *, session: Session) -> bool:
        return True


class Router:
    """Routes each message to the sessions that have subscribed to its topic.

    `unrouted_bytes`: size of the messages that were accepted and not routed yet.
    """

    def __init__(self, broker: Broker, tasks: asyncio.TaskGroup) -> None:
        self._broker = broker
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        self._names = map(str, count(1))
        self.unrouted_bytes = self._unmarked_bytes = self._unmarked = 0
        self.open(self._on_mark).subscribe([_MARK_TOPIC], lambda: None)

    async def publish(self, topic: str, payload: bytes) -> None:
        """Accept a message for the sessions that have subscribed to its topic."""
        await self._broker.internal_message_broadcast(topic, payload)
        size_bytes = len(payload) + _OVERHEAD_BYTES
        self.unrouted_bytes += size_bytes
        self._unmarked_bytes += size_bytes
        self._unmarked += 1
        if self._unmarked == _MARK_EVERY:
            mark = b"%d" % self._unmarked_bytes
            self._unmarked_bytes = self._unmarked = 0
            await self._broker.internal_message_broadcast(_MARK_TOPIC, mark)

    def _on_mark(self, _: str, routed_bytes: bytes) -> None:
        self.unrouted_bytes -= int(routed_bytes)

    def open(self, deliver: Deliver) -> "RouterSession":
        """Open a session; `deliver` is called with its messages until it is closed."""
        session = RouterSession(self._broker, next(self._names), deliver)
        running = self._tasks.create_task(session.run())
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return session

    async def stop(self) -> None:
        """End all sessions."""
        await self._broker.shutdown()
        for running in self._running:
            running.cancel()


class RouterSession:
    """The subscriptions of one session."""

    def __init__(self, broker: Broker, name: str, deliver: Deliver) -> None:
        self._broker = broker
        self._deliver = deliver
        self._incoming = _Incoming()
        self._unanswered: dict[int, Callable[[], None]] = {}
        self._packet_id = 0
        # Set when amqtt has answered the first ping. If it read the end of the stream before that,
        # it would wait for ever.
        self._is_serving = self._is_closed = False
        self._incoming.feed(
            codec.encode_connect(name, clean_session=True, keep_alive_s=0) + codec.PINGREQ_PACKET
        )

    def subscribe(self, filters: Sequence[str], done: Callable[[], None]) -> None:
        """Subscribe to valid, allowed filters; `done` is called when amqtt has subscribed."""
        packet_id = self._await_answer(done)
        self._incoming.feed(codec.encode_subscribe(packet_id, [(f, 0) for f in filters]))

    def unsubscribe(self, filters: Sequence[str], done: Callable[[], None]) -> None:
        packet_id = self._await_answer(done)
        self._incoming.feed(codec.encode_unsubscribe(packet_id, filters))

    def close(self) -> None:
        """Close the session. Nothing is delivered from now on."""
        self._is_closed = True
        if self._is_serving:
            self._incoming.feed_eof()

    async def run(self) -> None:
        """Run the session in amqtt until it is closed."""
        try:
            await self._broker.external_connected(self._incoming, _Outgoing(self._take), _LISTENER)
        except Exception:  # noqa: BLE001 - a defect of amqtt must end one session only.
            _log.exception("mqtt_router_failed")

    def _await_answer(self, done: Callable[[], None]) -> int:
        self._packet_id = self._packet_id % _PACKET_ID_MAX + 1
        self._unanswered[self._packet_id] = done
        return self._packet_id

    def _take(self, packet: bytes) -> None:
        """Handle a packet that amqtt has written."""
        match packets.packet_type(packet):
            case codec.PUBLISH if not self._is_closed:
                message = packets.decode_publish(packet)
                self._deliver(message.topic, message.payload)
            case codec.SUBACK | codec.UNSUBACK:
                self._unanswered.pop(packets.decode_answer(packet[:4]))()
            case codec.PINGRESP:
                self._is_serving = True
                if self._is_closed:
                    self._incoming.feed_eof()


class _Incoming(ReaderAdapter):
    """A stream of packets for amqtt to read."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0
        self._is_ended = False
        self._more = asyncio.Event()

    def feed(self, packet: bytes) -> None:
        del self._data[: self._at]
        self._at = 0
        self._data += packet
        self._more.set()

    def feed_eof(self) -> None:
        self._is_ended = True
        self._more.set()

    async def read(self, n: int = -1) -> bytes:
        """Return n bytes, or fewer at the end."""
        while len(self._data) - self._at < n and not self._is_ended:
            self._more.clear()
            await self._more.wait()
        taken = bytes(self._data[self._at : self._at + n])
        self._at += len(taken)
        return taken


class _Outgoing(WriterAdapter):
    """A stream that hands every packet of amqtt to a function, so amqtt never waits to write."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def write(self, data: bytes) -> None:
        self._take(data)

    async def drain(self) -> None:
        pass

    def get_peer_info(self) -> tuple[str, int]:
        return "listener", 0

    def get_ssl_info(self) -> ssl.SSLObject | None:
        return None

    async def close(self) -> None:
        pass


@asynccontextmanager
async def running() -> AsyncIterator[Router]:
    """Run a router for the duration of the block."""
    broker = Broker(
        BrokerConfig(
            listeners={_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)},
            plugins={f"{SignedInBefore.__module__}.{SignedInBefore.__name__}": {}},
        )
    )
    await broker.start()
    async with asyncio.TaskGroup() as tasks:
        router = Router(broker, tasks)
        try:
            yield router
        finally:
            await router.stop()
