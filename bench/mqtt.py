"""Mosquitto, and a publisher that is faster than any broker.

The publisher writes MQTT 3.1.1 packets that were encoded in advance to a plain socket. Section
numbers are those of the OASIS standard, MQTT Version 3.1.1.
"""

import getpass
import socket
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Self

from bench.processes import Served, free_port, listens, running

# Above what an ingester holds unacknowledged, so that the broker never waits for it.
INFLIGHT_MAX = 4000

# Set up as deployments should set Mosquitto up for the hub, but without authentication.
_CONFIG = """
listener {port} 127.0.0.1
allow_anonymous true
user {user}
persistence true
persistence_location {directory}/
max_inflight_messages {inflight_max}
max_queued_messages 0
max_queued_bytes 0
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
"""

# Messages sent before their acknowledgements are read. An acknowledgement has 4 bytes: those of a
# whole window fit into the socket's receive buffer, so the broker never blocks on the publisher.
WINDOW = 5000
TIMEOUT_S = 30

_CONNECT, _PUBLISH_QOS1, _SUBSCRIBE, _DISCONNECT = 0x10, 0x32, 0x82, 0xE0
_PUBACK_BYTES = 4
_PACKET_ID_MAX = 65_535
_QOS = 1


@asynccontextmanager
async def mosquitto(directory: Path) -> AsyncIterator[Served]:
    """Run a broker with its queue in `directory`."""
    port = free_port()
    config = directory / "mosquitto.conf"
    config.write_text(
        _CONFIG.format(
            port=port, user=getpass.getuser(), directory=directory, inflight_max=INFLIGHT_MAX
        )
    )
    async with running("mosquitto", "mosquitto", "-c", str(config), logs=directory) as child:
        await child.ready(partial(listens, port))
        yield Served(port, child)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("!H", len(encoded)) + encoded


def _packet(kind: int, body: bytes) -> bytes:
    """Encode a fixed header and a body (section 2.2.3: the length in groups of seven bits)."""
    length, header = len(body), bytearray([kind])
    while True:
        length, group = divmod(length, 128)
        header.append(group | (0x80 if length else 0))
        if not length:
            return bytes(header) + body


def connect_packet(client_id: str, *, clean_session: bool) -> bytes:
    return _packet(
        _CONNECT, _text("MQTT") + bytes([4, 2 if clean_session else 0, 0, 0]) + _text(client_id)
    )


def subscribe_packet(topics: Sequence[str]) -> bytes:
    return _packet(
        _SUBSCRIBE, struct.pack("!H", 1) + b"".join(_text(t) + bytes([_QOS]) for t in topics)
    )


def publish_packet(packet_id: int, topic: str, payload: bytes) -> bytes:
    return _packet(_PUBLISH_QOS1, _text(topic) + struct.pack("!H", packet_id) + payload)


def open_session(port: int, client_id: str, topics: Sequence[str]) -> None:
    """Create a persistent session, for which the broker queues messages from now on."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as sock:
        sock.sendall(connect_packet(client_id, clean_session=False))
        _receive(sock, 4)
        sock.sendall(subscribe_packet(topics))
        _receive(sock, 4 + len(topics))
        sock.sendall(_packet(_DISCONNECT, b""))


def publish(port: int, messages: Iterable[tuple[str, bytes]]) -> int:
    """Publish (topic, payload) with QoS 1; return their number once all are acknowledged."""
    published = 0
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as sock:
        sock.sendall(connect_packet("bench-publisher", clean_session=True))
        _receive(sock, 4)
        for window in _windows(messages):
            sock.sendall(b"".join(publish_packet(i, t, p) for i, (t, p) in enumerate(window, 1)))
            _receive(sock, _PUBACK_BYTES * len(window))
            published += len(window)
        sock.sendall(_packet(_DISCONNECT, b""))
    return published


class Publisher:
    """A connection that publishes single messages with QoS 1.

    `publish` does not wait for the acknowledgement; acknowledgements are read at the end.
    """

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._sock.sendall(connect_packet("bench-single-publisher", clean_session=True))
        _receive(self._sock, 4)
        self._unread = 0
        self._packet_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._sock:
            _receive(self._sock, _PUBACK_BYTES * self._unread)
            self._sock.sendall(_packet(_DISCONNECT, b""))

    def publish(self, topic: str, payload: bytes) -> None:
        self._packet_id = self._packet_id % _PACKET_ID_MAX + 1
        self._sock.sendall(publish_packet(self._packet_id, topic, payload))
        self._unread += 1
        if self._unread == WINDOW:
            _receive(self._sock, _PUBACK_BYTES * self._unread)
            self._unread = 0


def _windows(messages: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    iterator = iter(messages)
    while window := list(islice(iterator, WINDOW)):
        yield window


def _receive(sock: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = sock.recv(size - len(received))
        if not chunk:
            raise ConnectionError("the broker closed the connection")
        received += chunk
    return bytes(received)
