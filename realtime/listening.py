"""All that a hub process hears of Redis: one listener for each lane."""

import asyncio
from collections.abc import Callable

from realtime.bus import Bus
from realtime.feed_shard import FeedShard
from realtime.hub import Hub
from realtime.listener import ShardListener
from realtime.positions import FeedPosition


class ShardListeners:
    def __init__(
        self, bus: Bus, hub: Hub, *, due: asyncio.Event, lost: Callable[[str], None]
    ) -> None:
        self._bus = bus
        self._listeners: dict[FeedShard, ShardListener] = {
            lane: ShardListener(lane, hub, due=due, flush=hub.flush_all, lost=lost)
            for lane in bus.lanes
        }

    @property
    def hears(self) -> bool:
        """Whether a heartbeat came in time, in every lane."""
        return all(listener.hears for listener in self._listeners.values())

    @property
    def deaf(self) -> bool:
        """Whether three heartbeats in a row did not come, in any lane."""
        return any(listener.deaf for listener in self._listeners.values())

    def heard_until(self, source: str) -> FeedPosition | None:
        """All that was published on a followed source up to there has reached the hub."""
        return self._of(source).heard_until

    async def follow(self, source: str) -> None:
        """As `ShardListener.follow` says."""
        await self._of(source).follow(source)

    def unfollow(self, source: str) -> None:
        self._of(source).unfollow(source)

    async def run(self) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for listener in self._listeners.values():
                tasks.create_task(listener.run())

    def _of(self, source: str) -> ShardListener:
        return self._listeners[self._bus.lane_of(source)]
