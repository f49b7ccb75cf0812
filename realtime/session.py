"""One client: signs in, subscribes, resumes, and is sent away with a code that says why.

A session is one task that reads one frame after the other. Others (the hub, the watchdog) end it
from outside by `end`; what is to happen at a certain time is the timeout of its reading.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from websockets.exceptions import ConnectionClosed

from core.errors import Unauthenticated
from core.ids import DeviceId
from core.tokens import Identity, verify
from core.units import rfc3339
from db.errors import DATABASE_ERRORS, UNAVAILABLE
from realtime.active_users import ActiveUserCheck
from realtime.bus import Bus
from realtime.channels import Channel, ChannelRefused, named, requested
from realtime.closing import CloseCode, Closing
from realtime.connections import ConnectionRegistry
from realtime.feed_shard import BusAway
from realtime.frames import decode, encode, error
from realtime.hub import Hub
from realtime.listening import ShardListeners
from realtime.live_telemetry import LiveTelemetry
from realtime.metrics import HubMetrics
from realtime.resuming import resume

AUTH_WITHIN_S = 5.0
EXPIRY_NOTICE_S = 60.0
SUBSCRIPTIONS_MAX = 100
SEND_WITHIN_S = 30.0


class Socket(Protocol):
    """What a session needs of its connection. Raises ConnectionClosed when that is gone."""

    async def receive(self) -> str | bytes: ...

    async def send(self, message: str | bytes) -> None:
        """Send text, and wait while too much is on its way."""

    def buffered_bytes(self) -> int: ...

    def write(self, frame: bytes) -> None:
        """Send a frame that is encoded already; nothing happens when the connection is gone."""

    async def close(self, code: CloseCode, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class HubContext:
    """What all sessions of a hub process share."""

    secret: str
    hub: Hub
    listening: ShardListeners
    bus: Bus
    roster: ConnectionRegistry
    doorkeeper: ActiveUserCheck
    watch: LiveTelemetry
    metrics: HubMetrics


class ClientSession:
    def __init__(self, socket: Socket, house: HubContext) -> None:
        self._socket = socket
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._identity: Identity | None = None
        self._subscriptions: dict[str, Channel] = {}
        self._verdict: Closing | None = None
        self._patience: asyncio.Timeout | None = None
        self._deadline = self._loop.time() + AUTH_WITHIN_S
        self._expires_at: float | None = None  # when the deadline is still to warn of it

    # As the hub sees it ----------------------------------------------------------------------

    def buffered_bytes(self) -> int:
        return self._socket.buffered_bytes()

    def write(self, frame: bytes) -> None:
        if self._verdict is None:
            self._socket.write(frame)

    def end(self, code: CloseCode, reason: str) -> None:
        if self._verdict is not None:
            return
        self._verdict = Closing(code, reason)
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(self._loop.time())

    # From its first frame to its last --------------------------------------------------------

    async def run(self) -> None:
        """Serve the client until it leaves or is sent away."""
        try:
            await self._converse()
        except Closing as closing:
            self._verdict = closing
        except ConnectionClosed:
            return
        finally:
            self._leave()
        self._house.metrics.closed.labels(str(self._verdict.code.value)).inc()
        await self._socket.close(self._verdict.code, self._verdict.reason)

    async def _converse(self) -> NoReturn:
        """Raises Closing, ConnectionClosed."""
        while True:
            if self._verdict is not None:
                raise self._verdict
            try:
                async with asyncio.timeout_at(self._deadline) as self._patience:
                    frame = decode(await self._socket.receive())
                    self._patience.reschedule(None)
                    await self._obey(frame)
            except TimeoutError:
                await self._when_time_is_up()

    async def _when_time_is_up(self) -> None:
        if self._verdict is not None:
            raise self._verdict
        if self._identity is None:
            raise Closing(CloseCode.AUTH, "the first frame must be auth, and come soon")
        if self._expires_at is None:
            raise Closing(CloseCode.AUTH, "the token has expired")
        self._deadline, self._expires_at = self._expires_at, None
        await self._say({"op": "token_expiring"})

    def _leave(self) -> None:
        for channel in self._subscriptions.values():
            self._stop(channel)
        self._subscriptions.clear()
        if self._identity is not None:
            self._house.roster.sign_out(self._identity.user_id, self)

    # What it may ask for ---------------------------------------------------------------------

    async def _obey(self, frame: dict[str, Any]) -> None:
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
                    self._unsubscribe(named(frame.get("channel"), self._identity))
                case "ping":
                    await self._say({"op": "pong"})
                case _:
                    raise ChannelRefused(
                        "bad_request", "op must be auth, subscribe, unsubscribe or ping"
                    )
        except ChannelRefused as refused:
            await self._say(error(refused.code, refused.message, frame.get("channel")))

    async def _authenticate(self, token: object) -> None:
        """Sign in, or stay signed in with a fresh token of the same user."""
        try:
            identity = verify(self._house.secret, str(token), now=datetime.now(UTC))
        except Unauthenticated as refusal:
            raise Closing(CloseCode.AUTH, refusal.message) from None
        if self._identity is None:
            await self._enter(identity)
        elif self._identity.user_id != identity.user_id:
            raise Closing(CloseCode.AUTH, "the token is another user's")
        self._identity = identity
        left_s = (identity.expires_at - datetime.now(UTC)).total_seconds()
        self._expires_at = self._loop.time() + left_s
        # A token that lives for less than the notice is not renewed over and over.
        self._deadline = self._expires_at - min(EXPIRY_NOTICE_S, left_s / 2)
        await self._say(
            {
                "op": "ready",
                "user_id": str(identity.user_id),
                "expires_at": rfc3339(identity.expires_at),
            }
        )

    async def _enter(self, identity: Identity) -> None:
        if not self._house.roster.sign_in(identity.user_id, self):
            raise Closing(CloseCode.TOO_MANY_CONNECTIONS, "too many connections of this user")
        # From here on it is looked after, as who is signed in, and leaves as such.
        self._identity = identity
        try:
            if not await self._house.doorkeeper.lets_in(identity.user_id):
                raise Closing(CloseCode.AUTH, "the account is not active")
        except (*UNAVAILABLE, *DATABASE_ERRORS) as reason:
            raise Closing(CloseCode.HUB_UNWELL, "the hub can't tell who may enter") from reason

    async def _subscribe(self, frame: dict[str, Any], who: Identity) -> None:
        channel = requested(frame, who)
        position = frame.get("position")
        if position is not None and not isinstance(position, str):
            raise ChannelRefused("bad_request", "position must be a string as received")
        self._unsubscribe(channel)  # asking again begins anew
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise ChannelRefused(
                "too_many_subscriptions", f"at most {SUBSCRIPTIONS_MAX} subscriptions"
            )
        if channel.device_id is not None:
            await self._watch(channel.device_id, who)
        self._subscriptions[channel.name] = channel
        try:
            await self._house.listening.follow(channel.source)
            at = await resume(self._house.bus, self._house.hub, channel, position, self._send)
        except BusAway as reason:
            raise Closing(CloseCode.HUB_UNWELL, "the hub can't hear") from reason
        self._house.hub.attach(self, channel, at)

    async def _watch(self, device_id: DeviceId, who: Identity) -> None:
        owner_id = None if who.role == "admin" else who.user_id
        try:
            is_theirs = await self._house.watch.begin(device_id, owner_id)
        except (*UNAVAILABLE, *DATABASE_ERRORS) as reason:
            raise Closing(CloseCode.HUB_UNWELL, "the hub can't tell whose it is") from reason
        if not is_theirs:
            raise ChannelRefused("forbidden", "this channel is another user's")

    def _unsubscribe(self, channel: Channel) -> None:
        if channel.name in self._subscriptions:
            self._stop(self._subscriptions.pop(channel.name))

    def _stop(self, channel: Channel) -> None:
        self._house.hub.detach(self, channel)
        self._house.listening.unfollow(channel.source)
        if channel.device_id is not None:
            self._house.watch.end(channel.device_id)

    async def _say(self, frame: dict[str, Any]) -> None:
        await self._send(encode(frame))

    async def _send(self, message: str | bytes) -> None:
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self._socket.send(message)
        except TimeoutError:
            raise Closing(CloseCode.SLOW, "reads too slowly") from None
