"""MQTT 3.1.1 packets, as a client encodes and decodes them. Pure: no socket, no clock.

Section numbers refer to the OASIS standard, MQTT Version 3.1.1.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from struct import pack
from typing import NamedTuple

# The first byte of a packet: its type, and the flags that the type requires (2.2).
CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL = 0x10, 0x20, 0x30, 0x40, 0x50, 0x62
PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 0x70, 0x82, 0x90, 0xA2, 0xB0
PINGREQ, PINGRESP, DISCONNECT = 0xC0, 0xD0, 0xE0

PINGREQ_PACKET, PINGRESP_PACKET = bytes([PINGREQ, 0]), bytes([PINGRESP, 0])
DISCONNECT_PACKET = bytes([DISCONNECT, 0])

# Codes of a SUBACK from this one on say that the broker refuses the filter (3.9.3).
SUBSCRIPTION_REFUSED = 0x80
PACKET_ID_MAX = 65_535

_CONNECT_REFUSALS = {
    1: "it does not support MQTT 3.1.1",
    2: "it does not allow the client id",
    3: "it is unavailable",
    4: "wrong user name or password",
    5: "not authorized",
}
_PROTOCOL = b"\x00\x04MQTT\x04"
_CLEAN_SESSION, _PASSWORD, _USERNAME = 0x02, 0x40, 0x80
_TYPE, _RETAIN, _QOS = 0xF0, 0x01, 0x03
_QOS_MAX = 1
_LENGTH_MAX_BYTES = 4
_REMAINING_MAX_BYTES = 268_435_455
_ID_BYTES = _TEXT_LENGTH_BYTES = 2
_TEXT_MAX_BYTES = 65_535
# A PUBACK without its packet id: type, flags and a remaining length of two.
_PUBACK_WORD = 0x4002_0000


class MalformedPacketError(Exception):
    """Bytes that are not MQTT 3.1.1. No byte after them can be decoded either."""


class Connack(NamedTuple):
    """The broker's answer to a CONNECT (3.2)."""

    session_present: bool
    code: int

    @property
    def refusal(self) -> str | None:
        """The reason why the broker refuses the connection, or None if it accepts."""
        return _CONNECT_REFUSALS.get(self.code, "unknown reason") if self.code else None


class Suback(NamedTuple):
    """The granted QoS of each filter, or `SUBSCRIPTION_REFUSED` and above (3.9)."""

    packet_id: int
    codes: tuple[int, ...]


class ReceivedPublish(NamedTuple):
    """A message from the broker (3.3).

    `topic` is not decoded: it may be no UTF-8. `payload` lacks its end if the packet was larger
    than the stream keeps. `packet_id` is 0 at QoS 0. `size_bytes` is that of the kept packet.
    """

    topic: bytes
    payload: bytes
    packet_id: int
    is_retained: bool
    size_bytes: int
    received_at: datetime


