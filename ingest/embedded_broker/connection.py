"""One client's connection, from its first byte to its last."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

import structlog

from ingest.embedded_broker import client_packets as packets
from ingest.embedded_broker.access import Access, AccessUndecidedError, BrokerUser
from ingest.embedded_broker.client_packets import Connect, PacketBuffer, UnsupportedLevelError, Will
from ingest.embedded_broker.limits import BrokerLimits, Deadlines, PublishRate
from ingest.embedded_broker.packet_handler import LimitExceededError, PacketHandler
from ingest.embedded_broker.retained import RetainedMessages
from ingest.embedded_broker.router import Router
from ingest.embedded_broker.sessions import Sessions, SupersededError
from ingest.mqtt import codec
from ingest.mqtt.codec import MalformedPacketError

READ_BYTES = 64 * 1024
_BEHIND_POLL_S = 0.1
# Answers that were sent before the end may go out for this long.
_FLUSH_S = 1.0
# Their cost in messages of the rate limit: they search all subscriptions and retained messages.
_COSTS = {codec.SUBSCRIBE: 20, codec.UNSUBSCRIBE: 20}

# After these reasons no will is published (3.1.2.5): the client disconnected, or may not publish.
DISCONNECTED, REVOKED, STOPPING = "disconnected", "revoked", "stopping"
CLOSED = "closed by the client"
_WITHOUT_WILL = {DISCONNECTED, REVOKED, STOPPING}

_log = structlog.get_logger()


class RefusedError(Exception):
    """A CONNECT is refused with a return code. The message is for the log."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class BrokerParts:
    """The objects that all connections share.

    `hub_first`: devices may sign in only once the hub has subscribed, as messages that they publish
    before would be lost. `now_s` is the event loop's clock. `orders` number the CONNECTs.
    """

    access: Access
    sessions: Sessions
    router: Router
    retained: RetainedMessages
    limits: BrokerLimits
    hub_first: bool
    now_s: Callable[[], float]
    orders: Iterator[int] = field(default_factory=count)

    @property
    def hub_is_behind(self) -> bool:
        """True if so much waits to be routed or acknowledged by the hub that devices must wait."""
        queued_bytes = self.router.unrouted_bytes + self.sessions.hub_queued_bytes
        return queued_bytes > self.limits.queued_max_bytes


