"""What arrives at an MQTT client, many messages at a time, acknowledged by hand and together.

The only file that touches aiomqtt's inner client. aiomqtt 2 acknowledges on receipt; paho's manual
acknowledgement is the way that its maintainers point to. What both do for each message is done here
for many: to read from the socket, to wake the reader, to acknowledge.

Two bounds hold what is here and not acknowledged. By count it is the broker's: how much it sends
ahead (`max_inflight_messages`). By size it is ours: over `held_max_bytes` we stop to read from the
socket, TCP stops the broker, and it keeps what follows. So nothing is dropped, and nothing has to
be sent again: whoever can't keep up is slow, and no more.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from struct import pack
from typing import Any

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import MessageType, MQTTErrorCode

from ingest.dialects.native import MESSAGE_MAX_BYTES
from ingest.packets import (
    MalformedPacketError,
    Packets,
    ReceivedPublish,
    is_publication,
    publication,
)

HELD_MAX_BYTES = 32 * 1024 * 1024
# A message that is too large is still seen to be so, whatever its topic; its end is of no use.
PACKET_MAX_BYTES = MESSAGE_MAX_BYTES + 65_536 + 16
# What a message takes beside its bytes, until it is acknowledged.
_OVERHEAD_BYTES = 1024
_GULP_BYTES = 64 * 1024
# A whole packet but for the id: type, flags, and a length of two bytes.
_PUBACK = 0x4002_0000


class ReceiveBuffer:
    """Of one client that has yet to connect, and of that connection alone: on a later one the same
    message id is another message."""

    def __init__(self, client: aiomqtt.Client, held_max_bytes: int = HELD_MAX_BYTES) -> None:
        self.client = client
        self.held_bytes = 0
        self._held_max_bytes = held_max_bytes
        self._paho = paho = client._client
        self._loop = asyncio.get_running_loop()
        self._packets = Packets(PACKET_MAX_BYTES)
        self._arrived: deque[ReceivedPublish] = deque()
        self._wire: _Wire
        self._is_reader_awake = False
        self.is_reading = True
        self._acknowledged: list[int] = []
        self._is_settling_due = False
        self._read_at_s = self._loop.time()
        wake, connect, opened = paho.on_message, paho._create_socket, paho.on_socket_open
        assert wake is not None
        assert opened is not None
        self._wake = partial(wake, paho, None, MQTTMessage(topic=b"arrived"))
        self._opened, self._look_after = opened, paho.loop_misc
        paho._create_socket = lambda: _Wire(connect())  # type: ignore[method-assign]
        paho.on_socket_open = self._read_ourselves
        paho.on_socket_register_write = self._write_ourselves
        paho.loop_misc = self._stay_connected  # type: ignore[method-assign]

    def _read_ourselves(self, paho: PahoClient, userdata: Any, wire: Any) -> None:
        # In paho's thread: after what aiomqtt leaves there for the loop, and in its place.
        self._opened(paho, userdata, wire)
        self._wire = wire
        self._loop.call_soon_threadsafe(self._loop.add_reader, wire.fileno(), self._read)

    def _write_ourselves(self, paho: PahoClient, userdata: Any, wire: Any) -> None:
        # In paho's thread, while it connects.
        self._loop.call_soon_threadsafe(self._begin_to_write, wire)

    def _begin_to_write(self, wire: "_Wire") -> None:
        # The connection may be lost by now, and what it was numbered be another's number.
        if not wire.is_closed:
            self._loop.add_writer(wire.fileno(), self._paho.loop_write)

    def _read(self) -> None:
        """Take what has come, as far as there is room."""
        wire = self._wire
        try:
            while not wire.is_closed:
                data, now = wire.gulp(), datetime.now(UTC)
                self._read_at_s = self._loop.time()
                for packet in self._packets.cut(data):
                    self._take(packet, now)
                self._paho._ping_t = 0  # an answer may be far behind what shows as much
                if self.held_bytes >= self._held_max_bytes:
                    self._pause()
                    return
                if not wire.pending():
                    return
        except BlockingIOError:
            return
        except MalformedPacketError:
            self._paho._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)
        except OSError:
            self._paho._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)

    def _take(self, packet: bytes, received_at: datetime) -> None:
        if not is_publication(packet):
            self._wire.show(packet)
            self._paho.loop_read()
            return
        arrived = publication(packet, received_at)
        self.held_bytes += arrived.size_bytes + _OVERHEAD_BYTES
        self._arrived.append(arrived)
        # aiomqtt starts a task for each message of its queue: one of many wakes us there.
        if not self._is_reader_awake:
            self._is_reader_awake = True
            self._wake()

    async def arrivals(self) -> AsyncIterator[deque[ReceivedPublish]]:
        """What has arrived and is yet to be taken, oldest first, whenever there is any.

        Raises MqttError when the connection is lost.
        """
        async for _ in self.client.messages:
            self._is_reader_awake = False
            yield self._arrived

    def acknowledge(self, message_id: int, qos: int, size_bytes: int) -> None:
        """As paho's `ack`, which takes locks and a write for each; here all of a batch are one."""
        self.held_bytes -= size_bytes + _OVERHEAD_BYTES
        if qos:
            self._acknowledged.append(message_id)
        if not self._is_settling_due:
            self._is_settling_due = True
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        self._is_settling_due = False
        ids, self._acknowledged = self._acknowledged, []
        if ids:
            packets = pack(f"!{len(ids)}I", *(_PUBACK | message_id for message_id in ids))
            self._paho._packet_queue(MessageType.PUBACK, packets, 0, 1)
        if not self.is_reading and self.held_bytes < self._held_max_bytes:
            self._resume()

    @property
    def is_idle(self) -> bool:
        """Whether all that came is acknowledged."""
        return not self.held_bytes and not self._is_settling_due

    @property
    def quiet_s(self) -> float:
        """For how long nothing has come, all that came being acknowledged."""
        return self._loop.time() - self._read_at_s if self.is_idle else 0.0

    def _pause(self) -> None:
        self.is_reading = False
        self._loop.remove_reader(self._wire.fileno())

    def _resume(self) -> None:
        if self._wire.is_closed:
            return
        self.is_reading = True
        self._loop.add_reader(self._wire.fileno(), self._read)
        self._read()  # what TLS has deciphered already, the socket does not show

    def _stay_connected(self) -> MQTTErrorCode:
        # Pings go out all the while. Who does not read can't see them answered.
        if not self.is_reading:
            self._paho._ping_t = 0
        return self._look_after()


class _Wire:
    """A socket that we read in gulps; paho reads from it the packets that it is shown."""

    def __init__(self, sock: Any) -> None:
        self.is_closed = False
        self._sock = sock
        self._shown = b""

    def gulp(self) -> bytes:
        """Raises BlockingIOError when nothing is here yet, ConnectionError at the end."""
        try:
            data: bytes = self._sock.recv(_GULP_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        if not data:
            raise ConnectionError("the broker hung up")
        return data

    def pending(self) -> int:
        """How much is deciphered already, which the event loop can't see."""
        return self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0

    def show(self, packet: bytes) -> None:
        self._shown += packet

    def recv(self, size: int) -> bytes:
        if not self._shown:
            raise BlockingIOError
        taken, self._shown = self._shown[:size], self._shown[size:]
        return taken

    def close(self) -> None:
        self.is_closed = True
        self._sock.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
