"""What MQTT clients send, checked to the letter of MQTT 3.1.1, and what they are answered. Pure.

The checks are strict because the router behind them is not: it believes a packet's fields more than
its length, and would read a message that is hidden behind a field as a packet of its own.
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

# Of the level, the highest bit says that a bridge connects (Mosquitto's and others'): it is no
# level of its own.
_LEVEL, _BRIDGE = 4, 0x80
# The names of MQTT 3.1.1 and 5, and of MQTT 3.1, with their lengths.
_OPENINGS = (b"\0\4MQTT", b"\0\6MQIsdp")
OPENING_BYTES = 5 + len(_OPENINGS[1]) + 1
_FLAGS = 0x0F
_RESERVED, _CLEAN, _WILL, _WILL_RETAIN, _PASSWORD, _USERNAME = 0x01, 0x02, 0x04, 0x20, 0x40, 0x80
_QOS_MAX = 2
_ANSWER_BYTES = 4


class UnsupportedLevelError(Exception):
    """A CONNECT of another version of MQTT, to be refused with BAD_LEVEL (3.1.2.2)."""


class Will(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool


class Connect(NamedTuple):
    """`client_id` may be empty. `password` is empty where there is none."""

    client_id: str
    username: str
    password: str
    is_clean: bool
    keep_alive_s: int
    will: Will | None


class Publish(NamedTuple):
    """`packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    retain: bool


class Subscribe(NamedTuple):
    """Filters, each with the QoS that is asked for."""

    packet_id: int
    filters: Sequence[tuple[str, int]]


class Unsubscribe(NamedTuple):
    packet_id: int
    filters: Sequence[str]


class PacketBuffer:
    """Cuts what comes in into packets of at most `packet_max_bytes`."""

    def __init__(self, packet_max_bytes: int) -> None:
        self.packet_max_bytes = packet_max_bytes
        self._begun = bytearray()

    @property
    def unfinished_bytes(self) -> int:
        """How much is here of a packet that has not come to its end."""
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
                        f"a packet of more than {self.packet_max_bytes} bytes"
                    )
                if at + size > len(begun):
                    return
                at += size
                yield bytes(begun[at - size : at])
        finally:
            del begun[:at]


class _Fields:
    """Reads a packet's fields in turn. Raises MalformedPacketError where one is not all there."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._at = body_at(packet)

    def data(self, size: int) -> bytes:
        taken = self._packet[self._at : self._at + size]
        if len(taken) < size:
            raise MalformedPacketError("a packet that ends in a field")
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
            raise MalformedPacketError("more in a packet than its fields")


def check_opening(begun: bytes) -> None:
    """Raise as soon as it shows that what began can't become a CONNECT of MQTT 3.1.1.

    The first `OPENING_BYTES` are enough. Raises MalformedPacketError, UnsupportedLevelError.
    """
    if not begun:
        return
    if begun[0] != CONNECT:
        raise MalformedPacketError("something else than a CONNECT")
    if packet_size(begun, 0) is None:
        return
    opened = begun[body_at(begun) :]
    opening = next((o for o in _OPENINGS if o.startswith(opened[: len(o)])), None)
    if opening is None:
        raise MalformedPacketError("a CONNECT of another protocol")
    level = opened[len(opening) : len(opening) + 1]
    if level and (opening != _OPENINGS[0] or level[0] & ~_BRIDGE != _LEVEL):
        raise UnsupportedLevelError


def connect_of(packet: bytes) -> Connect:
    """What a CONNECT says (3.1) that has passed `check_opening`. Raises MalformedPacketError."""
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
    # Binary to the standard; ours are text, and what is none is a wrong one.
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


def publish_of(packet: bytes) -> Publish:
    """What a PUBLISH says (3.3). Raises MalformedPacketError, for a topic with wildcards too."""
    qos = packet[0] >> 1 & 0x03
    if qos > _QOS_MAX:
        raise MalformedPacketError("a PUBLISH at QoS 3")
    topic_at = body_at(packet) + 2
    id_at = topic_at + int.from_bytes(packet[topic_at - 2 : topic_at])
    payload_at = id_at + 2 if qos else id_at
    if payload_at > len(packet):
        raise MalformedPacketError("a PUBLISH that ends in its topic")
    packet_id = int.from_bytes(packet[id_at:payload_at])
    if qos and not packet_id:
        raise MalformedPacketError("a packet id of 0")
    topic = _topic(_text(packet[topic_at:id_at]))
    return Publish(topic, packet[payload_at:], qos, packet_id, bool(packet[0] & 0x01))


def subscribe_of(packet: bytes) -> Subscribe:
    """What a SUBSCRIBE asks for (3.8). Raises MalformedPacketError."""
    fields = _Fields(packet)
    packet_id = fields.packet_id()
    filters: list[tuple[str, int]] = []
    while fields.are_left or not filters:
        topic_filter, qos = fields.text(), fields.number(1)
        if not topic_filter or qos > _QOS_MAX:
            raise MalformedPacketError("a SUBSCRIBE to no filter, or at no QoS")
        filters.append((topic_filter, qos))
    return Subscribe(packet_id, filters)


def unsubscribe_of(packet: bytes) -> Unsubscribe:
    """What an UNSUBSCRIBE takes back (3.10). Raises MalformedPacketError."""
    fields = _Fields(packet)
    packet_id = fields.packet_id()
    filters: list[str] = []
    while fields.are_left or not filters:
        filters.append(fields.text())
    return Unsubscribe(packet_id, filters)


def answered_id(packet: bytes) -> int:
    """The id in a PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7). Raises MalformedPacketError."""
    if len(packet) != _ANSWER_BYTES:
        raise MalformedPacketError("an answer with more or less than a packet id")
    return _Fields(packet).packet_id()


def check_empty(packet: bytes) -> None:
    """Check a PINGREQ or DISCONNECT (3.12, 3.14). Raises MalformedPacketError."""
    _Fields(packet).end()


def kind_of(packet: bytes) -> int:
    """A packet's type with the flags that it must have (2.2); a PUBLISH's flags are its own."""
    return PUBLISH if packet[0] & ~_FLAGS == PUBLISH else packet[0]


def is_filter(topic_filter: str) -> bool:
    """Whether wildcards stand where they may (4.7.1)."""
    levels = topic_filter.split("/")
    return all(
        not ("#" in level or "+" in level)
        or level == "+"
        or (level == "#" and n == len(levels) - 1)
        for n, level in enumerate(levels)
    )


def connack(code: int, *, session_present: bool = False) -> bytes:
    return bytes([CONNACK, 2, session_present, code])


def answer(kind: int, packet_id: int) -> bytes:
    """A PUBACK, PUBREC, PUBCOMP or UNSUBACK."""
    return bytes([kind, 2]) + packet_id.to_bytes(2)


def suback(packet_id: int, codes: Iterable[int]) -> bytes:
    return packet_of(SUBACK, packet_id.to_bytes(2) + bytes(codes))


def published(message: Publish, *, is_duplicate: bool = False) -> bytes:
    """A PUBLISH."""
    header = PUBLISH | is_duplicate << 3 | message.qos << 1 | message.retain
    packet_id = message.packet_id.to_bytes(2) if message.qos else b""
    return packet_of(header, sized(message.topic) + packet_id + message.payload)


def _text(data: bytes) -> str:
    """Text as MQTT has it (1.5.3): UTF-8 without surrogates and without null characters."""
    try:
        value = data.decode()
    except UnicodeDecodeError:
        raise MalformedPacketError("text that is no UTF-8") from None
    if "\0" in value:
        raise MalformedPacketError("text with a null character")
    return value


def _identifier(value: str) -> str:
    """Without control characters, which have no place in a name, nor in a log (1.5.3)."""
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
        raise MalformedPacketError("a name with control characters")
    return value


def _topic(value: str) -> str:
    """A topic to publish in (3.3.2.1): not empty, no wildcards."""
    if not value or "+" in value or "#" in value:
        raise MalformedPacketError("a topic with wildcards, or an empty one")
    return value
