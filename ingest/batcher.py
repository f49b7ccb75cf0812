"""Bounded, size-or-age batches. Knows nothing of MQTT or SQL."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, Protocol, TypeVar


class Weighted(Protocol):
    @property
    def weight(self) -> int: ...


ItemT = TypeVar("ItemT", bound=Weighted)


class Batcher(Generic[ItemT]):
    """Collects items until they weigh `weight_max`, the oldest is `age_max_s` old, or none follows.

    A batch weighs more only if it is one item that does. `put` waits while `held_max` or more is
    held that no batch has taken: that is the backpressure. One task puts, one task takes.
    """

    def __init__(
        self, *, weight_max: int, age_max_s: float, held_max: int, idle_s: float = 0.002
    ) -> None:
        self._weight_max = weight_max
        self._age_max_s = age_max_s
        self._idle_s = idle_s
        self._held_max = held_max
        self._held = 0
        self._items: deque[ItemT] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, item: ItemT) -> None:
        while self._held >= self._held_max:
            self._room.clear()
            await self._room.wait()
        self._held += item.weight
        self._items.append(item)
        self._arrived.set()

    async def batches(self) -> AsyncIterator[list[ItemT]]:
        """Batches, oldest item first, for as long as they are asked for."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wait(None)
            batch = [self._take()]
            weight = batch[0].weight
            old_at = loop.time() + self._age_max_s
            while weight < self._weight_max:
                if not await self._wait(min(self._idle_s, old_at - loop.time())):
                    break
                if weight + self._items[0].weight > self._weight_max:
                    break
                batch.append(self._take())
                weight += batch[-1].weight
            yield batch

    def _take(self) -> ItemT:
        item = self._items.popleft()
        self._held -= item.weight
        self._room.set()
        return item

    async def _wait(self, within_s: float | None) -> bool:
        """Whether there is an item, now or within the time given (None: however long)."""
        if self._items:
            return True
        if within_s is not None and within_s <= 0:
            return False
        self._arrived.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True