class ClientConnection:
    """A client's connection. Before it has signed in, no packet reaches a session or the router.

    `username`: as the CONNECT states it. `user`: set once authenticated. `end_reason`: set when the
    connection begins to end; later packets have no effect.
    """

    def __init__(
        self, parts: BrokerParts, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        address: str,
    ) -> None:  # fmt: skip
        self.address = address
        self.is_signing_in = False
        self.order = 0
        self.username = ""
        self.user: BrokerUser | None = None
        self.end_reason: str | None = None
        self._parts = parts
        self._reader = reader
        self._writer = writer
        self._buffer = PacketBuffer(parts.limits.connect_max_bytes)
        self._ending = asyncio.Event()
        self._ended = asyncio.Event()
        self._deadlines = Deadlines(parts.limits)
        self._rate = PublishRate(
            messages_per_s=parts.limits.messages_per_device_per_s,
            bytes_per_s=parts.limits.bytes_per_device_per_s,
            now_s=parts.now_s(),
        )

    @property
    def unfinished_bytes(self) -> int:
        return self._buffer.unfinished_bytes

    def end(self, reason: str) -> None:
        """Begin to end the connection. Answers sent before may still go out for a second."""
        if self.end_reason is None:
            self.end_reason = reason
            self._ending.set()
            self._writer.close()
            self._reader.feed_eof()
            asyncio.get_running_loop().call_later(_FLUSH_S, self._writer.transport.abort)

    async def has_ended(self) -> None:
        await self._ended.wait()

    def overdue(self) -> str | None:
        """Return the reason to end the connection, or None."""
        if self.user is None:
            return None  # Signing in has a deadline of its own.
        return self._deadlines.overdue(self._parts.now_s())

    async def run(self, signed_in: Callable[[], None]) -> None:
        """Serve the client until the connection ends. Calls `signed_in` when it has signed in."""
        try:
            await self._serve(signed_in)
        except (MalformedPacketError, LimitExceededError, RefusedError) as error:
            self.end(str(error))
        except UnsupportedLevelError:
            self.end("another version of MQTT")
        except SupersededError:
            self.end("a newer connection has its session")
        except TimeoutError:
            self.end("no CONNECT in time")
        except OSError as error:
            self.end(f"connection lost: {error}")
        finally:
            self.end(CLOSED)
            self._ended.set()

    async def _serve(self, signed_in: Callable[[], None]) -> None:
        async with asyncio.timeout(self._parts.limits.connect_within_s):
            try:
                connect, user = await self._sign_in()
            except UnsupportedLevelError:
                self._writer.write(packets.encode_connack(packets.BAD_LEVEL))
                raise
            except RefusedError as refusal:
                self._writer.write(packets.encode_connack(refusal.code))
                raise
            session, resumes = await self._parts.sessions.claim(
                user, connect.client_id, self, is_clean=connect.is_clean
            )
        try:
            self.user = user
            signed_in()
            self._buffer.packet_max_bytes = self._parts.limits.packet_max_bytes
            self._deadlines.begin(connect.keep_alive_s, self._parts.now_s())
            handler = PacketHandler(
                user, session, self._parts.router, self._parts.retained, self._parts.limits,
                send=self._send, end=self.end,
            )  # fmt: skip
            handler.begin(resumes=resumes)
            await self._serve_session(handler, connect.will)
        finally:
            self._parts.sessions.release(session)

    async def _sign_in(self) -> tuple[Connect, BrokerUser]:
        """Authenticate the client. Raises the errors that `_serve` and `run` handle."""
        connect = packets.decode_connect(await self._read_connect())
        self.is_signing_in = True
        self.username = connect.username
        self.order = next(self._parts.orders)
        _check_client_id(connect, self._parts.limits.client_id_max_bytes)
        try:
            user = await self._parts.access.sign_in(connect.username, connect.password)
        except AccessUndecidedError as error:
            raise RefusedError(packets.UNAVAILABLE, str(error)) from error
        if user is None:
            raise RefusedError(packets.NOT_AUTHORIZED, "wrong user name or password")
        if self._parts.hub_first and not user.is_hub and not self._parts.sessions.hub_reads:
            raise RefusedError(packets.UNAVAILABLE, "the hub has not subscribed yet")
        will = connect.will
        if will is not None and not (user.may_publish(will.topic) or user.uses_firmware):
            # Some firmwares have a will that can't be configured: they connect, and it is dropped.
            raise RefusedError(packets.NOT_AUTHORIZED, "a will in a topic that is not allowed")
        return connect, user

    async def _read_connect(self) -> bytes:
        """Return the CONNECT.

        Raises MalformedPacketError and UnsupportedLevelError as early as possible.
        """
        begun = b""
        while data := await self._reader.read(READ_BYTES):
            begun = (begun + data)[: packets.OPENING_BYTES]
            packets.check_opening(begun)
            for packet in self._buffer.feed(data):
                return packet
        raise MalformedPacketError("no complete CONNECT")

    async def _serve_session(self, handler: PacketHandler, will: Will | None) -> None:
        """Handle packets until either side ends the connection; then publish the will if due."""
        try:
            await self._read_packets(handler)
        except (MalformedPacketError, LimitExceededError, OSError) as error:
            self.end(str(error))
        self.end(CLOSED)
        if will is not None and self.end_reason not in _WITHOUT_WILL:
            await handler.publish_will(will)

    async def _read_packets(self, handler: PacketHandler) -> None:
        """Handle packets until the connection ends.

        Raises MalformedPacketError, LimitExceededError, OSError.
        """
        data = b""  # Packets may have arrived together with the CONNECT.
        while True:
            count = 0
            for packet in self._buffer.feed(data):
                if self.end_reason is not None:
                    return
                count += _COSTS.get(packets.packet_type(packet), 1)
                await handler.handle(packet)
                if handler.is_disconnected:
                    self.end(DISCONNECTED)
            self._deadlines.read(count, self._buffer.unfinished_bytes, self._parts.now_s())
            if self.user is not None and not self.user.is_hub:
                await self._slow_down(count, len(data))
            data = await self._reader.read(READ_BYTES)
            if not data:
                return

    async def _slow_down(self, messages: int, size_bytes: int) -> None:
        """Delay a device that reads slowly or sends too fast, or while the hub is behind.

        The hub's own connection is never delayed: while its database is unavailable it leaves all
        messages unread, and its pings must still be answered.
        """
        if not self._writer.is_closing():
            await self._writer.drain()
        wait_s = self._rate.wait_s(messages, size_bytes, self._parts.now_s())
        if wait_s > 0:
            await self._pause(wait_s)
        while self._parts.hub_is_behind and self.end_reason is None:
            await self._pause(_BEHIND_POLL_S)

    async def _pause(self, pause_s: float) -> None:
        """Read nothing for a while. The deadlines are extended by it."""
        self._deadlines.pause(self._parts.now_s() + pause_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._ending.wait()

    def _send(self, packet: bytes) -> None:
        if self._writer.is_closing():
            return
        self._writer.write(packet)
        if self.user is not None and not self.user.is_hub:
            unread_bytes = self._writer.transport.get_write_buffer_size()
            if unread_bytes > self._parts.limits.unread_max_bytes:
                self.end("does not read its messages")


def _check_client_id(connect: Connect, max_bytes: int) -> None:
    """Raise RefusedError for a long client id, or a persistent session without one (3.1.3.1)."""
    if len(connect.client_id.encode()) > max_bytes:
        raise RefusedError(packets.BAD_CLIENT_ID, f"the client id has more than {max_bytes} bytes")
    if not connect.client_id and not connect.is_clean:
        raise RefusedError(packets.BAD_CLIENT_ID, "a persistent session without a client id")
