"""The handler of a signed-in client's packets: it checks permissions and limits, and answers."""

from collections.abc import Callable, Iterator, Sequence

from ingest.embedded_broker import client_packets as packets
from ingest.embedded_broker.access import BrokerUser
from ingest.embedded_broker.client_packets import Publish, Subscribe, Unsubscribe, Will
from ingest.embedded_broker.limits import BrokerLimits
from ingest.embedded_broker.retained import RetainedMessage, RetainedMessages
from ingest.embedded_broker.router import Router, RouterSession
from ingest.embedded_broker.sessions import BrokerSession
from ingest.mqtt import codec
from ingest.mqtt.codec import MalformedPacketError

_QOS_2 = 2
# QoS 2 is granted to no subscriber: the hub counts a reading once even if it arrives twice.
_GRANTED_QOS_MAX = 1


class LimitExceededError(Exception):
    """A client asks for more than its limits allow. Its connection ends."""


class PacketHandler:
    """Handles the packets of one connection. `send` writes to the client, `end` closes.

    Packets are handled one after another. Answers to SUBSCRIBE and UNSUBSCRIBE come later, when the
    router has changed the subscriptions.
    """

    def __init__(
        self, user: BrokerUser, session: BrokerSession, router: Router, retained: RetainedMessages,
        limits: BrokerLimits, *, send: Callable[[bytes], None], end: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.is_disconnected = False
        self._user = user
        self._session = session
        self._router = router
        self._retained = retained
        self._limits = limits
        self._send = send
        self._end = end
        # Packet ids of SUBSCRIBE and UNSUBSCRIBE packets that are not answered yet.
        self._unanswered: set[int] = set()

    def begin(self, *, resumes: bool) -> None:
        """Answer the CONNECT, and send the messages that wait for the session."""
        self._send(packets.encode_connack(packets.ACCEPTED, session_present=resumes))
        self._session.send_to_client = self._deliver
        self._send_all(self._session.outbox.resume())

    async def handle(self, packet: bytes) -> None:
        """Handle a packet of the client. Raises MalformedPacketError, LimitExceededError."""
        match packets.packet_type(packet):
            case codec.PUBLISH:
                await self._on_publish(packets.decode_publish(packet))
            case codec.PUBACK:
                self._send_all(self._session.outbox.acknowledge(packets.decode_answer(packet)))
            case codec.PUBREL:
                self._on_release(packets.decode_answer(packet))
            case codec.SUBSCRIBE:
                self._on_subscribe(packets.decode_subscribe(packet))
            case codec.UNSUBSCRIBE:
                self._on_unsubscribe(packets.decode_unsubscribe(packet))
            case codec.PINGREQ:
                packets.check_empty(packet)
                self._send(codec.PINGRESP_PACKET)
            case codec.DISCONNECT:
                packets.check_empty(packet)
                self.is_disconnected = True
            case _:
                raise MalformedPacketError("a packet that a client must not send")

    async def publish_will(self, will: Will) -> None:
        """Publish a will as if the client published it now."""
        await self._publish(Publish(will.topic, will.payload, will.qos, 0, will.retain))

    async def _on_publish(self, message: Publish) -> None:
        if message.qos < _QOS_2:
            await self._publish(message)
            if message.qos:
                self._send(packets.encode_answer(codec.PUBACK, message.packet_id))
            return
        received = self._session.received
        if message.packet_id not in received:
            if len(received) >= self._limits.received_max:
                raise LimitExceededError("too many messages at QoS 2 that are not released")
            received.add(message.packet_id)
            await self._publish(message)
        self._send(packets.encode_answer(codec.PUBREC, message.packet_id))

    async def _publish(self, message: Publish) -> None:
        """Publish a message, or drop it if its topic is not allowed (3.3.5)."""
        topic, payload = message.topic, message.payload
        if not self._user.may_publish(topic):
            return
        if message.retain:
            self._retained.keep(RetainedMessage(topic, payload, message.qos, self._user.username))
        await self._router.publish(topic, payload)

    def _on_release(self, packet_id: int) -> None:
        self._session.received.discard(packet_id)
        self._send(packets.encode_answer(codec.PUBCOMP, packet_id))

    def _on_subscribe(self, request: Subscribe) -> None:
        if len(request.filters) > self._limits.filters_per_request_max:
            raise LimitExceededError("too many filters in a request")
        granted = [self._granted_qos(name, qos) for name, qos in request.filters]
        asked = zip(request.filters, granted, strict=True)
        names = [*{name: 0 for (name, _), qos in asked if qos != packets.REFUSED_FILTER}]
        answer = packets.encode_suback(request.packet_id, granted)
        if names:
            self._await_answer(request.packet_id)
            self._routes.subscribe(names, lambda: self._on_subscribed(request, names, answer))
        else:
            self._send(answer)

    def _granted_qos(self, name: str, qos: int) -> int:
        """Return the granted QoS of a filter, or REFUSED_FILTER."""
        subscriptions = self._session.subscriptions
        if not packets.is_filter(name) or not self._user.may_read(name):
            return packets.REFUSED_FILTER
        is_short = len(name) <= self._limits.filter_max_bytes
        has_room = len(subscriptions) < self._limits.filters_per_session_max
        if not self._user.is_hub and not (is_short and (has_room or name in subscriptions)):
            return packets.REFUSED_FILTER
        subscriptions[name] = min(qos, _GRANTED_QOS_MAX)
        return subscriptions[name]

    def _on_subscribed(self, request: Subscribe, names: Sequence[str], answer: bytes) -> None:
        self._unanswered.discard(request.packet_id)
        self._send(answer)
        if self._session.send_to_client != self._deliver:
            return  # The session has another connection by now, or none.
        self._session.has_subscribed = True
        for name in names:
            granted_qos = self._session.subscriptions.get(name, 0)
            for retained in self._retained.matching(name):
                qos = min(retained.qos, granted_qos)
                self._deliver(Publish(retained.topic, retained.payload, qos, 0, retain=True))

    def _on_unsubscribe(self, request: Unsubscribe) -> None:
        self._await_answer(request.packet_id)
        for name in request.filters:
            self._session.subscriptions.pop(name, None)
        self._routes.unsubscribe(request.filters, lambda: self._on_unsubscribed(request.packet_id))

    def _on_unsubscribed(self, packet_id: int) -> None:
        self._unanswered.discard(packet_id)
        self._send(packets.encode_answer(codec.UNSUBACK, packet_id))

    @property
    def _routes(self) -> RouterSession:
        assert self._session.routes is not None
        return self._session.routes

    def _await_answer(self, packet_id: int) -> None:
        if packet_id in self._unanswered:
            raise MalformedPacketError("a packet id that is in use")
        if len(self._unanswered) >= self._limits.unanswered_max:
            raise LimitExceededError("too many requests that are not answered yet")
        self._unanswered.add(packet_id)

    def _deliver(self, message: Publish) -> None:
        outbox = self._session.outbox
        if not message.qos:
            self._send(packets.encode_publish(message))
        elif self._user.is_hub or len(outbox) < self._limits.waiting_messages_max:
            self._send_all(outbox.add(message))
        else:
            self._end("does not acknowledge messages")

    def _send_all(self, outgoing: Iterator[bytes]) -> None:
        for packet in outgoing:
            self._send(packet)
