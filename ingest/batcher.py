"""Batches of messages: bounded by size and age, in partitions that are written in parallel.

With two partitions the process decodes one batch while PostgreSQL writes another, and each batch
holds more readings of fewer devices. All messages of a device are in one partition, so they are
written in the order in which they arrived.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from ingest.messages import IngestMessage

PARTITIONS = 2
# A batch is closed early if no item follows within this time: waiting longer would add latency.
_IDLE_S = 0.002


class Weighted(Protocol):
    @property
    def weight(self) -> int: ...


ItemT = TypeVar("ItemT", bound=Weighted)


class Batcher(Generic[ItemT]):
    """Collects items until they weigh `weight_max`, the oldest is `age_max_s` old, or none follows.

    A batch weighs more only if it is a single item. `put` waits while the items that no batch has
    taken weigh `held_max` or more, which is the backpressure towards the broker. One task calls
    `put`, and one task iterates over `batches`.
    """

    def __init__(
        self, *, weight_max: int, age_max_s: float, held_max: int, idle_s: float = _IDLE_S
    ) -> None:
        self._weight_max = weight_max
        self._age_max_s = age_max_s
        self._idle_s = idle_s
        self._held_max = held_max
        # The weight of `_items`.
        self._held = 0
        self._items: deque[ItemT] = deque()
        # Set by `put` and `_take`; cleared by the one task that is about to wait.
        self._arrived = asyncio.Event()
        self._has_room = asyncio.Event()

    async def put(self, item: ItemT) -> None:
        while self._held >= self._held_max:
            self._has_room.clear()
            await self._has_room.wait()
        self._held += item.weight
        self._items.append(item)
        self._arrived.set()

    async def batches(self) -> AsyncIterator[list[ItemT]]:
        """Yield batches, the oldest item first, without end."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_for_item(None)
            batch = [self._take()]
            weight = batch[0].weight
            closes_at = loop.time() + self._age_max_s
            while weight < self._weight_max:
                if not await self._wait_for_item(min(self._idle_s, closes_at - loop.time())):
                    break
                if weight + self._items[0].weight > self._weight_max:
                    break
                batch.append(self._take())
                weight += batch[-1].weight
            yield batch

    def _take(self) -> ItemT:
        item = self._items.popleft()
        self._held -= item.weight
        self._has_room.set()
        return item

    async def _wait_for_item(self, timeout_s: float | None) -> bool:
        """Return whether there is an item now, or within the timeout (None: wait without limit)."""
        if self._items:
            return True
        if timeout_s is not None and timeout_s <= 0:
            return False
        self._arrived.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True


class Partitions:
    """A batcher per partition, all with the same limits, and the order of acknowledgement."""

    def __init__(self, *, weight_max: int, age_max_s: float, held_max: int) -> None:
        self.batchers: tuple[Batcher[IngestMessage], ...] = tuple(
            Batcher(weight_max=weight_max, age_max_s=age_max_s, held_max=held_max)
            for _ in range(PARTITIONS)
        )
        # By `acknowledge` of each message, in the order of arrival: whether it is committed. The
        # limits of the batchers and the sizes of their batches bound it.
        self._is_committed: OrderedDict[Callable[[], None], bool] = OrderedDict()

    async def put(self, message: IngestMessage) -> None:
        """Add a message to the partition of its device, and wait while that is full."""
        device = message.device_id if message.addressed is None else message.addressed.name
        await self.batchers[hash(device) % PARTITIONS].put(message)
        # Only now: a `put` that is cancelled while it waits must leave no entry, because no later
        # message would be acknowledged before it.
        self._is_committed[message.acknowledge] = False

    def acknowledge(self, committed: Sequence[IngestMessage]) -> None:
        """Acknowledge committed messages, up to the first earlier one that is not committed yet.

        The order is that of arrival: MQTT requires it (3.1.1, 4.6), and Mosquitto searches for each
        acknowledged message from the oldest one that it has sent.
        """
        waiting = self._is_committed
        for message in committed:
            if message.acknowledge in waiting:
                waiting[message.acknowledge] = True
        while waiting and waiting[first := next(iter(waiting))]:
            del waiting[first]
            first()
