"""One client's session: sign-in, subscriptions, resuming, and the close code at its end.

A session is one task that handles one frame after the other. Other tasks (the hub, the checks) end
it by `end`. Deadlines (sign-in, expiry of the token) are timeouts of reading the next frame.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from websockets.exceptions import ConnectionClosed

from core.clock import real_now
from core.enums import UserRole
from core.errors import Unauthenticated
from core.ids import DeviceId
from core.tokens import Identity, verify
from core.units import rfc3339
from db.errors import database_errors
from realtime.bus import Bus
from realtime.connections import ActiveUserCheck, ConnectionRegistry
from realtime.feed_shard import BusUnavailable
from realtime.hub import Hub
from realtime.live_telemetry import LiveTelemetry
from realtime.metrics import HubMetrics
from realtime.protocol import (
    Channel,
    ChannelRefused,
    CloseCode,
    Closing,
    channel_by_name,
    decode,
    encode,
    error,
    requested_channel,
)
from realtime.resuming import resume
from realtime.shard_listeners import ShardListeners

# A connection must sign in within this time, or it is closed with 4401.
AUTH_WITHIN_S = 5.0
# `token_expiring` is sent this long before the token expires.
EXPIRY_NOTICE_S = 60.0
SUBSCRIPTIONS_MAX = 100
# A client that does not read an answer within this time is closed with 4408.
SEND_WITHIN_S = 30.0


class Socket(Protocol):
    """The connection of a session. `receive` and `send` raise ConnectionClosed after its end."""

    async def receive(self) -> str | bytes: ...

    async def send(self, message: str | bytes) -> None:
        """Send text; wait while the write buffer is full."""

    def buffered_bytes(self) -> int: ...

    def write(self, frame: bytes) -> None:
        """Send a frame that is already encoded; do nothing after the connection's end."""

    async def close(self, code: CloseCode, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class HubContext:
    """Objects that all sessions of a realtime process share."""

    secret: str
    hub: Hub
    listeners: ShardListeners
    bus: Bus
    connections: ConnectionRegistry
    active_users: ActiveUserCheck
    live_telemetry: LiveTelemetry
    metrics: HubMetrics


class ClientSession:
    """A client, from its first frame to its close. It is a `Client` for the hub."""

    def __init__(self, socket: Socket, context: HubContext) -> None:
        self._socket = socket
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._identity: Identity | None = None
        self._subscriptions: dict[str, Channel] = {}
        self._closing: Closing | None = None
        self._read_timeout: asyncio.Timeout | None = None
        self._deadline = self._loop.time() + AUTH_WITHIN_S
        # Time of the token's expiry while `token_expiring` has not been sent, else None.
        self._expires_at: float | None = None

    # The hub's `Client` ------------------------------------------------------------------------

    def buffered_bytes(self) -> int:
        return self._socket.buffered_bytes()

    def write(self, frame: bytes) -> None:
        if self._closing is None:
            self._socket.write(frame)

    def end(self, code: CloseCode, reason: str) -> None:
        if self._closing is not None:
            return
        self._closing = Closing(code, reason)
        if self._read_timeout is not None and not self._read_timeout.expired():
            self._read_timeout.reschedule(self._loop.time())

    # The life of a session -------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the client until it disconnects or is closed."""
        try:
            await self._serve()
        except Closing as closing:
            self._closing = closing
        except ConnectionClosed:
            return
        finally:
            self._detach_all()
        self._context.metrics.closed.labels(str(self._closing.code.value)).inc()
        await self._socket.close(self._closing.code, self._closing.reason)

    async def _serve(self) -> NoReturn:
        """Handle frames until the end. Raises Closing, ConnectionClosed."""
        while True:
            if self._closing is not None:
                raise self._closing
            try:
                async with asyncio.timeout_at(self._deadline) as self._read_timeout:
                    frame = decode(await self._socket.receive())
                    self._read_timeout.reschedule(None)
                    await self._dispatch(frame)
            except TimeoutError:
                await self._deadline_passed()

    async def _deadline_passed(self) -> None:
        if self._closing is not None:
            raise self._closing
        if self._identity is None:
            raise Closing(CloseCode.AUTH, "the first frame must be auth, and come within 5 s")
        if self._expires_at is None:
            raise Closing(CloseCode.AUTH, "the token has expired")
        self._deadline, self._expires_at = self._expires_at, None
        await self._send_frame({"op": "token_expiring"})

    def _detach_all(self) -> None:
        for channel in self._subscriptions.values():
            self._stop(channel)
        self._subscriptions.clear()
        if self._identity is not None:
            self._context.connections.sign_out(self._identity.user_id, self)

    # Requests ----------------------------------------------------------------------------------

    async def _dispatch(self, frame: dict[str, Any]) -> None:
        op = frame.get("op")
        if op == "auth":
            await self._authenticate(frame.get("token"))
            return
        if self._identity is None:
            raise Closing(CloseCode.AUTH, "the first frame must be auth")
        try:
            match op:
                case "subscribe":
                    await self._subscribe(frame, self._identity)
                case "unsubscribe":
                    self._unsubscribe(channel_by_name(frame.get("channel"), self._identity))
                case "ping":
                    await self._send_frame({"op": "pong"})
                case _:
                    raise ChannelRefused(
                        "bad_request", "op must be auth, subscribe, unsubscribe or ping"
                    )
        except ChannelRefused as refused:
            await self._send_frame(error(refused.code, refused.message, frame.get("channel")))

    async def _authenticate(self, token: object) -> None:
        """Sign in, or renew the sign-in with a fresh token of the same user. Raises Closing."""
        try:
            identity = verify(self._context.secret, str(token), now=real_now())
        except Unauthenticated as refusal:
            raise Closing(CloseCode.AUTH, refusal.message) from None
        if self._identity is None:
            await self._enter(identity)
        elif self._identity.user_id != identity.user_id:
            raise Closing(CloseCode.AUTH, "the token is another user's")
        self._identity = identity
        left_s = (identity.expires_at - real_now()).total_seconds()
        self._expires_at = self._loop.time() + left_s
        # A short-lived token gets its notice at half of its life, or it would be renewed at once.
        self._deadline = self._expires_at - min(EXPIRY_NOTICE_S, left_s / 2)
        await self._send_frame(
            {
                "op": "ready",
                "user_id": str(identity.user_id),
                "expires_at": rfc3339(identity.expires_at),
            }
        )

    async def _enter(self, identity: Identity) -> None:
        if not self._context.connections.sign_in(identity.user_id, self):
            raise Closing(CloseCode.TOO_MANY_CONNECTIONS, "too many connections of this user")
        # From here on the registry counts the session, and `_detach_all` signs it out.
        self._identity = identity
        try:
            if not await self._context.active_users.is_active(identity.user_id):
                raise Closing(CloseCode.AUTH, "the account is not active")
        except database_errors() as reason:
            raise Closing(CloseCode.HUB_UNWELL, "the hub can't check the account") from reason

    async def _subscribe(self, frame: dict[str, Any], who: Identity) -> None:
        channel = requested_channel(frame, who)
        position = frame.get("position")
        if position is not None and not isinstance(position, str):
            raise ChannelRefused("bad_request", "position must be a string as received")
        self._unsubscribe(channel)  # a repeated request begins anew
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise ChannelRefused(
                "too_many_subscriptions", f"at most {SUBSCRIPTIONS_MAX} subscriptions"
            )
        if channel.device_id is not None:
            await self._watch_device(channel.device_id, who)
        self._subscriptions[channel.name] = channel
        try:
            await self._context.listeners.follow(channel.source)
            at = await resume(self._context.bus, self._context.hub, channel, position, self._send)
        except BusUnavailable as reason:
            raise Closing(CloseCode.HUB_UNWELL, "the feed is unavailable") from reason
        self._context.hub.attach(self, channel, at)

    async def _watch_device(self, device_id: DeviceId, who: Identity) -> None:
        owner_id = None if who.role is UserRole.ADMIN else who.user_id
        try:
            is_theirs = await self._context.live_telemetry.begin(device_id, owner_id)
        except database_errors() as reason:
            raise Closing(
                CloseCode.HUB_UNWELL, "the hub can't check the device's owner"
            ) from reason
        if not is_theirs:
            raise ChannelRefused("forbidden", "this channel is another user's")

    def _unsubscribe(self, channel: Channel) -> None:
        if channel.name in self._subscriptions:
            self._stop(self._subscriptions.pop(channel.name))

    def _stop(self, channel: Channel) -> None:
        self._context.hub.detach(self, channel)
        self._context.listeners.unfollow(channel.source)
        if channel.device_id is not None:
            self._context.live_telemetry.end(channel.device_id)

    async def _send_frame(self, frame: dict[str, Any]) -> None:
        await self._send(encode(frame))

    async def _send(self, message: str | bytes) -> None:
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self._socket.send(message)
        except TimeoutError:
            raise Closing(CloseCode.SLOW, "reads too slowly") from None
