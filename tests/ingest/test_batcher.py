"""Batches closed by weight, by age, or because no item follows."""

import asyncio
from dataclasses import dataclass

from ingest.batcher import Batcher

HOUR_S = 3600.0


@dataclass(frozen=True)
class Item:
    weight: int = 1


def batcher(
    weight_max: int = 3, age_max_s: float = HOUR_S, idle_s: float = HOUR_S, held_max: int = 100
) -> Batcher[Item]:
    return Batcher(weight_max=weight_max, age_max_s=age_max_s, idle_s=idle_s, held_max=held_max)


async def next_batch(items: Batcher[Item]) -> list[Item]:
    async with asyncio.timeout(5):
        return await anext(aiter(items.batches()))


async def test_a_full_batch_is_closed_at_once() -> None:
    items = batcher()
    for _ in range(4):
        await items.put(Item())
    assert await next_batch(items) == [Item()] * 3


async def test_a_batch_is_closed_when_no_item_follows() -> None:
    items = batcher(idle_s=0.001)
    await items.put(Item())
    assert await next_batch(items) == [Item()]


async def test_a_batch_is_closed_at_its_maximum_age_while_items_arrive() -> None:
    items = batcher(weight_max=10**9, age_max_s=0.02, held_max=10**9)

    async def keep_coming() -> None:
        while True:
            await items.put(Item())
            await asyncio.sleep(0)

    coming = asyncio.create_task(keep_coming())
    assert await next_batch(items)
    coming.cancel()


async def test_only_a_batch_of_one_item_exceeds_the_maximum_weight() -> None:
    items = batcher(weight_max=3, idle_s=0.001)
    for weight in (2, 2, 9, 1):
        await items.put(Item(weight))
    batches = items.batches()
    weights = [[i.weight for i in await anext(batches)] for _ in range(4)]
    assert weights == [[2], [2], [9], [1]]


async def test_put_waits_while_too_much_is_held() -> None:
    items = batcher(held_max=2)
    await items.put(Item())
    await items.put(Item())
    third = asyncio.create_task(items.put(Item()))
    await asyncio.sleep(0)
    assert not third.done()
    assert len(await next_batch(items)) == 3
    assert third.done()
