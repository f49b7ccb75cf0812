"""A connection to an MQTT broker, on which messages are acknowledged by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import cast

from core.clock import real_now
from ingest.mqtt.codec import (
    DISCONNECT_PACKET,
    PACKET_ID_MAX,
    PINGREQ_PACKET,
    PINGRESP_PACKET,
    PUBACK,
    SUBACK,
    UNSUBACK,
    MalformedPacketError,
    PacketStream,
    ReceivedPublish,
    decode_connack,
    decode_packet_id,
    decode_publish,
    decode_suback,
    encode_pubacks,
    encode_publish,
    encode_subscribe,
    encode_unsubscribe,
    is_publish,
)
from ingest.mqtt.receive_buffer import PACKET_MAX_BYTES, ReceiveBuffer

# The broker ends a connection without a packet in 1.5 times this (3.1.2.10).
KEEP_ALIVE_S = 60
# Requests without an answer. A broker that stops answering must not make them pile up.
UNANSWERED_MAX = 100
# The receive buffer may exceed its limit by one chunk.
CHUNK_BYTES = 64 * 1024
# For the broker to close after DISCONNECT; it does so after a round trip.
_CLOSE_S = 2.0


class MqttError(Exception):
    """The broker cannot be reached, refuses the hub, or does not do what was asked."""


class ConnectionRefusedByBroker(MqttError):
    """The broker answers the CONNECT with a code that is not 0."""


class ConnectionLost(MqttError):
    """The connection ended, by the network or by either side."""


class MqttConnection(asyncio.BufferedProtocol):
    """An MQTT connection; `BrokerEndpoint.connect` opens one.

    It sends an acknowledgement only after a call of `acknowledge`, in the order of the calls. It
    does not read while the receive buffer is full. When it ends, by whatever cause, every method
    that waits raises `ConnectionLost`.
    """

    def __init__(
        self, connect_packet: bytes, buffer: ReceiveBuffer, keep_alive_s: int = KEEP_ALIVE_S
    ) -> None:
        self.is_reading = True
        self._connect_packet = connect_packet
        self._buffer = buffer
        self._keep_alive_s = keep_alive_s
        self._loop = asyncio.get_running_loop()
        self._stream = PacketStream(PACKET_MAX_BYTES)
        self._chunk = memoryview(bytearray(CHUNK_BYTES))
        self._requests = _Requests()
        self._transport: asyncio.Transport
        # Set by the CONNACK, or the end of the connection.
        self._answered = asyncio.Event()
        self._refusal: str | None = None
        # Once there is a reason nothing is written: uvloop's transport raises when it is closed.
        self._end_reason: str | None = None
        self._closed = asyncio.Event()
        # Set when messages, or the end of the connection, wait for the reader.
        self._has_unread = asyncio.Event()
        # Set when the buffer becomes empty, or the connection ends.
        self._drained = asyncio.Event()
        self._is_writable = asyncio.Event()
        self._is_writable.set()
        self._is_flush_due = False
        # Equal at first: the CONNACK counts as received, no ping was sent before it.
        self._received_at_s = self._pinged_at_s = self._loop.time()
        self._ping_timer: asyncio.TimerHandle | None = None

    # The application's side ---------------------------------------------------------------------

    async def wait_accepted(self) -> None:
        """Wait for the CONNACK. Raises ConnectionRefusedByBroker, ConnectionLost."""
        await self._answered.wait()
        if self._refusal is not None:
            raise ConnectionRefusedByBroker(f"the broker refuses the connection: {self._refusal}")
        self._raise_if_ended()

    async def messages(self) -> AsyncIterator[ReceivedPublish]:
        """Yield messages in the order of arrival, for one reader.

        Raises ConnectionLost after the last message that arrived.
        """
        unread = self._buffer.unread
        while True:
            while unread:
                yield unread.popleft()
            self._raise_if_ended()
            self._has_unread.clear()
            await self._has_unread.wait()

    def acknowledge(self, packet_id: int, size_bytes: int) -> None:
        """Acknowledge a message and free its room. One write acknowledges all of a batch.

        It takes two numbers instead of the message, so that callers need not keep the payload.
        """
        self._buffer.acknowledge(packet_id, size_bytes)
        self._flush_soon()

    async def subscribe(self, filters: Sequence[tuple[str, int]]) -> tuple[int, ...]:
        """Subscribe to filters with their maximum QoS. Returns the codes of the SUBACK."""
        packet = await self._request(SUBACK, lambda n: encode_subscribe(n, filters))
        return decode_suback(packet).codes

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe, and return when the broker has answered."""
        await self._request(UNSUBACK, lambda n: encode_unsubscribe(n, filters))

    async def publish(self, topic: str, payload: str, qos: int = 1) -> None:
        """Publish at QoS 0 or 1; at QoS 1 return once the broker has acknowledged."""
        await self._is_writable.wait()
        data = payload.encode()
        if qos:
            await self._request(PUBACK, lambda n: encode_publish(topic, data, n))
        else:
            self._write(encode_publish(topic, data))

    async def finish(self) -> None:
        """Accept no more messages, and wait until all accepted ones are acknowledged.

        Raises ConnectionLost.
        """
        self._buffer.close()
        while not self._buffer.is_empty:
            self._drained.clear()
            await self._drained.wait()
            self._raise_if_ended()

    async def close(self) -> None:
        """Send what is due and DISCONNECT, and wait a limited time for the broker to close.

        The broker closes first because a socket that is closed with unread bytes in it resets the
        connection, and the broker might lose the last acknowledgements.
        """
        self._buffer.close()
        if self._end_reason is None:
            self._flush()
            self._write(DISCONNECT_PACKET)
            self._end_reason = "the hub closed the connection"
            self._resume()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._closed.wait()
        except TimeoutError:
            pass
        finally:
            self._transport.abort()

    def abort(self) -> None:
        """Close at once, without DISCONNECT."""
        self._transport.abort()

    @property
    def quiet_s(self) -> float:
        """Seconds since the last byte arrived; 0 while a message is not acknowledged."""
        return self._loop.time() - self._received_at_s if self._buffer.is_empty else 0.0

    async def _request(self, answer_type: int, encode: Callable[[int], bytes]) -> bytes:
        """Send a request and return the packet that answers it."""
        packet_id = self._requests.free_id()
        self._write(encode(packet_id))
        return await self._requests.expect(packet_id, answer_type)

    def _write(self, packet: bytes) -> None:
        self._raise_if_ended()
        self._transport.write(packet)

    def _raise_if_ended(self) -> None:
        if self._end_reason is not None:
            raise ConnectionLost(self._end_reason)

    # The transport's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports do not inherit from asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._connect_packet)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._chunk

    def buffer_updated(self, nbytes: int) -> None:
        self._received_at_s = self._loop.time()
        now = real_now()
        try:
            for packet in self._stream.feed(bytes(self._chunk[:nbytes])):
                self._receive(packet, now)
        except MalformedPacketError as error:
            self._end(f"the broker sent malformed MQTT: {error}")
            return
        if self._buffer.unread:
            self._has_unread.set()
        if self._buffer.has_acknowledgements:
            self._flush_soon()
        if self._buffer.is_full:
            self._pause()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end_reason is None:
            self._end_reason = str(exc) if exc else "the broker closed the connection"
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        self._requests.fail(ConnectionLost(self._end_reason))
        for event in (
            self._answered, self._has_unread, self._drained, self._is_writable, self._closed,
        ):  # fmt: skip
            event.set()

    def pause_writing(self) -> None:
        self._is_writable.clear()

    def resume_writing(self) -> None:
        self._is_writable.set()

    def _receive(self, packet: bytes, received_at: datetime) -> None:
        if not self._answered.is_set():
            self._on_connack(packet)
        elif is_publish(packet):
            self._buffer.add(decode_publish(packet, received_at))
        elif packet != PINGRESP_PACKET:
            self._requests.answer(packet)

    def _on_connack(self, packet: bytes) -> None:
        self._refusal = decode_connack(packet).refusal
        self._answered.set()
        self._ping_timer = self._loop.call_later(self._keep_alive_s, self._keep_alive)

    def _end(self, reason: str) -> None:
        self._end_reason = self._end_reason or reason
        self._transport.abort()

    def _flush_soon(self) -> None:
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send the acknowledgements that are due, and read on if there is room again."""
        self._is_flush_due = False
        ids = self._buffer.take_acknowledged()
        if self._end_reason is not None:
            return
        if ids:
            self._write(encode_pubacks(ids))
        if not self._buffer.is_full:
            self._resume()
        if self._buffer.is_empty:
            self._drained.set()

    def _pause(self) -> None:
        self.is_reading = False
        self._transport.pause_reading()

    def _resume(self) -> None:
        if not self.is_reading and not self._transport.is_closing():
            self.is_reading = True
            # Answers to pings may have waited behind what was not read.
            self._received_at_s = self._loop.time()
            self._transport.resume_reading()

    def _keep_alive(self) -> None:
        """Send a ping, and end the connection if nothing has arrived since the last one.

        While the buffer is full nothing can arrive. The pings go on, so the broker does not end the
        connection either.
        """
        if self._end_reason is not None:
            return
        if self.is_reading and self._received_at_s < self._pinged_at_s:
            self._end("the broker does not answer")
            return
        self._write(PINGREQ_PACKET)
        self._pinged_at_s = self._loop.time()
        self._ping_timer = self._loop.call_later(self._keep_alive_s, self._keep_alive)


class _Requests:
    """Requests that the broker has not answered, by packet id.

    A request whose caller was cancelled keeps its packet id until its answer arrives: a second
    request with that id would be confused with it.
    """

    def __init__(self) -> None:
        self._answers: dict[int, tuple[int, asyncio.Future[bytes]]] = {}
        self._last_id = 0

    def free_id(self) -> int:
        """Return a packet id that is not in use. Raises MqttError at the limit."""
        if len(self._answers) >= UNANSWERED_MAX:
            raise MqttError(f"the broker has not answered {UNANSWERED_MAX} requests")
        while True:
            self._last_id = self._last_id % PACKET_ID_MAX + 1
            if self._last_id not in self._answers:
                return self._last_id

    def expect(self, packet_id: int, answer_type: int) -> asyncio.Future[bytes]:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[packet_id] = answer_type, answer
        return answer

    def answer(self, packet: bytes) -> None:
        """Hand an answer to its request; ignore one to no request. Raises MalformedPacketError."""
        is_suback = packet[0] == SUBACK
        packet_id = decode_suback(packet).packet_id if is_suback else decode_packet_id(packet)
        answer_type, answer = self._answers.get(packet_id, (None, None))
        if answer is not None and answer_type == packet[0]:
            del self._answers[packet_id]
            if not answer.done():
                answer.set_result(packet)

    def fail(self, error: Exception) -> None:
        for _, answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
