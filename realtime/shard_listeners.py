"""The subscriptions of a realtime process at Redis: one connection per shard of the feed.

A source is subscribed while a client of this process listens to it. After a broken connection,
missed events are read from the histories before new ones are taken. If that is impossible (too much
was missed, or Redis lost its data), `lost` is called: all clients are closed and then resume.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from redis.asyncio.connection import AbstractConnection

from core.retry import Backoff
from realtime.bus import TIMEOUT_S, Bus
from realtime.feed_shard import (
    REDIS_ERRORS,
    BusUnavailable,
    FeedShard,
    as_unavailable,
    decode_entries,
    decode_heartbeat,
)
from realtime.hub import Hub
from realtime.positions import ORIGIN, FeedEntry, FeedPosition

# Three missing heartbeats: clients are closed and connect to another process.
STALE_AFTER_S = 3.0
_PAGE_ENTRIES = 250
_RETRY_FIRST_S = 0.05
_RETRY_MAX_S = 1.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ShardMessage:
    """A message, or the confirmation of a subscription, by `kind`."""

    kind: bytes
    channel: str
    payload: bytes


class SubscriptionConnection:
    """A connection for sharded subscriptions. It does not reconnect by itself.

    One task reads. Others request subscriptions, and `run` sends the requests in their order.
    """

    def __init__(self, shard: FeedShard) -> None:
        self._shard = shard
        self._connection: AbstractConnection | None = None
        self._requests: list[tuple[str, ...]] = []
        self._requested = asyncio.Event()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Connect, without any subscription. Raises BusUnavailable and REDIS_ERRORS."""
        connection = self._shard.connection()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await connection.connect()  # type: ignore[no-untyped-call]
            self._requests.clear()
            self._connection = connection
            yield
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)

    async def read(self) -> ShardMessage:
        """Return the next message; wait for it without a limit. Only while connected."""
        assert self._connection is not None
        kind, channel, payload = await self._connection.read_response(timeout=math.inf)
        return ShardMessage(kind, channel.decode(), payload)

    def request(self, command: str, *channels: str) -> bool:
        """Queue SSUBSCRIBE or SUNSUBSCRIBE. Return False if there is no connection."""
        if self._connection is None:
            return False
        self._requests.append((command, *channels))
        self._requested.set()
        return True

    async def run(self) -> None:
        """Send requests. This is a task of its own: cancelling a send breaks the connection."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            requests, self._requests = self._requests, []
            if self._connection is None or not requests:
                continue
            try:
                await self._connection.send_packed_command(self._connection.pack_commands(requests))
            except REDIS_ERRORS as error:
                # The reading task fails too, and reconnects.
                _log.warning("subscription_not_requested", error=str(error))


@dataclass(slots=True)
class _Followed:
    listeners: int = 0
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)


class ShardListener:
    """Receives one shard for all clients of this process, without gaps.

    `due` is set when the hub has events to flush. `flush` is called when the hub's window is full.
    """

    def __init__(
        self, shard: FeedShard, hub: Hub, *, due: asyncio.Event,
        flush: Callable[[], None], lost: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._connection = SubscriptionConnection(shard)
        self._shard = shard
        self._hub = hub
        self._due = due
        self._flush = flush
        self._lost = lost
        self._followed: dict[str, _Followed] = {}
        # Requests for each subscription that Redis has not confirmed. A source may be subscribed,
        # unsubscribed and subscribed again before the first answer: only the last one counts.
        self._unconfirmed: Counter[str] = Counter()
        self._epoch: str | None = None
        self._received_until = ORIGIN
        self._began_at = asyncio.get_running_loop().time()
        self._heartbeat_at: float | None = None

    @property
    def is_receiving(self) -> bool:
        """True if the last heartbeat came in time."""
        return self._heartbeat_at is not None and not self.is_stale

    @property
    def is_stale(self) -> bool:
        """True if three heartbeats in a row are missing."""
        last_at = self._heartbeat_at or self._began_at
        return asyncio.get_running_loop().time() - last_at > STALE_AFTER_S

    @property
    def received_until(self) -> FeedPosition | None:
        """Position up to which all events of followed sources have reached the hub."""
        return FeedPosition(self._epoch, self._received_until) if self._epoch else None

    async def follow(self, source: str) -> None:
        """Subscribe a source: events published after the return reach the hub.

        Every call needs an `unfollow`, even if it raised. Raises BusUnavailable.
        """
        followed = self._followed.get(source)
        if followed is None:
            followed = self._followed[source] = _Followed()
            self._hub.open(source)
            self._request("SSUBSCRIBE", self._shard.subscription(source))
        followed.listeners += 1
        with as_unavailable():
            async with asyncio.timeout(TIMEOUT_S):
                await followed.confirmed.wait()

    def unfollow(self, source: str) -> None:
        """Undo one `follow`; the last one unsubscribes the source."""
        followed = self._followed[source]
        followed.listeners -= 1
        if followed.listeners == 0:
            del self._followed[source]
            self._hub.close(source)
            self._request("SUNSUBSCRIBE", self._shard.subscription(source))

    async def run(self) -> None:
        """Receive until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_receiving())
            tasks.create_task(self._connection.run())

    async def _keep_receiving(self) -> None:
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_MAX_S)
        while True:
            self._unconfirmed.clear()
            for followed in self._followed.values():
                followed.confirmed.clear()
            try:
                # This query also finds the cluster node that has the shard now.
                now = await self._shard.now()
                with as_unavailable():
                    async with self._connection.connected():
                        await self._receive(now)
            except BusUnavailable as error:
                _log.warning("redis_lost", error=str(error), retry_in_s=backoff.delay_s)
            await asyncio.sleep(backoff.next_s())
            if self.is_receiving:
                backoff.reset()

    async def _receive(self, now: FeedPosition) -> None:
        """Subscribe, read what was missed, then take messages as they come."""
        if self._epoch is None:
            self._epoch, self._received_until = now.epoch, now.offset
        early = await self._subscribe()
        await self._catch_up(self._epoch)
        async with asyncio.timeout(STALE_AFTER_S) as until_stale:
            for message in early:
                await self._take(message)
            while True:
                message = await self._connection.read()
                await self._take(message)
                if message.channel == self._shard.heartbeat_channel:
                    until_stale.reschedule(asyncio.get_running_loop().time() + STALE_AFTER_S)

    async def _subscribe(self) -> list[ShardMessage]:
        """Subscribe all followed sources. Return messages that came before the last answer."""
        heartbeats = self._shard.heartbeat_channel
        self._request("SSUBSCRIBE", *map(self._shard.subscription, self._followed), heartbeats)
        early = []
        async with asyncio.timeout(STALE_AFTER_S):
            while self._unconfirmed[heartbeats]:
                message = await self._connection.read()
                if message.kind == b"smessage":
                    early.append(message)
                else:
                    await self._take(message)
        return early

    async def _catch_up(self, epoch: str) -> None:
        """Give the hub the events that were published while there was no connection."""
        for source in list(self._followed):
            more = True
            while more and source in self._followed:
                since = FeedPosition(epoch, max(self._hub.seen(source), self._received_until))
                page = await self._shard.read(source, since, count=_PAGE_ENTRIES)
                self._note_epoch(page.now.epoch)
                if not page.complete:
                    self._lost("missed events are no longer in the history")
                    return
                await self._publish(source, page.entries)
                more = page.more

    async def _take(self, message: ShardMessage) -> None:
        if message.kind == b"ssubscribe":
            self._confirm(message.channel)
        elif message.kind == b"sunsubscribe":
            if message.channel == self._shard.heartbeat_channel:
                raise BusUnavailable("the shard has moved to another node")
        elif message.channel == self._shard.heartbeat_channel:
            heartbeat = decode_heartbeat(message.payload)
            self._note_epoch(heartbeat.epoch)
            self._received_until = heartbeat.offset
            self._heartbeat_at = asyncio.get_running_loop().time()
        else:
            entries = decode_entries(message.payload)
            self._note_epoch(entries[0].position.epoch)
            await self._publish(self._shard.channel(message.channel), entries)

    def _confirm(self, subscription: str) -> None:
        self._unconfirmed[subscription] -= 1
        if self._unconfirmed[subscription] == 0:
            del self._unconfirmed[subscription]
            followed = self._followed.get(self._shard.channel(subscription))
            if followed is not None:
                followed.confirmed.set()

    def _note_epoch(self, epoch: str) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._lost("Redis lost its data")

    async def _publish(self, source: str, entries: Sequence[FeedEntry]) -> None:
        is_full = self._hub.publish(source, entries)
        self._due.set()
        if is_full:
            self._flush()
            await asyncio.sleep(0)  # let the event loop send what was written

    def _request(self, command: str, *subscriptions: str) -> None:
        if self._connection.request(command, *subscriptions) and command == "SSUBSCRIBE":
            self._unconfirmed.update(subscriptions)


