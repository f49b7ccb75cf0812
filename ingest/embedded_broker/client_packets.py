"""The server's side of MQTT 3.1.1: strict decoding of clients' packets, and the answers. Pure.

The checks are strict because the router behind them is not. It trusts a packet's fields more than
its length, and would read bytes that are hidden behind the last field as a packet of its own.
Section numbers are those of the OASIS standard, MQTT Version 3.1.1.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ingest.mqtt.codec import (
    CONNACK,
    CONNECT,
    PUBLISH,
    SUBACK,
    MalformedPacketError,
    body_at,
    packet_of,
    packet_size,
    sized,
)

ACCEPTED, BAD_LEVEL, BAD_CLIENT_ID, UNAVAILABLE, NOT_AUTHORIZED = 0, 1, 2, 3, 5
REFUSED_FILTER = 0x80

# Bridges of Mosquitto and others set the highest bit of the level.
_LEVEL, _BRIDGE = 4, 0x80
# The names of MQTT 3.1.1 and 5, and of MQTT 3.1, with their lengths.
_OPENINGS = (b"\0\4MQTT", b"\0\6MQIsdp")
OPENING_BYTES = 5 + len(_OPENINGS[1]) + 1
_FLAGS = 0x0F
_RESERVED, _CLEAN, _WILL, _WILL_RETAIN, _PASSWORD, _USERNAME = 0x01, 0x02, 0x04, 0x20, 0x40, 0x80
_QOS_MAX = 2
_ANSWER_BYTES = 4


class UnsupportedLevelError(Exception):
    """A CONNECT is of another version of MQTT. It is refused with BAD_LEVEL (3.1.2.2)."""


class Will(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool


class Connect(NamedTuple):
    """A request to connect (3.1). `client_id` may be empty; an absent password is empty."""

    client_id: str
    username: str
    password: str
    is_clean: bool
    keep_alive_s: int
    will: Will | None


class Publish(NamedTuple):
    """A message from or to a client (3.3). `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    retain: bool


class Subscribe(NamedTuple):
    """A request to subscribe (3.8): filters, each with the requested QoS."""

    packet_id: int
    filters: Sequence[tuple[str, int]]


class Unsubscribe(NamedTuple):
    packet_id: int
    filters: Sequence[str]


class PacketBuffer:
    """Cuts received bytes into packets of at most `packet_max_bytes`."""

    def __init__(self, packet_max_bytes: int) -> None:
        self.packet_max_bytes = packet_max_bytes
        self._begun = bytearray()

    @property
    def unfinished_bytes(self) -> int:
        """The size of the incomplete packet at the end."""
        return len(self._begun)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the packets that are complete now. Raises MalformedPacketError."""
        begun = self._begun
        begun += data
        at = 0
        try:
            while at < len(begun) and (size := packet_size(begun, at)) is not None:
                if size > self.packet_max_bytes:
                    raise MalformedPacketError(
                        f"a packet has more than {self.packet_max_bytes} bytes"
                    )
                if at + size > len(begun):
                    return
                at += size
                yield bytes(begun[at - size : at])
        finally:
            del begun[:at]


class _Fields:
    """Reads a packet's fields one after another. Raises MalformedPacketError."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._at = body_at(packet)

    def data(self, size: int) -> bytes:
        taken = self._packet[self._at : self._at + size]
        if len(taken) < size:
            raise MalformedPacketError("a packet ends within a field")
        self._at += size
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.data(size))

    def sized(self) -> bytes:
        return self.data(self.number(2))

    def text(self) -> str:
        return _text(self.sized())

    def packet_id(self) -> int:
        if packet_id := self.number(2):
            return packet_id
        raise MalformedPacketError("a packet id of 0")

    @property
    def are_left(self) -> bool:
        return self._at < len(self._packet)

    def end(self) -> None:
        if self.are_left:
            raise MalformedPacketError("a packet is longer than its fields")


def check_opening(begun: bytes) -> None:
    """Check that the bytes so far can become a CONNECT of MQTT 3.1.1.

    The first `OPENING_BYTES` are enough. Raises MalformedPacketError, UnsupportedLevelError.
    """
    if not begun:
        return
    if begun[0] != CONNECT:
        raise MalformedPacketError("the first packet is not a CONNECT")
    if packet_size(begun, 0) is None:
        return
    opened = begun[body_at(begun) :]
    opening = next((o for o in _OPENINGS if o.startswith(opened[: len(o)])), None)
    if opening is None:
        raise MalformedPacketError("a CONNECT of another protocol")
    level = opened[len(opening) : len(opening) + 1]
    if level and (opening != _OPENINGS[0] or level[0] & ~_BRIDGE != _LEVEL):
        raise UnsupportedLevelError


def decode_connect(packet: bytes) -> Connect:
    """Decode a CONNECT (3.1) that has passed `check_opening`. Raises MalformedPacketError."""
    fields = _Fields(packet)
    fields.sized()
    fields.number(1)
    flags = fields.number(1)
    _check_connect_flags(flags)
    keep_alive_s = fields.number(2)
    client_id = _identifier(fields.text())
    will = None
    if flags & _WILL:
        will = Will(
            _topic(fields.text()), fields.sized(), _will_qos(flags), bool(flags & _WILL_RETAIN)
        )
    username = _identifier(fields.text()) if flags & _USERNAME else ""
    # The standard allows binary passwords. The hub's are text, so any other is a wrong one.
    password = fields.sized().decode("utf-8", "replace") if flags & _PASSWORD else ""
    fields.end()
    return Connect(client_id, username, password, bool(flags & _CLEAN), keep_alive_s, will)


def _check_connect_flags(flags: int) -> None:
    will_qos = _will_qos(flags)
    if flags & _RESERVED or will_qos > _QOS_MAX:
        raise MalformedPacketError("reserved flags in a CONNECT")
    if not flags & _WILL and (will_qos or flags & _WILL_RETAIN):
        raise MalformedPacketError("flags of a will in a CONNECT without one")
    if flags & _PASSWORD and not flags & _USERNAME:
        raise MalformedPacketError("a password without a user name")


def _will_qos(flags: int) -> int:
    return flags >> 3 & 0x03


def decode_publish(packet: bytes) -> Publish:
    """Decode a PUBLISH (3.3). Raises MalformedPacketError, also for a topic with wildcards."""
    qos = packet[0] >> 1 & 0x03
    if qos > _QOS_MAX:
        raise MalformedPacketError("a PUBLISH at QoS 3")
    topic_at = body_at(packet) + 2
    id_at = topic_at + int.from_bytes(packet[topic_at - 2 : topic_at])
    payload_at = id_at + 2 if qos else id_at
    if payload_at > len(packet):
        raise MalformedPacketError("a PUBLISH ends before its payload")
    packet_id = int.from_bytes(packet[id_at:payload_at])
    if qos and not packet_id:
        raise MalformedPacketError("a packet id of 0")
    topic = _topic(_text(packet[topic_at:id_at]))
    return Publish(topic, packet[payload_at:], qos, packet_id, bool(packet[0] & 0x01))


def decode_subscribe(packet: bytes) -> Subscribe:
    """Decode a SUBSCRIBE (3.8). Raises MalformedPacketError."""
    fields = _Fields(packet)
    packet_id = fields.packet_id()
    filters: list[tuple[str, int]] = []
    while fields.are_left or not filters:
        topic_filter, qos = fields.text(), fields.number(1)
        if not topic_filter or qos > _QOS_MAX:
            raise MalformedPacketError("a SUBSCRIBE with an empty filter or an invalid QoS")
        filters.append((topic_filter, qos))
    return Subscribe(packet_id, filters)


def decode_unsubscribe(packet: bytes) -> Unsubscribe:
    """Decode an UNSUBSCRIBE (3.10). Raises MalformedPacketError."""
    fields = _Fields(packet)
    packet_id = fields.packet_id()
    filters: list[str] = []
    while fields.are_left or not filters:
        filters.append(fields.text())
    return Unsubscribe(packet_id, filters)


def decode_answer(packet: bytes) -> int:
    """Return the packet id of a PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7).

    Raises MalformedPacketError.
    """
    if len(packet) != _ANSWER_BYTES:
        raise MalformedPacketError("an answer holds more or less than a packet id")
    return _Fields(packet).packet_id()


def check_empty(packet: bytes) -> None:
    """Check a PINGREQ or DISCONNECT (3.12, 3.14). Raises MalformedPacketError."""
    _Fields(packet).end()


def packet_type(packet: bytes) -> int:
    """Return a packet's type with its required flags (2.2), and without a PUBLISH's own flags."""
    return PUBLISH if packet[0] & ~_FLAGS == PUBLISH else packet[0]


def is_filter(topic_filter: str) -> bool:
    """Return whether wildcards are only where they are allowed (4.7.1)."""
    levels = topic_filter.split("/")
    return all(
        not ("#" in level or "+" in level)
        or level == "+"
        or (level == "#" and n == len(levels) - 1)
        for n, level in enumerate(levels)
    )


def encode_connack(code: int, *, session_present: bool = False) -> bytes:
    return bytes([CONNACK, 2, session_present, code])


def encode_answer(kind: int, packet_id: int) -> bytes:
    """Encode a PUBACK, PUBREC, PUBCOMP or UNSUBACK."""
    return bytes([kind, 2]) + packet_id.to_bytes(2)


def encode_suback(packet_id: int, codes: Iterable[int]) -> bytes:
    return packet_of(SUBACK, packet_id.to_bytes(2) + bytes(codes))


def encode_publish(message: Publish, *, is_duplicate: bool = False) -> bytes:
    """Encode a PUBLISH."""
    header = PUBLISH | is_duplicate << 3 | message.qos << 1 | message.retain
    packet_id = message.packet_id.to_bytes(2) if message.qos else b""
    return packet_of(header, sized(message.topic) + packet_id + message.payload)


def _text(data: bytes) -> str:
    """Decode text (1.5.3): UTF-8 without surrogates and null characters."""
    try:
        value = data.decode()
    except UnicodeDecodeError:
        raise MalformedPacketError("text is not UTF-8") from None
    if "\0" in value:
        raise MalformedPacketError("text contains a null character")
    return value


def _identifier(value: str) -> str:
    """Check that a name has no control characters (1.5.3): names are logged."""
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
        raise MalformedPacketError("a name contains control characters")
    return value


def _topic(value: str) -> str:
    """Check that a topic to publish in is not empty and has no wildcards (3.3.2.1)."""
    if not value or "+" in value or "#" in value:
        raise MalformedPacketError("a topic is empty or has wildcards")
    return value
