"""One connection that hears a lane for all clients of a hub process, and leaves no holes.

A channel is followed while someone listens to it. When the connection breaks, what was missed is
read from the histories before anything new is taken. Where that can't be done (too much was
missed, or Redis lost its memory) `lost` is called: clients are to be closed, and then resume.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from realtime.bus import TIMEOUT_S
from realtime.feed_shard import BusAway, FeedShard, away, heard, heard_beat
from realtime.hub import Hub
from realtime.positions import ORIGIN, FeedEntry, FeedPosition
from realtime.subscription import ShardMessage, SubscriptionConnection

DEAF_AFTER_S = 3.0
_PAGE_ENTRIES = 250
_RETRY_FIRST_S = 0.05
_RETRY_MAX_S = 1.0

_log = structlog.get_logger()


@dataclass(slots=True)
class _Followed:
    listeners: int = 0
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)


class ShardListener:
    """`due` is set when the hub holds something to flush, `flush` called when it holds its fill."""

    def __init__(
        self, lane: FeedShard, hub: Hub, *, due: asyncio.Event,
        flush: Callable[[], None], lost: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._ear = SubscriptionConnection(lane)
        self._lane = lane
        self._hub = hub
        self._due = due
        self._flush = flush
        self._lost = lost
        self._followed: dict[str, _Followed] = {}
        self._unconfirmed: Counter[str] = Counter()
        self._epoch: str | None = None
        self._heard_until = ORIGIN
        self._began_at = asyncio.get_running_loop().time()
        self._beat_at: float | None = None

    @property
    def hears(self) -> bool:
        """Whether a heartbeat came in time."""
        return self._beat_at is not None and not self.deaf

    @property
    def deaf(self) -> bool:
        """Whether three heartbeats in a row did not come."""
        last_at = self._beat_at or self._began_at
        return asyncio.get_running_loop().time() - last_at > DEAF_AFTER_S

    @property
    def heard_until(self) -> FeedPosition | None:
        """What was published on followed channels of the lane up to there has reached the hub."""
        return FeedPosition(self._epoch, self._heard_until) if self._epoch else None

    async def follow(self, source: str) -> None:
        """Hear a channel: what is published after this returned reaches the hub. Raises BusAway.

        Every call needs its `unfollow`, also when it raised.
        """
        followed = self._followed.get(source)
        if followed is None:
            followed = self._followed[source] = _Followed()
            self._hub.open(source)
            self._ask("SSUBSCRIBE", self._lane.subscription(source))
        followed.listeners += 1
        with away():
            async with asyncio.timeout(TIMEOUT_S):
                await followed.confirmed.wait()

    def unfollow(self, source: str) -> None:
        followed = self._followed[source]
        followed.listeners -= 1
        if followed.listeners == 0:
            del self._followed[source]
            self._hub.close(source)
            self._ask("SUNSUBSCRIBE", self._lane.subscription(source))

    async def run(self) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen_again_and_again())
            tasks.create_task(self._ear.run())

    async def _listen_again_and_again(self) -> None:
        wait_s = _RETRY_FIRST_S
        while True:
            self._unconfirmed.clear()
            for followed in self._followed.values():
                followed.confirmed.clear()
            try:
                # To ask for that first also finds out which node of a cluster has the lane now.
                now = await self._lane.now()
                with away():
                    async with self._ear.connected():
                        await self._listen(now)
            except BusAway as error:
                _log.warning("hub_lost_redis", error=str(error), retry_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = _RETRY_FIRST_S if self.hears else min(2 * wait_s, _RETRY_MAX_S)

    async def _listen(self, now: FeedPosition) -> None:
        """Subscribe, make up for what was missed meanwhile, then take what comes."""
        if self._epoch is None:
            self._epoch, self._heard_until = now.epoch, now.offset
        set_aside = await self._subscribe()
        await self._catch_up(self._epoch)
        async with asyncio.timeout(DEAF_AFTER_S) as patience:
            for message in set_aside:
                await self._take(message)
            while True:
                message = await self._ear.read()
                await self._take(message)
                if message.channel == self._lane.beat_channel:
                    patience.reschedule(asyncio.get_running_loop().time() + DEAF_AFTER_S)

    async def _subscribe(self) -> list[ShardMessage]:
        """Ask for all that is followed. Returns what came before the last confirmation did."""
        beat_channel = self._lane.beat_channel
        self._ask("SSUBSCRIBE", *map(self._lane.subscription, self._followed), beat_channel)
        set_aside = []
        async with asyncio.timeout(DEAF_AFTER_S):
            while self._unconfirmed[beat_channel]:
                message = await self._ear.read()
                if message.kind == b"smessage":
                    set_aside.append(message)
                else:
                    await self._take(message)
        return set_aside

    async def _catch_up(self, epoch: str) -> None:
        """Give the hub what was published since it last heard."""
        for source in list(self._followed):
            more = True
            while more and source in self._followed:
                since = FeedPosition(epoch, max(self._hub.seen(source), self._heard_until))
                page = await self._lane.read(source, since, count=_PAGE_ENTRIES)
                self._note(page.now.epoch)
                if not page.complete:
                    self._lost("what was missed meanwhile is no longer known")
                    return
                await self._publish(source, page.entries)
                more = page.more

    async def _take(self, message: ShardMessage) -> None:
        if message.kind == b"ssubscribe":
            self._confirm(message.channel)
        elif message.kind == b"sunsubscribe":
            if message.channel == self._lane.beat_channel:
                raise BusAway("the lane has moved to another node")
        elif message.channel == self._lane.beat_channel:
            beat = heard_beat(message.payload)
            self._note(beat.epoch)
            self._heard_until = beat.offset
            self._beat_at = asyncio.get_running_loop().time()
        else:
            entries = heard(message.payload)
            self._note(entries[0].position.epoch)
            await self._publish(self._lane.channel(message.channel), entries)

    def _confirm(self, subscription: str) -> None:
        """Only the last of several subscriptions says that a channel is heard from now on."""
        self._unconfirmed[subscription] -= 1
        if self._unconfirmed[subscription] == 0:
            del self._unconfirmed[subscription]
            followed = self._followed.get(self._lane.channel(subscription))
            if followed is not None:
                followed.confirmed.set()

    def _note(self, epoch: str) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._lost("Redis lost its memory")

    async def _publish(self, source: str, entries: Sequence[FeedEntry]) -> None:
        full = self._hub.publish(source, entries)
        self._due.set()
        if full:
            self._flush()
            await asyncio.sleep(0)  # what was written leaves between two turns of the loop

    def _ask(self, command: str, *subscriptions: str) -> None:
        if self._ear.ask(command, *subscriptions) and command == "SSUBSCRIBE":
            self._unconfirmed.update(subscriptions)