class ShardListeners:
    """One `ShardListener` for each shard of the feed."""

    def __init__(
        self, bus: Bus, hub: Hub, *, due: asyncio.Event, lost: Callable[[str], None]
    ) -> None:
        self._bus = bus
        self._listeners: dict[FeedShard, ShardListener] = {
            shard: ShardListener(shard, hub, due=due, flush=hub.flush_all, lost=lost)
            for shard in bus.shards
        }

    @property
    def are_receiving(self) -> bool:
        """True if the last heartbeat of every shard came in time."""
        return all(listener.is_receiving for listener in self._listeners.values())

    @property
    def is_any_stale(self) -> bool:
        """True if three heartbeats in a row are missing in any shard."""
        return any(listener.is_stale for listener in self._listeners.values())

    def received_until(self, source: str) -> FeedPosition | None:
        """Return the position up to which a followed source's events have reached the hub."""
        return self._of(source).received_until

    async def follow(self, source: str) -> None:
        """Subscribe a source, as `ShardListener.follow` does."""
        await self._of(source).follow(source)

    def unfollow(self, source: str) -> None:
        """Undo one `follow`."""
        self._of(source).unfollow(source)

    async def run(self) -> None:
        """Receive until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for listener in self._listeners.values():
                tasks.create_task(listener.run())

    def _of(self, source: str) -> ShardListener:
        return self._listeners[self._bus.shard_of(source)]
