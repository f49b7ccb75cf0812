"""MQTT packets, cut out of the stream that they come in. Pure: no socket in it.

Section numbers are those of the OASIS standard, MQTT Version 3.1.1.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

PUBLISH = 0x30
_TYPE, _RETAIN, _QOS = 0xF0, 0x01, 0x03
_LENGTH_MAX_BYTES = 4
_ID_BYTES = _TEXT_LENGTH_BYTES = 2


class MalformedPacketError(Exception):
    """What came is no MQTT: nothing that follows can be understood."""


class ReceivedPublish(NamedTuple):
    """A message as it came; `payload` may lack its end where it was too large to keep."""

    topic: bytes
    payload: bytes
    message_id: int
    qos: int
    is_retained: bool
    size_bytes: int
    received_at: datetime


class Packets:
    """Cuts bytes into packets; of one that is larger, `packet_max_bytes` are kept, and the rest is
    thrown away as it comes."""

    def __init__(self, packet_max_bytes: int) -> None:
        self._packet_max_bytes = packet_max_bytes
        self._header = b""  # of a packet whose length is not known yet
        self._packet = bytearray()  # one that has not come to its end
        self._missing_bytes = 0

    def cut(self, data: bytes) -> Iterator[bytes]:
        """What is complete with these bytes. Raises MalformedPacketError."""
        data, self._header = self._header + data, b""
        at = 0
        while at < len(data):
            if self._missing_bytes:
                at += self._go_on(data, at)
                if not self._missing_bytes:
                    yield bytes(self._packet)
                    self._packet = bytearray()
                continue
            size = packet_size(data, at)
            if size is None:
                self._header = data[at:]
                return
            if at + size <= len(data) and size <= self._packet_max_bytes:
                yield data[at : at + size]
                at += size
            else:
                self._missing_bytes = size

    def _go_on(self, data: bytes, at: int) -> int:
        """Take what belongs to the packet that is on its way; returns how much that was."""
        room = self._packet_max_bytes - len(self._packet)
        taken = min(self._missing_bytes, len(data) - at)
        self._packet += data[at : at + min(room, taken)]
        self._missing_bytes -= taken
        return taken


def packet_size(data: bytes | bytearray, at: int) -> int | None:
    """How long the packet is that begins there (2.2.3); None: its length is not all here yet."""
    length = shift = 0
    for end in range(at + 1, at + 1 + _LENGTH_MAX_BYTES):
        if end == len(data):
            return None
        length |= (data[end] & 0x7F) << shift
        if data[end] < 0x80:
            return end + 1 - at + length
        shift += 7
    raise MalformedPacketError("a length of more than four bytes")


def is_publication(packet: bytes) -> bool:
    return packet[0] & _TYPE == PUBLISH


def address(packet: bytes) -> tuple[bytes, int]:
    """The topic of a PUBLISH packet, and its id, 0 at QoS 0. Raises MalformedPacketError."""
    at = 2
    while packet[at - 1] >= 0x80:
        at += 1
    at += _TEXT_LENGTH_BYTES
    end = at + int.from_bytes(packet[at - _TEXT_LENGTH_BYTES : at])
    has_id = packet[0] >> 1 & _QOS
    if end + (_ID_BYTES if has_id else 0) > len(packet):
        raise MalformedPacketError("a publication that ends in its topic")
    return packet[at:end], int.from_bytes(packet[end : end + _ID_BYTES]) if has_id else 0


def publication(packet: bytes, received_at: datetime) -> ReceivedPublish:
    """What a PUBLISH packet says (3.3). Raises MalformedPacketError."""
    qos = packet[0] >> 1 & _QOS
    topic_at = 1
    while packet[topic_at] >= 0x80:
        topic_at += 1
    topic_at += 1 + _TEXT_LENGTH_BYTES
    id_at = topic_at + int.from_bytes(packet[topic_at - _TEXT_LENGTH_BYTES : topic_at])
    payload_at = id_at + (_ID_BYTES if qos else 0)
    if payload_at > len(packet):
        raise MalformedPacketError("a publication that ends in its topic")
    return ReceivedPublish(
        packet[topic_at:id_at],
        packet[payload_at:],
        int.from_bytes(packet[id_at:payload_at]),
        qos,
        bool(packet[0] & _RETAIN),
        len(packet),
        received_at,
    )