class PacketStream:
    """Cuts a stream of bytes into packets, wherever the stream was split.

    A packet larger than `packet_max_bytes` is cut off there: the stream keeps its beginning and
    drops the rest as it arrives, so memory stays bounded.
    """

    def __init__(self, packet_max_bytes: int) -> None:
        self._packet_max_bytes = packet_max_bytes
        # The first bytes of a packet whose length is not known yet: four at most.
        self._header = b""
        self._packet = bytearray()
        self._missing_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the packets that these bytes complete. Raises MalformedPacketError."""
        data, self._header = self._header + data, b""
        at = 0
        while at < len(data):
            if self._missing_bytes:
                at += self._continue(data, at)
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

    def _continue(self, data: bytes, at: int) -> int:
        """Add bytes to the packet that is incomplete. Returns how many belong to it."""
        room = self._packet_max_bytes - len(self._packet)
        taken = min(self._missing_bytes, len(data) - at)
        self._packet += data[at : at + min(room, taken)]
        self._missing_bytes -= taken
        return taken


def packet_size(data: bytes | bytearray, at: int) -> int | None:
    """Return the size of the packet at this offset (2.2.3), None while its length is incomplete.

    Raises MalformedPacketError.
    """
    length = shift = 0
    for end in range(at + 1, at + 1 + _LENGTH_MAX_BYTES):
        if end >= len(data):
            return None
        length |= (data[end] & 0x7F) << shift
        if data[end] < 0x80:
            return end + 1 - at + length
        shift += 7
    raise MalformedPacketError("a remaining length of more than four bytes")


def body_at(packet: bytes) -> int:
    """Return the offset of the first byte after the fixed header of a whole packet."""
    at = 1
    while packet[at] >= 0x80:
        at += 1
    return at + 1


# Decoding --------------------------------------------------------------------------------------


def is_publish(packet: bytes) -> bool:
    return packet[0] & _TYPE == PUBLISH


def decode_publish(packet: bytes, received_at: datetime) -> ReceivedPublish:
    """Decode a PUBLISH at QoS 0 or 1. Raises MalformedPacketError."""
    qos = packet[0] >> 1 & _QOS
    if qos > _QOS_MAX:
        raise MalformedPacketError(f"a PUBLISH at QoS {qos}, which nobody subscribed to")
    topic_at = body_at(packet) + _TEXT_LENGTH_BYTES
    id_at = topic_at + int.from_bytes(packet[topic_at - _TEXT_LENGTH_BYTES : topic_at])
    payload_at = id_at + (_ID_BYTES if qos else 0)
    if payload_at > len(packet):
        raise MalformedPacketError("a PUBLISH that ends before its payload")
    packet_id = int.from_bytes(packet[id_at:payload_at])
    if qos and not packet_id:
        raise MalformedPacketError("a PUBLISH with the packet id 0")
    return ReceivedPublish(
        packet[topic_at:id_at],
        packet[payload_at:],
        packet_id,
        bool(packet[0] & _RETAIN),
        len(packet),
        received_at,
    )


def decode_connack(packet: bytes) -> Connack:
    """Decode the first packet from the broker. Raises MalformedPacketError if it is another."""
    if packet[:2] != bytes([CONNACK, 2]) or len(packet) != 4 or packet[2] > 1:
        raise MalformedPacketError("a first packet that is no CONNACK")
    return Connack(bool(packet[2]), packet[3])


def decode_suback(packet: bytes) -> Suback:
    """Decode a SUBACK. Raises MalformedPacketError."""
    at = body_at(packet)
    if packet[0] != SUBACK or len(packet) <= at + _ID_BYTES:
        raise MalformedPacketError("a SUBACK without codes")
    return Suback(int.from_bytes(packet[at : at + _ID_BYTES]), tuple(packet[at + _ID_BYTES :]))


def decode_packet_id(packet: bytes) -> int:
    """Return the packet id of a PUBACK or UNSUBACK (3.4, 3.11). Raises MalformedPacketError."""
    if packet[0] not in (PUBACK, UNSUBACK) or packet[1] != _ID_BYTES:
        raise MalformedPacketError(f"an unexpected packet of type 0x{packet[0]:02x}")
    return int.from_bytes(packet[2:4])


# Encoding --------------------------------------------------------------------------------------


def encode_connect(
    client_id: str,
    *,
    clean_session: bool,
    keep_alive_s: int,
    username: str | None = None,
    password: str | None = None,
) -> bytes:
    """Encode a CONNECT without a will (3.1). A password needs a user name (3.1.2.9)."""
    flags = _CLEAN_SESSION if clean_session else 0
    fields = [sized(client_id)]
    if username is not None:
        flags |= _USERNAME
        fields.append(sized(username))
        if password is not None:
            flags |= _PASSWORD
            fields.append(sized(password))
    return packet_of(
        CONNECT, _PROTOCOL + bytes([flags]) + keep_alive_s.to_bytes(2) + b"".join(fields)
    )


def encode_publish(topic: str, payload: bytes, packet_id: int | None = None) -> bytes:
    """Encode a PUBLISH: at QoS 1 with a packet id, at QoS 0 without."""
    if packet_id is None:
        return packet_of(PUBLISH, sized(topic) + payload)
    return packet_of(PUBLISH | 1 << 1, sized(topic) + packet_id.to_bytes(2) + payload)


def encode_subscribe(packet_id: int, filters: Sequence[tuple[str, int]]) -> bytes:
    """Encode a SUBSCRIBE to topic filters, each with its maximum QoS (3.8)."""
    body = b"".join(sized(topic_filter) + bytes([qos]) for topic_filter, qos in filters)
    return packet_of(SUBSCRIBE, packet_id.to_bytes(2) + body)


def encode_unsubscribe(packet_id: int, filters: Sequence[str]) -> bytes:
    """Encode an UNSUBSCRIBE (3.10)."""
    return packet_of(UNSUBSCRIBE, packet_id.to_bytes(2) + b"".join(map(sized, filters)))


def encode_pubacks(packet_ids: Sequence[int]) -> bytes:
    """Encode a PUBACK for each packet id, in this order (3.4)."""
    return pack(f"!{len(packet_ids)}I", *(_PUBACK_WORD | packet_id for packet_id in packet_ids))


def packet_of(header: int, body: bytes) -> bytes:
    """Return a packet with this first byte. Raises ValueError for a body that is too large."""
    size = len(body)
    if size > _REMAINING_MAX_BYTES:
        raise ValueError(f"{size} bytes are more than an MQTT packet holds")
    length = bytearray()
    while True:
        size, group = divmod(size, 128)
        length.append(group | (0x80 if size else 0))
        if not size:
            return bytes([header, *length]) + body


def sized(value: str) -> bytes:
    """Encode a string with its length (1.5.3). Raises ValueError for one that is too long."""
    encoded = value.encode()
    if len(encoded) > _TEXT_MAX_BYTES:
        raise ValueError(f"{len(encoded)} bytes are more than an MQTT string holds")
    return len(encoded).to_bytes(_TEXT_LENGTH_BYTES) + encoded
