"""Partitions of devices: parallel batches, and acknowledgements in the order of arrival."""

import asyncio
from dataclasses import replace
from uuid import uuid4

from ingest.batcher import PARTITIONS, Partitions
from ingest.messages import IngestMessage
from tests.ingest.world import message


def new_partitions() -> Partitions:
    return Partitions(weight_max=1000, age_max_s=3600, held_max=2000)


def numbered(count: int, acknowledged: list[int]) -> list[IngestMessage]:
    """Return messages of as many devices, which record their acknowledgements."""
    return [
        replace(
            message(f"solar/{uuid4()}/telemetry", str(n).encode()),
            acknowledge=lambda n=n: acknowledged.append(n),
        )
        for n in range(count)
    ]


async def batches_of(partitions: Partitions) -> list[list[IngestMessage]]:
    async with asyncio.timeout(5):
        return [await anext(aiter(batcher.batches())) for batcher in partitions.batchers]


async def test_a_device_has_one_partition_and_devices_use_all_partitions() -> None:
    partitions, sent = new_partitions(), [m for m in numbered(50, []) for _ in range(3)]
    sent = [replace(m, payload=bytes([n]), acknowledge=lambda: None) for n, m in enumerate(sent)]
    for each in sent:
        await partitions.put(each)
    partition_of = {}
    for partition, batch in enumerate(await batches_of(partitions)):
        assert batch == [m for m in sent if m in batch]
        for each in batch:
            assert partition_of.setdefault(each.device_id, partition) == partition
    assert set(partition_of.values()) == set(range(PARTITIONS))
    assert len(partition_of) == 50


async def test_messages_are_acknowledged_in_the_order_of_arrival_in_any_order_of_commits() -> None:
    acknowledged: list[int] = []
    partitions = new_partitions()
    for each in numbered(60, acknowledged):
        await partitions.put(each)
    first, *others = await batches_of(partitions)
    for batch in others:
        partitions.acknowledge(batch)
    oldest = min(int(m.payload) for m in first)
    assert acknowledged == list(range(oldest))
    partitions.acknowledge(first)
    assert acknowledged == list(range(60))


async def test_a_message_that_was_not_added_is_not_acknowledged() -> None:
    acknowledged: list[int] = []
    partitions = new_partitions()
    early, late = numbered(2, acknowledged)
    await partitions.put(late)
    partitions.acknowledge([early])
    assert acknowledged == []
    partitions.acknowledge([late])
    assert acknowledged == [1]


async def test_a_put_that_is_cancelled_delays_no_acknowledgement() -> None:
    acknowledged: list[int] = []
    partitions = Partitions(weight_max=1, age_max_s=3600, held_max=1)
    first, cancelled, last = [replace(m, device_id=None) for m in numbered(3, acknowledged)]
    await partitions.put(first)
    waiting = asyncio.create_task(partitions.put(cancelled))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    batch = await anext(aiter(partitions.batchers[hash(None) % PARTITIONS].batches()))
    await partitions.put(last)
    partitions.acknowledge([*batch, last])
    assert acknowledged == [0, 2]
