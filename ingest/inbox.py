"""What arrives at an MQTT client, many messages at a time, acknowledged by hand and together.

The only file that touches aiomqtt's inner client. aiomqtt 2 acknowledges on receipt; paho's manual
acknowledgement (`manual_ack_set`) is the way that its maintainers point to. What both do for each
message is done here for many: to read from the socket, to wake the reader, to acknowledge.
aiomqtt's queue drops silently when it is bounded, so what has arrived is kept without a bound: what
the broker sends unacknowledged (`max_inflight_messages`) is the bound.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from functools import partial
from struct import pack
from typing import Any

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import MessageType

_GULP_BYTES = 64 * 1024
# A whole packet but for the id: type, flags, and a length of two bytes.
_PUBACK = 0x4002_0000


class Inbox:
    """Of one client that has yet to connect, and of that connection alone: on a later one the same
    message id is another message."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self._paho = paho = client._client
        self._loop = asyncio.get_running_loop()
        self._burst: list[MQTTMessage] = []
        self._acknowledged: list[int] = []
        nudge, connect = paho.on_message, paho._create_socket
        assert nudge is not None
        self._nudge = partial(nudge, paho, None, MQTTMessage(topic=b"nudge"))
        paho.on_message = self._keep
        paho._create_socket = lambda: _BufferedSocket(connect())  # type: ignore[method-assign]
        paho.manual_ack_set(True)

    def _keep(self, _paho: PahoClient, _userdata: Any, message: MQTTMessage) -> None:
        # aiomqtt starts a task for each message of its queue: the first of a burst wakes us there.
        self._burst.append(message)
        if len(self._burst) == 1:
            self._nudge()

    async def bursts(self) -> AsyncIterator[list[MQTTMessage]]:
        """All that arrived until we look. Raises MqttError when the connection is lost."""
        async for _ in self.client.messages:
            burst, self._burst = self._burst, []
            yield burst

    def acknowledge(self, message_id: int, qos: int) -> None:
        """As paho's `ack`, which takes locks and a write for each; here all of a batch are one."""
        if qos == 0:
            return
        if not self._acknowledged:
            self._loop.call_soon(self._send_acknowledgements)
        self._acknowledged.append(message_id)

    def _send_acknowledgements(self) -> None:
        ids, self._acknowledged = self._acknowledged, []
        packets = pack(f"!{len(ids)}I", *(_PUBACK | message_id for message_id in ids))
        self._paho._packet_queue(MessageType.PUBACK, packets, 0, 1)


class _BufferedSocket:
    """A socket that is read in gulps, where paho reads each packet in three sips or more."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._read = b""
        self._at = 0

    def recv(self, size: int) -> bytes:
        if self._at == len(self._read):
            self._read, self._at = self._sock.recv(_GULP_BYTES), 0
        taken = self._read[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def pending(self) -> int:
        """How much is here already: aiomqtt goes on reading before it waits for the socket."""
        below = self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0
        return len(self._read) - self._at + below

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
