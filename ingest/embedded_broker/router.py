"""amqtt behind the listener: it knows who has subscribed to what, and hands messages on.

It listens nowhere. Each session of the listener is one of its own, connected at QoS 0 and without
a break, with packets that the listener makes; what an MQTT session owes to its client beyond that
is the listener's. Only amqtt's public interface is used: an external listener, adapters, and
`internal_message_broadcast`.

Topics are checked before, so amqtt has no topic plugin, and nothing is retained there: so it never
waits while it goes through all subscriptions, where it fails if somebody subscribes meanwhile.
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
# After so many messages goes one of ours, which comes back when those before it are routed.
_MARK_EVERY = 64
_OVERHEAD_BYTES = 1024  # a message's task takes as much beside its bytes
_MARK_TOPIC = "$router/mark"

Deliver = Callable[[str, bytes], None]

_log = structlog.get_logger()


class SignedInBefore(BaseAuthPlugin):
    """Lets everybody in: who gets here has signed in at the listener."""

    @dataclass
    class Config:
        pass

    async def authenticate(self, *, session: Session) -> bool:
        return True


class Router:
    """Messages in; each session gets those that it has subscribed to.

    `unrouted_bytes`: how much was taken and has yet to be handed on.
    """

    def __init__(self, broker: Broker, tasks: asyncio.TaskGroup) -> None:
        self._broker = broker
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        self._names = map(str, count(1))
        self.unrouted_bytes = self._unmarked_bytes = self._unmarked = 0
        self.open(self._on_mark).subscribe([_MARK_TOPIC], lambda: None)

    async def publish(self, topic: str, payload: bytes) -> None:
        """Take a message for every session that has subscribed to it."""
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
        """Begin a session, of which `deliver` gets the messages until it is closed."""
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
        # An end that amqtt reads before it has answered a ping, it would wait for in vain.
        self._is_serving = self._is_closed = False
        self._incoming.feed(
            codec.encode_connect(name, clean_session=True, keep_alive_s=0) + codec.PINGREQ_PACKET
        )

    def subscribe(self, filters: Sequence[str], done: Callable[[], None]) -> None:
        """Subscribe to filters that are allowed and well-formed; `done` is called once it has."""
        packet_id = self._await_answer(done)
        self._incoming.feed(codec.encode_subscribe(packet_id, [(f, 0) for f in filters]))

    def unsubscribe(self, filters: Sequence[str], done: Callable[[], None]) -> None:
        packet_id = self._await_answer(done)
        self._incoming.feed(codec.encode_unsubscribe(packet_id, filters))

    def close(self) -> None:
        """End it; nothing is delivered from now on."""
        self._is_closed = True
        if self._is_serving:
            self._incoming.feed_eof()

    async def run(self) -> None:
        """Serve until it is closed."""
        try:
            await self._broker.external_connected(self._incoming, _Outgoing(self._take), _LISTENER)
        except Exception:  # noqa: BLE001 - whatever it stumbles over ends one session only.
            _log.exception("mqtt_router_failed")

    def _await_answer(self, done: Callable[[], None]) -> int:
        self._packet_id = self._packet_id % _PACKET_ID_MAX + 1
        self._unanswered[self._packet_id] = done
        return self._packet_id

    def _take(self, packet: bytes) -> None:
        """Take a packet that amqtt has written."""
        match packets.kind_of(packet):
            case codec.PUBLISH if not self._is_closed:
                message = packets.publish_of(packet)
                self._deliver(message.topic, message.payload)
            case codec.SUBACK | codec.UNSUBACK:
                self._unanswered.pop(packets.answered_id(packet[:4]))()
            case codec.PINGRESP:
                self._is_serving = True
                if self._is_closed:
                    self._incoming.feed_eof()


class _Incoming(ReaderAdapter):
    """Packets that were handed in, as amqtt reads them."""

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
    """Where amqtt writes whole packets; it never has to wait for them to be taken."""

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
    """A router, as long as the block lasts."""
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
