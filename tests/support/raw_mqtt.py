"""MQTT byte by byte, for packets that no well-behaved client sends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Self
from uuid import UUID

ANSWERED_S = 5.0

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL = 0x20, 0x30, 0x40, 0x50, 0x62
PUBCOMP, SUBACK, UNSUBACK, PINGRESP = 0x70, 0x90, 0xB0, 0xD0
ACCEPTED, BAD_LEVEL, BAD_CLIENT_ID, UNAVAILABLE, NOT_AUTHORIZED = 0, 1, 2, 3, 5

DISCONNECT, PINGREQ = b"\xe0\x00", b"\xc0\x00"


class Packet(NamedTuple):
    header: int
    body: bytes

    @property
    def kind(self) -> int:
        """The packet type; for a PUBLISH, without its flags."""
        return PUBLISH if self.header & 0xF0 == PUBLISH else self.header

    @property
    def topic(self) -> str:
        return self.body[2 : 2 + int.from_bytes(self.body[:2])].decode()

    @property
    def packet_id(self) -> int:
        """The packet id of a PUBLISH at QoS 1 or 2."""
        at = 2 + int.from_bytes(self.body[:2])
        return int.from_bytes(self.body[at : at + 2])

    @property
    def payload(self) -> bytes:
        id_bytes = 2 if self.header & 0x06 else 0
        return self.body[2 + int.from_bytes(self.body[:2]) + id_bytes :]

    @property
    def is_retained(self) -> bool:
        return bool(self.header & 0x01)


class Hung(AssertionError):
    """No packet arrived, and the connection was not closed."""


class RawClient:
    """A connection that sends any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, source: str = "127.0.0.1") -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))

    def send(self, *data: bytes) -> None:
        self._writer.write(b"".join(data))

    async def receive(self, within_s: float = ANSWERED_S) -> Packet | None:
        """Return the next packet; None: the connection is closed. Raises Hung."""
        try:
            async with asyncio.timeout(within_s):
                header = (await self._reader.readexactly(1))[0]
                size = shift = 0
                while True:
                    digit = (await self._reader.readexactly(1))[0]
                    size |= (digit & 0x7F) << shift
                    shift += 7
                    if digit < 0x80:
                        break
                return Packet(header, await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except TimeoutError:
            raise Hung(f"no packet and no end within {within_s:g} s") from None

    async def expect(self, kind: int) -> Packet:
        packet = await self.receive()
        assert packet is not None, "the connection was closed"
        assert packet.kind == kind, packet
        return packet

    async def connected(self, connect: bytes) -> bool:
        """Connect, and return True if the broker had a session."""
        self.send(connect)
        session_present, code = (await self.expect(CONNACK)).body
        assert code == ACCEPTED, code
        return bool(session_present)

    async def refused(self, connect: bytes) -> int:
        """Send a CONNECT that is refused, and return the code. The connection is closed then."""
        self.send(connect)
        session_present, code = (await self.expect(CONNACK)).body
        assert code != ACCEPTED
        assert not session_present
        assert await self.receive() is None
        return code

    async def subscribed(self, *filters: str, qos: int = 1, packet_id: int = 1) -> list[int]:
        self.send(subscribe(*filters, qos=qos, packet_id=packet_id))
        return list((await self.expect(SUBACK)).body[2:])

    async def closed(self, within_s: float = ANSWERED_S) -> bool:
        """Return True if the connection ends, after any packets. Raises Hung."""
        while await self.receive(within_s) is not None:
            pass
        return True

    async def answers(self, payloads: list[bytes] | None = None) -> bool:
        """Return True if the broker still serves it: it has handled all earlier packets then.

        The payloads of messages that come before the answer go to `payloads`.
        """
        self.send(PINGREQ)
        while (packet := await self.receive()) is not None:
            if packet.kind == PINGRESP:
                return True
            if packet.kind == PUBLISH and payloads is not None:
                payloads.append(packet.payload)
        return False

    async def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def raw(port: int, source: str = "127.0.0.1") -> AsyncIterator[RawClient]:
    client = await RawClient.open(port, source)
    try:
        yield client
    finally:
        client.abort()


def packet(header: int, body: bytes = b"") -> bytes:
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            return bytes([header, *length]) + body


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2) + data


class Will(NamedTuple):
    topic: str | bytes
    payload: bytes = b"offline"
    qos: int = 1
    retain: bool = False


def connect(
    username: object = "",
    password: str | bytes = b"",
    *,
    client_id: str | bytes = "roof",
    clean: bool = True,
    keep_alive_s: int = 60,
    will: Will | None = None,
    name: bytes = b"MQTT",
    level: int = 4,
    flags: int | None = None,
) -> bytes:
    """Return a CONNECT; `flags` replaces the flags that fit its fields."""
    fitting = 0xC0 | (0x02 if clean else 0)
    parts = [text(client_id)]
    if will is not None:
        fitting |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
        parts += [text(will.topic), text(will.payload)]
    parts += [text(str(username)), text(password)]
    head = text(name) + bytes([level, fitting if flags is None else flags])
    return packet(0x10, head + keep_alive_s.to_bytes(2) + b"".join(parts))


def publish(
    topic: str | bytes,
    payload: bytes = b"{}",
    *,
    qos: int = 1,
    packet_id: int = 1,
    retain: bool = False,
) -> bytes:
    identifier = packet_id.to_bytes(2) if qos else b""
    return packet(PUBLISH | qos << 1 | retain, text(topic) + identifier + payload)


def subscribe(*filters: str | bytes, qos: int = 1, packet_id: int = 1) -> bytes:
    return packet(0x82, packet_id.to_bytes(2) + b"".join(text(f) + bytes([qos]) for f in filters))


def unsubscribe(*filters: str, packet_id: int = 1) -> bytes:
    return packet(0xA2, packet_id.to_bytes(2) + b"".join(text(f) for f in filters))


def telemetry(device_id: UUID) -> str:
    return f"solar/{device_id}/telemetry"
